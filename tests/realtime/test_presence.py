"""Tests of who is shown as being there, through the whole of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis as redis_client
import structlog
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Status, User
from chatproject.ids import uuid7
from chatproject.redis_url import parse
from messaging import services
from messaging.models import Chat
from realtime import presence as presence_module
from realtime.engine import Engine
from realtime.leases import MemoryLeases, RedisLeases
from realtime.presence import Presence
from tests.live.server import Redis, free_port, make_redis
from tests.realtime.conftest import Connect, Person, make_person, until


def stored(person: Person) -> str:
    """Return the status in the database."""
    return str(User.objects.get(pk=person.id).status)


async def shown(live: Engine, person: Person, status: str) -> None:
    """Wait until the database shows the status."""
    async with asyncio.timeout(5):
        while await live.in_database(stored, person) != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- Coming and going -------------------------------------------------------------------------------------------------


async def test_coming_and_going_is_told_to_chat_peers_alone(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, eve: Person
) -> None:
    """Bob sees Ada come and go, with the time; Eve, who shares no chat with her, and Ada herself hear nothing."""
    on_bob, on_eve = await connect(bob), await connect(eve)

    on_ada = await connect(ada)
    came = await on_bob.event("user:status", userId=str(ada.id))
    await on_ada.close()
    went = await on_bob.event("user:status", userId=str(ada.id))

    assert (came["status"], went["status"]) == ("online", "offline")
    assert went["lastSeen"] >= came["lastSeen"]
    assert await live.in_database(stored, ada) == "offline"
    assert await on_eve.events() == []


async def test_two_tabs_are_one_person(live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """Only the last socket's end is told."""
    on_bob = await connect(bob)
    tab, other_tab = await connect(ada), await connect(ada)
    await on_bob.event("user:status", status="online")

    await tab.close()
    await asyncio.sleep(4 * presence_module.RELOAD_GRACE)
    assert await on_bob.events() == []
    await other_tab.close()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")


async def test_a_page_that_reloads_does_not_flicker(
    live: Engine,
    connect: Connect,
    chat: Chat,
    ada: Person,
    bob: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Back within the grace, nothing is told, and nothing comes later."""
    monkeypatch.setattr(presence_module, "RELOAD_GRACE", 0.2)
    on_bob = await connect(bob)
    page = await connect(ada)
    await on_bob.event("user:status", status="online")

    for _ in range(3):
        await page.close()
        page = await connect(ada)
    await asyncio.sleep(0.4)

    assert await on_bob.events() == []
    assert await live.in_database(stored, ada) == "online"


async def test_coming_back_while_the_end_is_being_told(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever was slower, in the end the person is shown as there."""
    monkeypatch.setattr(presence_module, "RELOAD_GRACE", 0.01)
    show = presence_module._show

    def slowly(changes: Any) -> None:
        if not all(change.present for change in changes):
            import time

            time.sleep(0.1)
        show(changes)

    monkeypatch.setattr(presence_module, "_show", slowly)
    page = await connect(ada)
    await page.close()
    await asyncio.sleep(0.05)

    await connect(ada)
    await asyncio.sleep(0.2)

    assert await live.in_database(stored, ada) == "online"


# --- Choosing ---------------------------------------------------------------------------------------------------------


async def test_a_choice_by_rest(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, eve: Person
) -> None:
    """It is told to peers and to one's own devices."""
    on_ada, on_bob, on_eve = await connect(ada), await connect(bob), await connect(eve)
    await on_bob.events()

    await live.in_database(accounts.choose_status, user_id=ada.id, status=Status.AWAY)

    assert (await on_bob.event("user:status", userId=str(ada.id)))["status"] == "away"
    assert (await on_ada.event("user:status", userId=str(ada.id)))["status"] == "away"
    assert await on_eve.events() == []


async def test_an_invisible_person(live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """Who chose offline can come, write and go without being shown as there."""
    await live.in_database(accounts.choose_status, user_id=ada.id, status=Status.OFFLINE)
    on_bob = await connect(bob)
    await live._beat()

    on_ada = await connect(ada)
    await on_ada.ok("message:send", {"chatId": str(chat.id), "content": "I am not here"})
    await on_bob.event("message:receive")
    await live._beat()
    await on_ada.close()
    await asyncio.sleep(4 * presence_module.RELOAD_GRACE)

    assert await on_bob.events() == []
    assert await live.in_database(stored, ada) == "offline"


async def test_a_choice_without_a_socket_lapses(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """It is a sign of life for as long as the TTL."""
    live.presence._ttl = timedelta(seconds=0.3)
    on_bob = await connect(bob)

    await live.in_database(accounts.choose_status, user_id=ada.id, status=Status.AWAY)
    await on_bob.event("user:status", userId=str(ada.id), status="away")
    await asyncio.sleep(0.4)
    await live.in_database(long_ago, ada)
    await live._beat()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")


async def test_a_choice_outlives_no_socket(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Who chose by REST, came and went is gone at once, not after the TTL of the choice."""
    on_bob = await connect(bob)
    await live.in_database(accounts.choose_status, user_id=ada.id, status=Status.AWAY)
    await on_bob.event("user:status", status="away")

    on_ada = await connect(ada)
    await on_ada.ok("user:status", {"status": "online"})
    await on_bob.event("user:status", status="online")
    await on_ada.close()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")


async def test_choices_in_quick_succession(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """The last one holds, in the database and for those who look on."""
    on_ada, on_bob = await connect(ada), await connect(bob)
    await on_bob.events()

    for _ in range(5):
        for status in ("away", "online"):
            await on_ada.send("user:status", {"status": status})
    await on_ada.ok("user:status", {"status": "away"})
    await shown(live, ada, "away")
    await asyncio.sleep(0.1)

    assert await live.in_database(stored, ada) == "away"
    await on_bob.ok("ping")
    told = [one["data"]["status"] for one in on_bob.inbox if one.get("event") == "user:status"]
    assert told[-1] == "away"


# --- Time and failures ------------------------------------------------------------------------------------------------


def long_ago(person: Person) -> None:
    """Make it two minutes since somebody was renewed."""
    User.objects.filter(pk=person.id).update(last_seen=timezone.now() - timedelta(minutes=2))


async def test_people_of_a_killed_process_lapse(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Nobody renews them, so another process's beat shows them as gone."""
    on_bob = await connect(bob)
    await live.in_database(User.objects.filter(pk=ada.id).update, status="online", last_seen=timezone.now())
    await live._beat()
    assert await on_bob.events() == []

    await live.in_database(long_ago, ada)
    await live._beat()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")
    assert await live.in_database(stored, ada) == "offline"


async def test_a_beat_keeps_those_who_are_here(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Quiet people with a socket do not lapse."""
    on_bob = await connect(bob)
    await connect(ada)
    await on_bob.event("user:status", status="online")
    await live.in_database(long_ago, ada)

    await live._beat()

    assert await on_bob.events() == []
    assert await live.in_database(stored, ada) == "online"


async def test_a_beat_shows_again_who_was_taken_for_gone(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """A process that was suspended for longer than the TTL puts right what others made of it."""
    on_bob = await connect(bob)
    await connect(ada)
    await on_bob.event("user:status", status="online")
    await live.in_database(User.objects.filter(pk=ada.id).update, status="offline")

    await live._beat()

    await on_bob.event("user:status", userId=str(ada.id), status="online")


async def test_somebody_who_was_deactivated(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """They are shown as gone, and stand in nobody's way at the next beat."""
    on_bob = await connect(bob)
    on_ada = await connect(ada)
    await on_bob.event("user:status", status="online")
    await live.in_database(User.objects.filter(pk=ada.id).update, is_active=False)

    await on_ada.close()
    await on_bob.event("user:status", userId=str(ada.id), status="offline")
    await live.in_database(User.objects.filter(pk=ada.id).update, status="online")
    await live.in_database(long_ago, ada)
    await live._beat()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")
    assert await live.in_database(stored, ada) == "offline"


async def test_one_failure_does_not_stop_the_beat(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others who have lapsed are shown as gone all the same."""
    on_bob = await connect(bob)
    lost = await live.in_database(make_person, "lost")
    for person in (ada, lost):
        await live.in_database(User.objects.filter(pk=person.id).update, status="online")
        await live.in_database(long_ago, person)
    show = presence_module._show

    def fails_for_lost(changes: Any) -> None:
        if lost.id in [change.user_id for change in changes]:
            raise RuntimeError("this one fails")
        show(changes)

    monkeypatch.setattr(presence_module, "_show", fails_for_lost)
    await live._beat()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")


async def test_presence_that_fails_costs_nobody_their_socket(
    live: Engine, connect: Connect, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket serves; the next beat shows its person."""

    def broken(changes: Any) -> None:
        raise RuntimeError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(presence_module, "_show", broken)
        on_ada = await connect(ada)
        await on_ada.ok("ping")
    await live._beat()

    assert await live.in_database(stored, ada) == "online"


# --- Over Redis -------------------------------------------------------------------------------------------------------


class Process:
    """The presence of one of several processes."""

    def __init__(self, server: Redis, in_database: Callable[..., Awaitable[Any]]) -> None:
        self.people: set[Any] = set()
        self.leases = RedisLeases(parse(server.url))
        self.presence = Presence(
            process=uuid7().hex, leases=self.leases, in_database=in_database, is_here=self.people.__contains__
        )

    async def come(self, person: Person) -> None:
        """Open somebody's first socket here."""
        self.people.add(person.id)
        await self.presence.connected(person.id, first=True)

    def go(self, person: Person) -> None:
        """Close somebody's last socket here."""
        self.people.discard(person.id)
        self.presence.disconnected(person.id)


@pytest.fixture
async def processes(live: Engine, redis_server: Redis) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes on one Redis and one database."""
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
    made = (Process(redis_server, live.in_database), Process(redis_server, live.in_database))
    yield made
    for process in made:
        await process.presence.stop()
        await process.leases.close()


async def test_a_person_on_two_processes(live: Engine, processes: tuple[Process, Process], ada: Person) -> None:
    """Going from one, they are still there on the other."""
    one, other = processes
    await one.come(ada)
    await other.come(ada)

    one.go(ada)
    await asyncio.sleep(0.2)
    assert await live.in_database(stored, ada) == "online"
    other.go(ada)

    await shown(live, ada, "offline")


async def test_another_process_sees_who_has_lapsed(
    live: Engine, processes: tuple[Process, Process], ada: Person
) -> None:
    """The one that was killed does nothing any more; a lease that still holds keeps the person."""
    killed, other = processes
    await killed.come(ada)
    await live.in_database(long_ago, ada)
    await other.presence.beat([])
    assert await live.in_database(stored, ada) == "online"

    await killed.leases.release([ada.id], holder=killed.presence._holder)
    await live.in_database(long_ago, ada)
    await other.presence.beat([])

    assert await live.in_database(stored, ada) == "offline"


class SlowLeases(RedisLeases):
    """Leases that take their time."""

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """Renew, late."""
        await asyncio.sleep(0.1)
        await super().renew(user_ids, holder=holder, ttl=ttl)


async def test_a_second_socket_waits_for_the_first_ones_lease(live: Engine, redis_server: Redis, ada: Person) -> None:
    """Both are told where their chats stand after that, so what is sent from then on must find their process."""
    leases = SlowLeases(parse(redis_server.url))
    presence = Presence(process="one", leases=leases, in_database=live.in_database, is_here=lambda _: True)

    first = asyncio.ensure_future(presence.connected(ada.id, first=True))
    await asyncio.sleep(0)
    await presence.connected(ada.id, first=False)

    assert await leases.holders([ada.id]) == {ada.id: ["one"]}
    await first
    await leases.close()


async def test_leases_that_redis_has_lost(processes: tuple[Process, Process], ada: Person, redis_server: Redis) -> None:
    """They are taken anew at the next look, which tells that they had been lost; the first leases are no loss."""
    one, _ = processes
    await one.come(ada)
    assert not await one.presence.restore([ada.id])
    assert not await one.presence.restore([ada.id])

    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()

    assert await one.presence.restore([ada.id])
    assert await one.leases.holders([ada.id]) == {ada.id: [one.presence._holder]}
    assert not await one.presence.restore([ada.id])


async def test_who_came_while_redis_was_away(live: Engine, ada: Person, tmp_path: Path) -> None:
    """Nobody waits for it twice; once it is back, its people have their leases, and what they missed is looked for."""
    with make_redis(tmp_path) as server:
        leases = RedisLeases(parse(server.url))
        presence = Presence(process="one", leases=leases, in_database=live.in_database, is_here=lambda _: True)
        await presence.connected(ada.id, first=True)
        assert not await presence.restore([ada.id])

        server.start()

        assert await presence.restore([ada.id])
        assert await leases.holders([ada.id]) == {ada.id: ["one"]}
        assert not await presence.restore([ada.id])
        await leases.close()


async def test_a_redis_that_is_away_is_logged_once(live: Engine, ada: Person) -> None:
    """However often it is asked meanwhile."""
    leases = RedisLeases(parse("redis://127.0.0.1:1/0"))
    alone = Presence(process="alone", leases=leases, in_database=live.in_database, is_here=lambda _: True)

    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert not await alone.restore([ada.id])

    assert [line["event"] for line in logs] == ["presence.redis_away"]


async def test_presence_without_redis(live: Engine, ada: Person) -> None:
    """Coming, choosing, going and beating work by the database alone."""
    leases = RedisLeases(parse("redis://127.0.0.1:1/0"))
    alone = Presence(process="alone", leases=leases, in_database=live.in_database, is_here=lambda _: here)
    here = True
    await alone.connected(ada.id, first=True)
    assert await live.in_database(stored, ada) == "online"
    await alone.beat([ada.id])
    await alone.chosen(ada.id)
    here = False
    alone.disconnected(ada.id)

    await shown(live, ada, "offline")
    await alone.stop()


async def test_stopping_drops_those_who_are_leaving(live: Engine, ada: Person) -> None:
    """Nobody is told at the end of a process; the next one, or the TTL, will tell."""
    presence = Presence(process="one", leases=MemoryLeases(), in_database=live.in_database, is_here=lambda _: False)
    presence.disconnected(ada.id)

    await presence.stop()
    await asyncio.sleep(3 * presence_module.RELOAD_GRACE)

    assert await live.in_database(lambda: User.objects.get(pk=ada.id).last_seen) is None


async def test_a_new_peer_is_told_from_then_on(
    live: Engine, connect: Connect, chat: Chat, ada: Person, eve: Person
) -> None:
    """Sharing a chat makes the difference."""
    on_eve = await connect(eve)
    await live.in_database(services.create_chat, creator_id=eve.id, participant_ids=[ada.id], title=None)

    await connect(ada)

    await on_eve.event("user:status", userId=str(ada.id), status="online")
    await until(lambda: len(live.hub) == 2)


async def test_a_redis_that_is_away_is_asked_once_in_a_while(live: Engine, ada: Person, bob: Person) -> None:
    """Where it hangs each question costs a time-out, for which people's first sockets wait."""
    leases = RedisLeases(parse(f"redis://127.0.0.1:{free_port()}/0"))
    presence = Presence(process="here", leases=leases, in_database=live.in_database, is_here=lambda _: True)

    with structlog.testing.capture_logs() as logs:
        await presence.connected(ada.id, first=True)
        await presence.connected(bob.id, first=True)
        await presence.beat([ada.id, bob.id])
        assert not await presence.restore([ada.id, bob.id])

    assert [line["event"] for line in logs] == ["presence.redis_away"]
    assert await live.in_database(stored, ada) == await live.in_database(stored, bob) == "online"
    await presence.stop()
