"""Tests of who is there over all processes, in memory and in a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as redis_client
import time_machine

from chatproject.ids import uuid7
from realtime.leases import Leases, MemoryLeases, RedisLeases, make_leases
from tests.live.server import Redis

ADA, BOB = uuid7(), uuid7()


@pytest.fixture(params=["memory", "redis"])
async def leases(request: pytest.FixtureRequest) -> AsyncIterator[Leases]:
    """The leases of a lone process and those of several, which behave alike."""
    if request.param == "memory":
        yield MemoryLeases()
        return
    server: Redis = request.getfixturevalue("redis_server")
    with redis_client.Redis.from_url(server.url) as client:
        client.flushall()
    stored = RedisLeases(server.url)
    yield stored
    await stored.close()


async def test_a_lease_is_held_until_it_is_released(leases: Leases) -> None:
    """Each person has their own."""
    await leases.renew([ADA], holder="one", ttl=30)

    assert await leases.is_held(ADA)
    assert not await leases.is_held(BOB)
    await leases.release(ADA, holder="one")
    assert not await leases.is_held(ADA)


async def test_a_person_is_held_by_any_process(leases: Leases) -> None:
    """What one process releases, another still holds."""
    await leases.renew([ADA, BOB], holder="one", ttl=30)
    await leases.renew([ADA], holder="other", ttl=30)

    await leases.release(ADA, holder="one")
    await leases.release(BOB, holder="one")

    assert await leases.is_held(ADA)
    assert not await leases.is_held(BOB)


async def test_releasing_what_nobody_holds(leases: Leases) -> None:
    """It is no error."""
    await leases.release(ADA, holder="one")

    assert not await leases.is_held(ADA)


async def test_a_lease_ends_by_its_time(leases: Leases) -> None:
    """A process that was killed releases nothing; renewing in time keeps the lease."""
    await leases.renew([ADA, BOB], holder="one", ttl=0.2)
    await asyncio.sleep(0.1)
    await leases.renew([ADA], holder="one", ttl=30)
    await asyncio.sleep(0.15)

    assert await leases.is_held(ADA)
    assert not await leases.is_held(BOB)


async def test_a_process_with_a_wrong_clock(leases: Leases) -> None:
    """A clock that is an hour off, or jumps, takes nobody's presence and gives nobody a longer one."""
    with time_machine.travel(time.time() + 3600, tick=True):
        await leases.renew([ADA], holder="fast", ttl=0.2)
    with time_machine.travel(time.time() - 3600, tick=True):
        await leases.renew([BOB], holder="slow", ttl=30)

    assert await leases.is_held(BOB)
    await asyncio.sleep(0.25)
    assert not await leases.is_held(ADA)


async def test_a_redis_whose_clock_was_set_back(redis_server: Redis) -> None:
    """A dead process's lease that would now hold for an hour holds nobody."""
    leases = RedisLeases(redis_server.url)
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
        await leases.renew([ADA, BOB], holder="alive", ttl=30)
        for key in client.scan_iter():
            client.zadd(key, {"alive": time.time() + 3600})

        assert not await leases.is_held(ADA)
        await leases.renew([BOB], holder="alive", ttl=30)
        assert await leases.is_held(BOB)
    await leases.close()


async def test_redis_keeps_nothing_of_the_gone(redis_server: Redis) -> None:
    """Ended leases of dead processes go with the next renewal, and the rest expires by itself."""
    leases = RedisLeases(redis_server.url)
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
        await leases.renew([ADA], holder="dead", ttl=0.05)
        await asyncio.sleep(0.1)
        await leases.renew([ADA], holder="alive", ttl=30)
        (key,) = client.keys()

        assert client.zrange(key, 0, -1) == [b"alive"]
        assert 0 < client.ttl(key) <= 31
    await leases.close()


def test_the_configuration_decides(settings: Any) -> None:
    """With a Redis there may be several processes."""
    assert isinstance(make_leases(), MemoryLeases)
    settings.PARLEY_REDIS_URL = "redis://127.0.0.1:1/0"

    assert isinstance(make_leases(), RedisLeases)
