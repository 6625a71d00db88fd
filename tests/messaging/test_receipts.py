"""Tests of receipts: two watermarks that only grow, and what is told when they do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from messaging import representation, selectors, services
from messaging.models import Chat, Membership, Message
from messaging.representation import ReadMarks
from messaging.selectors import ChatNotFound
from tests.messaging.conftest import NOWHERE, Announced, Person, member, say

Mark = Callable[..., Membership]


def marks(chat: Chat, who: Person) -> tuple[int, int]:
    """Return `(delivered, read)` as stored."""
    stored = member(chat, who)
    return stored.delivered_seq, stored.read_seq


def is_read(message: Message) -> bool:
    """Return the `read` of the message document."""
    members = selectors.memberships_of(chat_id=message.chat_id)
    return bool(representation.message_body(message, ReadMarks(members))["read"])


@pytest.fixture
def chat(ada: Person, direct: Chat) -> Chat:
    """Ada's and Grace's chat with three messages of Ada."""
    for _ in range(3):
        say(ada, direct)
    return direct


def test_reading_is_told_to_both(published: Announced, ada: Person, grace: Person, chat: Chat) -> None:
    """The reader's other devices learn it too."""
    published.clear()

    receipt = services.mark_read(chat_id=chat.id, user_id=grace.id, seq=2)

    assert (receipt.delivered_seq, receipt.read_seq) == marks(chat, grace) == (2, 2)
    assert published.told() == [("message:read", {ada.id, grace.id})]
    assert published.events[0].data() == {
        "chatId": str(chat.id),
        "rev": 3,
        "userId": str(grace.id),
        "deliveredSeq": 2,
        "readSeq": 2,
    }


def test_delivery_is_told_to_both(published: Announced, ada: Person, grace: Person, chat: Chat) -> None:
    """It says nothing about reading."""
    published.clear()

    services.mark_delivered(chat_id=chat.id, user_id=grace.id, seq=3)

    assert marks(chat, grace) == (3, 0)
    assert published.told() == [("message:delivered", {ada.id, grace.id})]
    assert published.events[0].data()["readSeq"] == 0


@pytest.mark.parametrize(
    ("calls", "expected", "events"),
    [
        ([("read", 2), ("read", 1)], (2, 2), 1),
        ([("read", 2), ("read", 2)], (2, 2), 1),
        ([("delivered", 3), ("delivered", 1)], (3, 0), 1),
        ([("delivered", 3), ("read", 1)], (3, 1), 2),
        ([("read", 3), ("delivered", 1)], (3, 3), 1),
        ([("delivered", 1), ("read", 3)], (3, 3), 2),
        ([("read", 0)], (0, 0), 0),
        ([("delivered", 0)], (0, 0), 0),
        ([("read", 2**53 - 1)], (3, 3), 1),
        ([("delivered", 2**53 - 1)], (3, 0), 1),
    ],
)
def test_marks_only_grow(
    published: Announced,
    grace: Person,
    chat: Chat,
    calls: list[tuple[str, int]],
    expected: tuple[int, int],
    events: int,
) -> None:
    """Never down, never past the chat's counter, read implies delivered; no growth is no event."""
    published.clear()

    for kind, seq in calls:
        mark: Mark = services.mark_read if kind == "read" else services.mark_delivered
        mark(chat_id=chat.id, user_id=grace.id, seq=seq)

    assert marks(chat, grace) == expected
    assert len(published.events) == events


@pytest.mark.parametrize("mark", [services.mark_read, services.mark_delivered])
def test_strangers_have_no_marks(published: Announced, mallory: Person, chat: Chat, mark: Mark) -> None:
    """A chat that one is not in is not there."""
    published.clear()

    for chat_id in (chat.id, NOWHERE):
        with pytest.raises(ChatNotFound):
            mark(chat_id=chat_id, user_id=mallory.id, seq=1)

    assert published.events == []
    assert Membership.objects.count() == 2


def test_two_devices_cannot_lower_each_other(published: Announced, grace: Person, chat: Chat) -> None:
    """Marks that arrive at once in any order end at the highest."""

    def mark(seq: int) -> None:
        try:
            services.mark_read(chat_id=chat.id, user_id=grace.id, seq=seq)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(mark, [3, 1, 2, 3, 1, 2]))

    assert marks(chat, grace) == (3, 3)


def test_read_in_a_direct_chat(ada: Person, grace: Person, chat: Chat) -> None:
    """It is the other person who counts, up to their mark."""
    first, second, _ = Message.objects.order_by("seq")
    services.mark_read(chat_id=chat.id, user_id=ada.id, seq=3)
    assert not is_read(first)

    services.mark_read(chat_id=chat.id, user_id=grace.id, seq=1)

    assert is_read(first)
    assert not is_read(second)


def test_read_in_a_group_needs_everybody(ada: Person, grace: Person, alan: Person, group: Chat) -> None:
    """Every member but the sender; who leaves no longer counts, who joins later has nothing to read."""
    message = say(ada, group)
    services.mark_read(chat_id=group.id, user_id=grace.id, seq=message.seq)
    assert not is_read(message)

    services.remove_member(chat_id=group.id, user_id=ada.id, member_id=alan.id)
    assert is_read(message)

    services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[alan.id])
    assert is_read(message)


def test_a_message_that_nobody_else_can_see_is_not_read(ada: Person, grace: Person, group: Chat, alan: Person) -> None:
    """Somebody alone in a group writes for nobody."""
    for other in (grace, alan):
        services.remove_member(chat_id=group.id, user_id=ada.id, member_id=other.id)

    assert not is_read(say(ada, group))
