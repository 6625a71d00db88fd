"""Several real servers on one Redis: what reaches across, and what a killed server or Redis costs."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.live.clients import Account, Talker, log_lines, register
from tests.live.server import LOOPBACK, Daphne, Redis, make_redis

pytestmark = pytest.mark.live

TTL_SECONDS = 4
CONFIGURATION = f"""
from chatproject.settings import *
from datetime import timedelta
PARLEY_PRESENCE_TTL = timedelta(seconds={TTL_SECONDS})
"""

DaphneFactory = Callable[..., Daphne]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that a test may kill."""
    with make_redis(tmp_path) as server:
        server.start()
        yield server


@pytest.fixture
async def people(daphne: DaphneFactory, redis: Redis) -> AsyncIterator[tuple[Talker, Talker]]:
    """Ada on one server and Bob on the other, who have written to each other."""
    one, other = daphne(REDIS_URL=redis.url), daphne(REDIS_URL=redis.url)
    ada, bob = await register(one, "ada"), await register(other, "bob")
    async with Talker(one, ada) as on_ada, Talker(other, bob) as on_bob:
        await on_ada.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive", content="hello")
        yield on_ada, on_bob


async def test_everything_reaches_the_other_server(people: tuple[Talker, Talker]) -> None:
    """Messages, typing, receipts, a status and its end."""
    on_ada, on_bob = people
    message = await on_bob.say("hi", receiverId=on_ada.account.id)
    chat_id = message["chatId"]

    assert (await on_ada.event("message:receive", content="hi"))["id"] == message["id"]
    await on_ada.call("user:typing", {"chatId": chat_id, "typing": True})
    assert (await on_bob.event("user:typing"))["userId"] == on_ada.account.id
    await on_ada.call("message:read", {"chatId": chat_id, "seq": message["seq"]})
    assert (await on_bob.event("message:read"))["readSeq"] == message["seq"]
    await on_ada.call("user:status", {"status": "away"})
    await on_bob.event("user:status", userId=on_ada.account.id, status="away")
    await on_ada.connection.close()
    await on_bob.event("user:typing", typing=False)
    await on_bob.event("user:status", userId=on_ada.account.id, status="offline")


async def test_a_person_on_both_servers(people: tuple[Talker, Talker]) -> None:
    """A send reaches their own other socket, and they are there as long as either is."""
    on_ada, on_bob = people
    async with Talker(on_bob.server, on_ada.account) as phone:
        await on_ada.say("from the tab", receiverId=on_bob.account.id)
        await phone.event("message:receive", content="from the tab")
        on_bob.inbox.clear()
        await on_ada.connection.close()
        await asyncio.sleep(3)
        await phone.say("from the phone", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="from the phone")
        assert [frame for frame in on_bob.inbox if frame.get("event") == "user:status"] == []

    await on_bob.event("user:status", userId=on_ada.account.id, status="offline")


async def test_nothing_readable_crosses_redis(people: tuple[Talker, Talker], redis: Redis) -> None:
    """Who listens to Redis itself sees that something is said, not what nor to whom."""
    on_ada, on_bob = people
    with sockets.create_connection((LOOPBACK, redis.port)) as spy:
        spy.sendall(b"MONITOR\r\n")
        assert spy.recv(5) == b"+OK\r\n"
        await on_ada.say("SECRETWORD", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="SECRETWORD")
        await asyncio.sleep(0.2)
        spy.setblocking(False)
        overheard = spy.recv(1_000_000)

    assert b"parley__group__parley.bus" in overheard
    assert b"SECRETWORD" not in overheard
    assert b"message:receive" not in overheard


async def test_an_idle_server_still_hears(people: tuple[Talker, Talker]) -> None:
    """Seven seconds without a word do not end the subscription."""
    on_ada, on_bob = people

    await asyncio.sleep(7)
    await on_ada.say("still there?", receiverId=on_bob.account.id)

    await on_bob.event("message:receive", content="still there?", patience=2)


async def test_a_redis_that_is_restarted(people: tuple[Talker, Talker], redis: Redis) -> None:
    """Sockets stay open, messages are acked, and after the return the other server's sockets learn what they missed."""
    on_ada, on_bob = people

    redis.kill()
    missed = await on_ada.say("into the void", receiverId=on_bob.account.id)
    assert (await on_bob.call("ping", {}))["data"] == {}
    redis.start()

    await on_bob.event("sync", chatId=missed["chatId"], patience=12)
    answer = await on_bob.call("sync", {"cursors": {missed["chatId"]: 1}})
    assert "data" in answer
    assert (await on_bob.event("sync", hasMore=False))["messages"][0]["content"] == "into the void"
    await on_ada.say("again", receiverId=on_bob.account.id)
    await on_bob.event("message:receive", content="again", patience=5)


async def test_signing_out_on_another_server(people: tuple[Talker, Talker]) -> None:
    """The sockets of the session are closed wherever they are."""
    import httpx

    on_ada, on_bob = people
    async with httpx.AsyncClient(base_url=on_bob.server.url) as client:
        answer = await client.post("/auth/logout", headers=on_ada.account.headers)
        assert answer.status_code == 204, answer.text

    assert (await on_ada.event("session:end", patience=5))["reason"] == "logout"
    await asyncio.wait_for(on_ada.connection.wait_closed(), 5)
    assert (on_ada.connection.close_code, on_ada.connection.close_reason) == (4401, "unauthenticated")


async def test_a_killed_server(daphne: DaphneFactory, redis: Redis, tmp_path: Path) -> None:
    """Nobody says good-bye, and still the people of that server are shown as gone within the TTL and one beat."""
    (tmp_path / "quick_settings.py").write_text(CONFIGURATION)
    (tmp_path / "quick_asgi.py").write_text(
        "from chatproject.asgi import application\nfrom realtime import engine\n\nengine.HEARTBEAT = 1.0\n"
    )
    options = {
        "REDIS_URL": redis.url,
        "PYTHONPATH": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "quick_settings",
    }
    killed, other = (daphne(started=False, **options) for _ in range(2))
    for server in (killed, other):
        server.command[-1] = "quick_asgi:application"
        server.start()
    ada, bob = await register(other, "ada"), await register(other, "bob")
    async with AsyncExitStack() as stack:
        on_bob = await stack.enter_async_context(Talker(other, bob))
        on_ada = await stack.enter_async_context(Talker(killed, ada))
        await on_ada.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive")
        await asyncio.sleep(TTL_SECONDS)
        assert not [frame for frame in on_bob.inbox if _offline(frame, ada)], "Her server renews her."

        killed.kill()

        await on_bob.event("user:status", userId=ada.id, status="offline", patience=TTL_SECONDS + 4)


def _offline(frame: dict[str, object], account: Account) -> bool:
    return json.dumps(frame).count(account.id) > 0 and '"offline"' in json.dumps(frame)


async def test_a_server_logs_the_failure_once(people: tuple[Talker, Talker], redis: Redis) -> None:
    """However many events are lost while Redis is away."""
    on_ada, on_bob = people

    redis.kill()
    for number in range(30):
        await on_ada.say(str(number), receiverId=on_bob.account.id)
    await asyncio.sleep(3)
    redis.start()
    await on_bob.event("sync", patience=12)

    assert len(log_lines(on_ada.server, "bus.publish_failed")) == 1
