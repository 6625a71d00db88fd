"""Tests of what a client gets that comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chatproject import db
from chatproject.ids import uuid7
from messaging import keys, services
from messaging.drafts import Draft
from messaging.models import Chat, Message
from messaging.services import direct
from realtime import commands, resync
from realtime.engine import Engine
from realtime.resync import missed
from tests.realtime.conftest import Connect, Person, make_people

Frames = list[tuple[str, dict[str, Any]]]


def write(chat_id: UUID, sender: Person, *contents: str) -> list[Message]:
    """Store messages."""
    drafts = [Draft(sender_id=sender.id, chat_id=chat_id, content=content) for content in contents]
    stored = [one.message.id for one in services.store(drafts) if isinstance(one, services.Stored)]
    return [Message.objects.get(id=one) for one in stored]


@pytest.fixture
def ask(bob: Person) -> Callable[..., Frames]:
    """Return a function that asks for Bob: `ask({chat_id: rev})`."""
    return lambda cursors: list(missed(user_id=bob.id, cursors=cursors))


def test_nothing_missed(ask: Callable[..., Frames], chat: Chat, ada: Person) -> None:
    """An explicit end that names every chat and its rev: never silence."""
    write(chat.id, ada, "a")

    assert ask({chat.id: 1}) == [("sync:done", {"chats": {str(chat.id): 1}})]
    assert ask({}) == [("sync:done", {"chats": {str(chat.id): 1}})]


def test_what_was_missed(ask: Callable[..., Frames], chat: Chat, ada: Person, bob: Person) -> None:
    """New, edited and deleted messages, once each in their present state, by rev; and the marks of the members."""
    first, _, third = write(chat.id, ada, "first", "second", "third")
    services.edit_message(chat_id=chat.id, message_id=first.id, user_id=ada.id, content="first!")
    services.delete_message(chat_id=chat.id, message_id=third.id, user_id=ada.id)
    write(chat.id, ada, "fourth")
    services.mark_read(chat_id=chat.id, user_id=bob.id, seq=2)

    (name, data), done = ask({chat.id: 1})

    assert name == "sync"
    assert (data["chatId"], data["rev"], data["hasMore"]) == (str(chat.id), 6, False)
    assert [(one["rev"], one["seq"], one["content"]) for one in data["messages"]] == [
        (2, 2, "second"),
        (4, 1, "first!"),
        (5, 3, ""),
        (6, 6, "fourth"),
    ]
    assert [one["read"] for one in data["messages"]] == [True, True, False, False]
    assert data["messages"][1]["editedAt"]
    assert data["messages"][2]["deletedAt"]
    assert {one["userId"]: one["readSeq"] for one in data["members"]} == {str(ada.id): 0, str(bob.id): 2}
    emails = {one["user"].get("email") for one in data["members"]}
    assert emails == {"bob@example.org", None}, "nobody gets the other's address"
    assert done == ("sync:done", {"chats": {str(chat.id): 6}})


def test_changes_of_members_are_in_the_line(ask: Callable[..., Frames], ada: Person, bob: Person, eve: Person) -> None:
    """System messages tell them."""
    group, _ = services.create_chat(creator_id=ada.id, participant_ids=[bob.id], title="Plans")
    services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[eve.id])
    services.rename_chat(chat_id=group.id, user_id=ada.id, title="Other plans")

    data = ask({group.id: 0})[0][1]

    assert [one["system"]["action"] for one in data["messages"]] == ["created", "added", "renamed"]
    assert {one["userId"] for one in data["members"]} == {str(ada.id), str(bob.id), str(eve.id)}


def test_too_far_behind(ask: Callable[..., Frames], chat: Chat, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the client loads the chat anew; at the limit it gets what it missed."""
    monkeypatch.setattr(resync, "MISSED_LIMIT", 3)
    write(chat.id, ada, *"abcde")

    assert ask({chat.id: 1})[0] == ("sync:reset", {"chatId": str(chat.id), "rev": 5, "reason": "too_far"})
    assert ask({chat.id: 2})[0][0] == "sync"


def test_too_much_text(ask: Callable[..., Frames], chat: Chat, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame stays far below what a socket may hold unsent."""
    monkeypatch.setattr(resync, "MISSED_CHARACTERS", 100)
    write(chat.id, ada, "x" * 50, "x" * 50)
    assert ask({chat.id: 0})[0][0] == "sync"

    write(chat.id, ada, "x")

    assert ask({chat.id: 0})[0] == ("sync:reset", {"chatId": str(chat.id), "rev": 3, "reason": "too_far"})


def test_a_client_ahead_of_the_server(ask: Callable[..., Frames], chat: Chat, ada: Person) -> None:
    """The server was restored from a backup: the client's numbers are void."""
    write(chat.id, ada, "a")

    assert ask({chat.id: 2})[0] == ("sync:reset", {"chatId": str(chat.id), "rev": 1, "reason": "too_far"})


def test_chats_that_are_gone(ask: Callable[..., Frames], chat: Chat, ada: Person, bob: Person, eve: Person) -> None:
    """Removed from, deleted, another's, never there: all look the same."""
    left, _ = services.create_chat(creator_id=ada.id, participant_ids=[bob.id, eve.id], title="Left")
    services.remove_member(chat_id=left.id, user_id=ada.id, member_id=bob.id)
    deleted, _ = services.create_chat(creator_id=ada.id, participant_ids=[bob.id], title="Deleted")
    deleted_id = deleted.id
    services.delete_chat(chat_id=deleted_id, user_id=ada.id)
    foreign, _ = services.create_chat(creator_id=ada.id, participant_ids=[eve.id], title=None)
    write(foreign.id, ada, "not for Bob")

    for chat_id in (left.id, deleted_id, foreign.id, uuid7()):
        first, done = ask({chat_id: 0})
        assert first == ("sync:reset", {"chatId": str(chat_id), "rev": 0, "reason": "gone"})
        assert done == ("sync:done", {"chats": {str(chat.id): 0}})


def test_the_number_of_queries_does_not_grow(ask: Callable[..., Frames], bob: Person) -> None:
    """Two chats or two hundred, one message or some."""
    few, many = behind(bob, 2, messages=1), behind(bob, 200, messages=3)

    assert queries(ask, few) == queries(ask, many) == BEFORE + a_step()


@pytest.mark.parametrize(
    ("chats", "rows", "steps"),
    [
        pytest.param(7, 28, 1, id="as many as there are"),
        pytest.param(6, 28, 2, id="one chat more"),
        pytest.param(2, 28, 4, id="two at a time"),
        pytest.param(9, 27, 2, id="one row too many"),
        pytest.param(9, 15, 3, id="three chats fit"),
        pytest.param(9, 1, 7, id="not even one chat fits"),
    ],
)
def test_what_a_step_costs(
    ask: Callable[..., Frames], bob: Person, chats: int, rows: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chats are read together up to a number of chats, and of revs and members: here each has two and two."""
    monkeypatch.setattr(resync, "CHATS_AT_ONCE", chats)
    monkeypatch.setattr(resync, "ROWS_AT_ONCE", rows)

    assert queries(ask, behind(bob, 7, messages=2)) == BEFORE + steps * a_step()


BEFORE = 3
"""What is asked before the first step: the person's chats, where these stand, and how many members they have."""


def a_step() -> int:
    """Return what a step asks: keys, members, and messages that are new, then those that were changed."""
    return 4 if db.indexes_parts() else 3


def behind(bob: Person, chats: int, *, messages: int) -> dict[UUID, int]:
    """Make chats with Bob and messages that he has missed; return his cursors."""
    people = make_people(chats, f"p{chats}.{messages}.")
    with db.atomic():
        opened = direct.open_chats((one.id, bob.id) for one in people)
    for one in services.store(
        [
            Draft(sender_id=person.id, receiver_id=bob.id, content=str(number))
            for number in range(messages)
            for person in people
        ]
    ):
        assert isinstance(one, services.Stored)
    return dict.fromkeys(opened.values(), 0)


def queries(ask: Callable[..., Frames], cursors: dict[UUID, int]) -> int:
    """Return how often the database is asked for all of it, with no key in memory."""
    keys.forget()
    with CaptureQueriesContext(connection) as captured:
        result = ask(cursors)
    assert [name for name, _ in result] == ["sync"] * len(cursors) + ["sync:done"]
    return len(captured)


# --- Over the socket --------------------------------------------------------------------------------------------------


async def test_the_ack_follows_the_answer(live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """First what was missed, then `sync:done`, then the ack; nobody else gets any of it."""
    await live.in_database(write, chat.id, ada, "a", "b")
    on_bob, on_ada = await connect(bob), await connect(ada)

    await on_bob.send("sync", {"cursors": {str(chat.id): 1}}, frame_id="s")
    await on_bob.ack("s")

    names = [frame["event"] for frame in on_bob.inbox if frame["event"].startswith("sync")]
    assert names == ["sync", "sync:done"]
    assert (await on_bob.event("sync"))["messages"][0]["content"] == "b"
    assert "sync" not in await on_ada.events()


async def test_a_long_answer_goes_out_at_the_clients_pace(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made in parts, and each frame waits until the ones before it are taken."""
    monkeypatch.setattr(commands, "SYNC_FRAMES", 1)
    await live.in_database(write, chat.id, ada, "a")
    on_bob = await connect(bob)
    (socket,) = live.hub.sockets_of(bob.id)
    backlog = 10**6
    socket.outbox._backlog = lambda: backlog

    await on_bob.send("sync", {"cursors": {str(chat.id): 0}}, frame_id=1)
    await on_bob.event("sync")
    assert not [frame for frame in on_bob.inbox if frame.get("event") == "sync:done"]
    backlog = 0

    await on_bob.ack(1)
    await on_bob.event("sync:done")
