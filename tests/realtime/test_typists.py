"""Tests of who is typing: told at once, stored nowhere, ended by itself."""

from __future__ import annotations

import asyncio

import pytest

from messaging import services
from messaging.models import Chat, Message
from realtime import typists
from realtime.engine import Engine
from tests.realtime.conftest import Connect, Person, make_person


async def test_typing_is_told_to_the_other_members(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, eve: Person
) -> None:
    """Not to the one who types, not to strangers, and nothing of it is stored."""
    on_ada, on_bob, on_eve = await connect(ada), await connect(bob), await connect(eve)

    assert await on_ada.ok("user:typing", {"chatId": str(chat.id), "typing": True}) == {}
    began = await on_bob.event("user:typing")
    await on_ada.ok("user:typing", {"chatId": str(chat.id), "typing": False})
    ended = await on_bob.event("user:typing")

    expected = {"chatId": str(chat.id), "rev": 0, "userId": str(ada.id), "typing": True, "expiresIn": 6}
    assert began == expected
    assert ended == {**expected, "typing": False}
    assert "user:typing" not in await on_ada.events()
    assert await on_eve.events() == []
    assert await live.in_database(Message.objects.count) == 0
    assert await live.in_database(lambda: Chat.objects.get(id=chat.id).counter) == 0


async def test_stopping_without_having_begun_is_no_news(connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """The others hear nothing."""
    on_ada, on_bob = await connect(ada), await connect(bob)

    await on_ada.ok("user:typing", {"chatId": str(chat.id), "typing": False})

    assert "user:typing" not in await on_bob.events()


async def test_typing_expires_by_itself(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who types on is shown for longer; who does not is shown as having stopped, once."""
    monkeypatch.setattr(typists, "EXPIRES_IN", 0.2)
    on_ada, on_bob = await connect(ada), await connect(bob)

    for _ in range(3):
        await on_ada.ok("user:typing", {"chatId": str(chat.id), "typing": True})
        assert (await on_bob.event("user:typing"))["typing"] is True
        await asyncio.sleep(0.1)
    ended = await on_bob.event("user:typing")

    assert ended["typing"] is False
    assert live.typists._active == {}
    await asyncio.sleep(0.25)
    assert "user:typing" not in await on_bob.events()


async def test_a_message_ends_the_typing(connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """The others see the message and the end."""
    on_ada, on_bob = await connect(ada), await connect(bob)
    await on_ada.ok("user:typing", {"chatId": str(chat.id), "typing": True})
    await on_bob.event("user:typing", typing=True)

    await on_ada.ok("message:send", {"chatId": str(chat.id), "content": "done"})

    await on_bob.event("user:typing", typing=False)
    await on_bob.event("message:receive")


async def test_the_end_of_the_last_socket_ends_the_typing(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """In every chat, but not while another tab is open."""
    carol = await live.in_database(make_person, "carol")
    other, _ = await live.in_database(services.create_chat, creator_id=ada.id, participant_ids=[carol.id], title=None)
    tab, other_tab = await connect(ada), await connect(ada)
    on_bob, on_carol = await connect(bob), await connect(carol)
    for one in (chat, other):
        await tab.ok("user:typing", {"chatId": str(one.id), "typing": True})
    await on_bob.event("user:typing", typing=True)

    await tab.close()
    assert "user:typing" not in await on_bob.events()
    await other_tab.close()

    assert (await on_bob.event("user:typing", typing=False))["chatId"] == str(chat.id)
    assert (await on_carol.event("user:typing", typing=False))["chatId"] == str(other.id)


async def test_the_end_of_the_process_drops_the_timers(live: Engine, connect: Connect, chat: Chat, ada: Person) -> None:
    """Nothing fires into a stopped engine."""
    on_ada = await connect(ada)
    await on_ada.ok("user:typing", {"chatId": str(chat.id), "typing": True})
    ((timer, _),) = live.typists._active.values()

    live.typists.clear()

    assert timer.cancelled()
    assert live.typists._active == {}


async def test_strangers_cannot_type(connect: Connect, chat: Chat, bob: Person, eve: Person) -> None:
    """A chat that is not theirs is not there, and its members hear nothing."""
    on_eve, on_bob = await connect(eve), await connect(bob)

    for typing in (True, False):
        assert await on_eve.refused("user:typing", {"chatId": str(chat.id), "typing": typing}) == "chat_not_found"

    assert await on_bob.events() == []
