"""Tests that no call asks the database more often where there are more chats or members.

The inbox, pages of messages, batches and a resync are counted beside what else they do, in `tests/messaging` and
`test_resync.py`; here is the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import presence as shown
from accounts import selectors as people
from accounts.models import Status
from chatproject import db
from messaging import inbox, keys, rosters, selectors, services
from messaging.drafts import Draft
from messaging.models import Chat
from messaging.services import Stored, direct
from realtime import presence, reminders
from tests.realtime.conftest import Person, make_people

pytestmark = pytest.mark.django_db

FEW, MANY = 3, 200


def open_group(members: Sequence[Person]) -> Chat:
    """Open a group of the first one with the others."""
    owner, *others = [one.id for one in members]
    return services.create_chat(creator_id=owner, participant_ids=others, title="Tea")[0]


def send(members: Sequence[Person], chat: Chat) -> None:
    """Store one message, of which all members are told."""
    [outcome] = services.store([Draft(sender_id=members[0].id, chat_id=chat.id, content="Tea?")])
    assert isinstance(outcome, Stored)


def settle(members: Sequence[Person]) -> None:
    """Show everybody as there, at once."""
    failures = presence._show_all([presence.Change(user_id=one.id, present=True, chosen=False) for one in members])
    assert failures == {}


def edit(members: Sequence[Person], chat: Chat) -> None:
    """Change the first message that somebody has written."""
    owner = members[0].id
    [stored] = services.store([Draft(sender_id=owner, chat_id=chat.id, content="Tea?")])
    assert isinstance(stored, Stored)
    services.edit_message(chat_id=chat.id, message_id=stored.message.id, user_id=owner, content="Tea!")


def add(count: int, members: Sequence[Person], chat: Chat) -> None:
    """Add new members."""
    new = make_people(count, f"new{count}x{len(members)}x")
    services.add_members(chat_id=chat.id, user_id=members[0].id, new_ids=[one.id for one in new])


# What is done in one group of all of them.
IN_A_GROUP: dict[str, Callable[[Sequence[Person], Chat], Any]] = {
    "send": send,
    "edit": edit,
    "read": lambda members, chat: services.mark_read(chat_id=chat.id, user_id=members[1].id, seq=1),
    "add a member": lambda members, chat: add(1, members, chat),
    "add as many": lambda members, chat: add(len(members), members, chat),
    "remove a member": lambda members, chat: services.remove_member(
        chat_id=chat.id, user_id=members[0].id, member_id=members[1].id
    ),
    "rename": lambda members, chat: services.rename_chat(chat_id=chat.id, user_id=members[0].id, title="More tea"),
    "delete": lambda members, chat: services.delete_chat(chat_id=chat.id, user_id=members[0].id),
    "entry of the inbox": lambda members, chat: inbox.entry_of(chat=chat, user_id=members[0].id),
    "open": lambda members, _: open_group(members),
}


@pytest.mark.parametrize("call", IN_A_GROUP)
def test_the_number_of_members_costs_no_query(call: str) -> None:
    """Three or two hundred in a group, the roster and the key not in memory."""

    def queries(count: int) -> int:
        members = make_people(count, f"m{count}x")
        chat = open_group(members)
        return asked(lambda: IN_A_GROUP[call](members, chat))

    assert queries(FEW) == queries(MANY)


# What is done for all of them, of whom each has a chat with the first.
FOR_MANY: dict[str, Callable[[Sequence[Person]], Any]] = {
    "where chats stand": lambda members: selectors.revs(user_id=members[0].id),
    "peers": lambda members: selectors.peer_ids_of(user_ids=[members[0].id]),
    "peers of all": lambda members: selectors.peer_ids_of(user_ids=[one.id for one in members]),
    "settle presence": settle,
    "renew presence": lambda members: presence._renew_in_database([one.id for one in members]),
    "record presence": lambda members: shown.record(
        user_ids=[one.id for one in members], status=Status.ONLINE, now=timezone.now()
    ),
    "sessions": lambda members: people.live_session_ids(session_ids=[one.session_id for one in members]),
    "moved chats": lambda members: list(reminders.standings(timezone.now() - timedelta(minutes=1))),
    "search": lambda members: people.search_users(query="p", limit=100, viewer_id=members[0].id),
    "send to each": lambda members: services.store(
        [Draft(sender_id=members[0].id, receiver_id=one.id, content="Tea?") for one in members[1:]]
    ),
}


@pytest.mark.parametrize("call", FOR_MANY)
def test_the_number_of_chats_costs_no_query(call: str) -> None:
    """Three chats or two hundred."""

    def queries(count: int) -> int:
        members = make_people(count + 1, f"p{count}x")
        with db.atomic():
            direct.open_chats((members[0].id, one.id) for one in members[1:])
        return asked(lambda: FOR_MANY[call](members))

    assert queries(FEW) == queries(MANY)


def asked(call: Callable[[], Any]) -> int:
    """Return how often the database is asked, with nothing in memory."""
    keys.forget()
    rosters._memory._rosters.clear()
    with CaptureQueriesContext(connection) as captured:
        call()
    assert len(captured)
    return len(captured)
