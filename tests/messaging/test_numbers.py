"""Tests of the counter: the one source of a chat's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from chatproject.ids import uuid7
from messaging.models import Chat
from messaging.services import numbers
from tests.messaging.conftest import Person, open_direct, open_group


def take(wanted: Mapping[UUID, int]) -> None:
    """Take numbers, as for messages."""
    numbers.take_for_messages(numbers.read(wanted), wanted, moment=numbers.now())


def test_messages_take_a_run_of_numbers(ada: Person, grace: Person, alan: Person) -> None:
    """Each chat stands at the last number that was taken."""
    one, other, third = open_direct(ada, grace), open_direct(ada, alan), open_group(ada, grace, alan)
    base = Chat.objects.get(id=third.id).counter

    take({one.id: 3, other.id: 1, third.id: 3})

    taken = Chat.objects.in_bulk([one.id, other.id, third.id])
    assert {chat_id: chat.counter for chat_id, chat in taken.items()} == {one.id: 3, other.id: 1, third.id: base + 3}
    assert all(chat.last_seq == chat.counter for chat in taken.values())


def test_chats_are_read_with_their_counters(ada: Person, grace: Person) -> None:
    """A chat that is not there is left out; nothing asked for takes no query."""
    chat = open_direct(ada, grace)

    stored = Chat.objects.get(id=chat.id)
    assert numbers.read([chat.id, uuid7()]) == {chat.id: ("direct", 0, stored.roster)}
    assert numbers.read([]) == {}


def test_a_change_takes_one_number_and_no_place(ada: Person, grace: Person) -> None:
    """The counter moves on, the newest message stays the newest, and the inbox keeps its order."""
    chat = open_direct(ada, grace)
    take({chat.id: 2})
    before = Chat.objects.get(id=chat.id)

    assert numbers.take_for_change(chat.id) == 3

    after = Chat.objects.get(id=chat.id)
    assert (after.counter, after.last_seq, after.activity) == (3, 2, before.activity)
    assert after.changed_at >= before.changed_at


def test_messages_move_a_chat_to_the_top(ada: Person, grace: Person, alan: Person) -> None:
    """Activity grows with each new message, and the change is dated."""
    one, other = open_direct(ada, grace), open_direct(ada, alan)

    take({one.id: 1})

    moved = Chat.objects.get(id=one.id)
    assert moved.activity > Chat.objects.get(id=other.id).activity
    assert abs(moved.changed_at - numbers.now()) < timedelta(seconds=10)
