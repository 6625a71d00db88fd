"""Tests that what people read is found through an index, and that no more is looked at than is given to them.

The world is a large chat and a small one among many others. What a read costs must not depend on which of the two it
reads; how each database tells is in `tests.stores.plans`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from accounts import presence
from accounts import selectors as people
from accounts.models import Session, Status, User, username_key
from chatproject import db
from chatproject.ids import uuid7
from messaging import inbox, keys, rosters, selectors
from messaging.drafts import Draft
from messaging.fields import Sealed
from messaging.models import Chat, ChatKind, Departure, Membership, Message
from messaging.services import direct, numbers, storing
from tests.stores import plans
from tests.stores.watching import Pipeline, Statement, watched

PAGE = 20
REAL = bool(os.environ.get("MONGODB_TEST_URL"))
SLACK = 6
"""Rows beyond those given: the one more that tells of a next page, and those that an edit took out of their place."""


@dataclass(frozen=True, slots=True)
class World:
    """Who is there, and the two chats, each with a message that was sent before."""

    ada: UUID
    session: UUID
    chats: dict[str, Chat]
    sent: dict[str, Draft]
    others: list[UUID]


def _chat(members: list[UUID], messages: int) -> tuple[Chat, list[Membership], list[list[Any]]]:
    """Return the rows of a chat of which one message in ten was edited; the last page is unread."""
    edited = messages // 10
    chat = Chat(id=uuid7(), kind=ChatKind.GROUP, counter=messages + edited, last_seq=messages)
    read = max(0, messages - PAGE)
    rows = [Membership(chat=chat, user_id=one, role="member", read_seq=read, delivered_seq=read) for one in members]
    now = numbers.now()
    sealed = Sealed(b"\1" + bytes(60))
    columns = [field.attname for field in Message._meta.concrete_fields]
    stored = []
    for seq in range(1, messages + 1):
        values: dict[str, Any] = dict.fromkeys(columns)
        values |= {"id": uuid7(), "chat_id": chat.id, "sender_id": members[-1], "content": sealed, "type": "text"}
        values |= {"timestamp": now, "seq": seq, "client_id": uuid7()}
        values["rev"] = seq if seq % 10 else messages + seq // 10
        stored.append([values[name] for name in columns])
    return chat, rows, stored


def _people(count: int) -> list[User]:
    return [
        User(
            id=uuid7(),
            username=f"person{number}",
            username_key=username_key(f"person{number}"),
            email=f"person{number}@example.org",
            status=Status.ONLINE if number % 500 == 1 else Status.OFFLINE,
            last_seen=timezone.now() - timedelta(hours=1),
            shown_at=timezone.now() - timedelta(days=1),
        )
        for number in range(count)
    ]


def _build() -> World:
    whole = connection.vendor != "mongodb" or REAL
    users = _people(2_000 if whole else 60)
    User.objects.bulk_create(users)
    ada, *rest = [one.id for one in users]
    sizes = [4_000, 400] if whole else [60, 30]
    made = [_chat([ada, *rest[-2:]], size) for size in sizes]
    # Ada has forty chats, of the many that there are.
    firsts = [ada] * 38 + rest[: 1_800 if whole else 20]
    made += [_chat([first, rest[-1 - place % 30]], 3) for place, first in enumerate(firsts)]
    then = timezone.now() - timedelta(days=1)
    for chat, members, _ in made:
        chat.changed_at = then
        for one in members:
            one.marked_at = then
    Chat.objects.bulk_create(chat for chat, _, _ in made)
    keys.create(chat.id for chat, _, _ in made)
    Membership.objects.bulk_create(one for _, members, _ in made for one in members)
    for _, _, messages in made:
        db.insert(Message, messages)
    sessions = [
        Session(id=uuid7(), user_id=one, refresh_hash=b"", expires_at=timezone.now() + timedelta(days=1))
        for one in [ada, *rest]
    ]
    Session.objects.bulk_create(sessions)
    Departure.objects.bulk_create(
        Departure(chat_id=uuid7(), user_id=one, rev=1, departed_at=then) for one in rest[:1000]
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    return World(
        ada=ada,
        session=sessions[0].id,
        chats={"large": made[0][0], "small": made[1][0]},
        sent={name: _draft(messages[7]) for name, (_, _, messages) in zip(("large", "small"), made, strict=False)},
        others=[one.id for one, _, _ in made[2:40]],
    )


def _draft(row: list[Any]) -> Draft:
    values = dict(zip([field.attname for field in Message._meta.concrete_fields], row, strict=True))
    return Draft(sender_id=values["sender_id"], chat_id=values["chat_id"], client_id=values["client_id"], content="")


@pytest.fixture
def world(db: None) -> World:
    """The world, which the tests only read."""
    return _build()


# What is read, of the world and one of its chats.
READS: dict[str, Callable[[World, Chat, Draft], object]] = {
    "newest page": lambda world, chat, _: selectors.history(
        chat_id=chat.id, user_id=world.ada, before=None, limit=PAGE
    ),
    "older page": lambda world, chat, _: selectors.history(
        chat_id=chat.id, user_id=world.ada, before=chat.last_seq // 2, limit=PAGE
    ),
    "first page": lambda world, chat, _: selectors.history(chat_id=chat.id, user_id=world.ada, before=9, limit=PAGE),
    "changes since the beginning": lambda world, chat, _: selectors.changes(
        chat_id=chat.id, user_id=world.ada, after=0, limit=PAGE
    ),
    "changes since lately": lambda world, chat, _: selectors.changes(
        chat_id=chat.id, user_id=world.ada, after=chat.counter - 5, limit=PAGE
    ),
    "resync": lambda world, chat, _: selectors.changes_of_chats(
        cursors={chat.id: chat.counter - 5, **dict.fromkeys(world.others[:9], 1)}
    ),
    "where chats stand": lambda world, *_: selectors.revs(user_id=world.ada),
    "inbox": lambda world, *_: inbox.read(user_id=world.ada, before=None, limit=100),
    "entry of the inbox": lambda world, chat, _: inbox.entry_of(chat=chat, user_id=world.ada),
    "repeated send": lambda _, __, sent: storing._Batch([sent])._find_duplicates([0]),
    "numbers": lambda _, chat, __: numbers.read([chat.id]),
    "roster": lambda _, chat, __: rosters.of_chats([(chat.id, uuid7())]),
    "membership": lambda world, chat, _: selectors.chat_for_member(chat_id=chat.id, user_id=world.ada),
    "counts of members": lambda world, chat, _: selectors.member_counts(chat_ids=[chat.id, *world.others[:9]]),
    "members": lambda _, chat, __: selectors.memberships_of(chat_id=chat.id),
    "one message": lambda world, chat, sent: selectors.message_for_member(
        chat_id=chat.id, user_id=world.ada, message_id=Message.objects.get(client_id=sent.client_id).id
    ),
    "direct chat": lambda world, *_: direct.find([(world.ada, uuid7())]),
    "peers": lambda world, *_: selectors.peer_ids_of(user_ids=[world.ada]),
    "moved chats": lambda *_: selectors.standings_since(moment=timezone.now() - timedelta(minutes=1)),
    "departures": lambda *_: selectors.departures_since(moment=timezone.now() - timedelta(minutes=1)),
    "session": lambda world, *_: (
        Session.objects.select_related("user").filter(pk=world.session, user_id=world.ada).first()
    ),
    "live sessions": lambda world, *_: people.live_session_ids(session_ids=[world.session]),
    "sessions of a person": lambda world, *_: people.sessions_of(user_id=world.ada),
    "search by name": lambda world, *_: people.search_users(query="person19", limit=PAGE, viewer_id=world.ada),
    "search by address": lambda world, *_: people.search_users(
        query="person7@example.org", limit=PAGE, viewer_id=world.ada
    ),
    "people by id": lambda world, *_: people.active_users(ids=[world.ada]),
    "lapsed presence": lambda *_: presence.lapsed_user_ids(),
    "shown lately": lambda *_: presence.shown_since(moment=timezone.now() - timedelta(minutes=1)),
}
# What MongoDB sorts by itself: what was found of one person or chat, or, for a resync, the few revs behind.
OWN = ("memberships", "chats", "sessions")
SORTED: dict[str, tuple[str, ...]] = {"resync": ("messages",), "search by address": ("users",)} | dict.fromkeys(
    (
        "newest page",
        "older page",
        "first page",
        "changes since the beginning",
        "changes since lately",
        "inbox",
        "entry of the inbox",
        "roster",
        "members",
        "membership",
        "one message",
        "sessions of a person",
    ),
    OWN,
)
# How a read of messages is bounded on MongoDB, whose planner is not asked here: each query, by the fields of its index.
PAGE_OF_SEQS = [{"chatId $eq, seq $gte $lt"}]
PAGE_OF_REVS = [{"chatId $eq, rev $gt"}]
LAST_AND_UNREAD = [{"chatId $eq, seq $eq"}, {"chatId $eq, seq $gt"}]
BOUNDS: dict[str, list[set[str]]] = {
    "newest page": PAGE_OF_SEQS,
    "older page": PAGE_OF_SEQS,
    "first page": PAGE_OF_SEQS,
    "changes since the beginning": PAGE_OF_REVS,
    "changes since lately": PAGE_OF_REVS,
    "resync": PAGE_OF_REVS,
    "inbox": LAST_AND_UNREAD,
    "entry of the inbox": LAST_AND_UNREAD,
    "repeated send": [{"clientId $in, senderId $in"}],
    "one message": [{"clientId $eq"}, {"_id $eq"}],
}


def asked(read: str, world: World, size: str) -> list[Any]:
    """Return what a read asks of the database, with no key in memory."""
    keys.forget()
    with watched() as found:
        READS[read](world, world.chats[size], world.sent[size])
    assert found
    return found


def test_nothing_is_read_from_end_to_end(world: World) -> None:
    """The plan finds every row through an index."""
    assert {read: found for read in READS if (found := list(scans(read, world)))} == {}


def scans(read: str, world: World) -> Iterator[str]:
    """Tell of what a read finds without an index, or without the bounds that it should have."""
    found = asked(read, world, "large")
    if connection.vendor == "mongodb":
        bounds = [plans.mongodb_bounds(one) for one in found if one.collection == "messages"]
        if bounds != BOUNDS.get(read, []):
            yield f"bounded by {bounds}"
    for one in found:
        if isinstance(one, Pipeline):
            yield from plans.mongodb_unserved(one)
            if plans.mongodb_sorts_in_memory(one) and one.collection not in SORTED.get(read, ()):
                yield f"sorted in memory: {one}"
        elif connection.vendor == "sqlite":
            yield from plans.sqlite_scans(one)
        else:
            _, readings = plans.postgres_readings(one)
            yield from (f"{reading}: {one.sql}" for reading in readings if reading.how == "Seq Scan")


def test_no_more_is_looked_at_than_is_given(world: World) -> None:
    """A chat of thousands of messages costs what one of hundreds does."""
    assert {read: found for read in READS if (found := list(excesses(read, world)))} == {}


def excesses(read: str, world: World) -> Iterator[str]:
    """Tell of what a read looks at in vain."""
    large, small = asked(read, world, "large"), asked(read, world, "small")
    assert len(large) == len(small)
    for one, other in zip(large, small, strict=True):
        if isinstance(one, Statement) and connection.vendor == "sqlite":
            steps, fewer = plans.sqlite_steps(one), plans.sqlite_steps(other)
            if steps > 1.25 * fewer + 60:
                yield f"{steps} steps, not {fewer}: {one.sql}"
        elif isinstance(one, Statement):
            given, readings = plans.postgres_readings(one)
            yield from (f"{given} of {reading}: {one.sql}" for reading in readings if reading.looked_at > given + SLACK)
        elif REAL:
            looked_at, found, how = plans.mongodb_explained(one)
            if "COLLSCAN" in how or looked_at > found + SLACK:
                yield f"{found} of {looked_at} by {how}: {one}"
        elif [*map(list, one.stages)] != [*map(list, other.stages)]:
            yield f"another pipeline: {one}"
