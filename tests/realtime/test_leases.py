"""Tests of who is there over all processes, in memory and in a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis as redis_client
import time_machine

from chatproject.ids import uuid7
from chatproject.redis_keys import CHUNK
from chatproject.redis_url import parse
from realtime.leases import Leases, MemoryLeases, RedisLeases, make_leases
from tests.live.server import Redis, make_redis

ADA, BOB = uuid7(), uuid7()


async def held(leases: Leases, user_id: UUID) -> list[str]:
    """Return who holds a lease for somebody."""
    return (await leases.holders([user_id]))[user_id]


@pytest.fixture(params=["memory", "redis"])
async def leases(request: pytest.FixtureRequest) -> AsyncIterator[Leases]:
    """The leases of a lone process and those of several, which behave alike."""
    if request.param == "memory":
        yield MemoryLeases()
        return
    server: Redis = request.getfixturevalue("redis_server")
    with redis_client.Redis.from_url(server.url) as client:
        client.flushall()
    stored = RedisLeases(parse(server.url))
    yield stored
    await stored.close()


async def test_a_lease_is_held_until_it_is_released(leases: Leases) -> None:
    """Each person has their own."""
    await leases.renew([ADA], holder="one", ttl=30)

    assert await held(leases, ADA)
    assert not await held(leases, BOB)
    await leases.release([ADA], holder="one")
    assert not await held(leases, ADA)


async def test_a_person_is_held_by_any_process(leases: Leases) -> None:
    """What one process releases, another still holds."""
    await leases.renew([ADA, BOB], holder="one", ttl=30)
    await leases.renew([ADA], holder="other", ttl=30)

    await leases.release([ADA], holder="one")
    await leases.release([BOB], holder="one")

    assert await held(leases, ADA)
    assert not await held(leases, BOB)


async def test_nothing_is_kept_of_those_who_have_gone() -> None:
    """A process that serves alone for months has seen many people, and holds those who are there."""
    leases = MemoryLeases()
    await leases.renew([uuid7() for _ in range(20)], holder="one", ttl=30)
    people = [*leases._expiry, uuid7()]
    await leases.renew([ADA], holder="one", ttl=30)
    await leases.renew([ADA], holder="other", ttl=30)

    await leases.release([*people, ADA], holder="one")

    assert {user_id: list(held) for user_id, held in leases._expiry.items()} == {ADA: ["other"]}


async def test_releasing_what_nobody_holds(leases: Leases) -> None:
    """It is no error."""
    await leases.release([ADA], holder="one")

    assert not await held(leases, ADA)


async def test_a_lease_ends_by_its_time(leases: Leases) -> None:
    """A process that was killed releases nothing; renewing in time keeps the lease."""
    await leases.renew([ADA, BOB], holder="one", ttl=0.2)
    await asyncio.sleep(0.1)
    await leases.renew([ADA], holder="one", ttl=30)
    await asyncio.sleep(0.15)

    assert await held(leases, ADA)
    assert not await held(leases, BOB)


async def test_a_process_with_a_wrong_clock(leases: Leases) -> None:
    """A clock that is an hour off, or jumps, takes nobody's presence and gives nobody a longer one."""
    with time_machine.travel(time.time() + 3600, tick=True):
        await leases.renew([ADA], holder="fast", ttl=0.2)
    with time_machine.travel(time.time() - 3600, tick=True):
        await leases.renew([BOB], holder="slow", ttl=30)

    assert await held(leases, BOB)
    await asyncio.sleep(0.25)
    assert not await held(leases, ADA)


async def test_a_redis_whose_clock_was_set_back(redis_server: Redis) -> None:
    """A dead process's lease that would now hold for an hour holds nobody."""
    leases = RedisLeases(parse(redis_server.url))
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
        await leases.renew([ADA, BOB], holder="alive", ttl=30)
        for key in client.scan_iter():
            client.zadd(key, {"alive": time.time() + 3600})

        assert await leases.holders([ADA]) == {ADA: []}
        await leases.renew([BOB], holder="alive", ttl=30)
        assert await leases.holders([BOB]) == {BOB: ["alive"]}
    await leases.close()


async def test_redis_keeps_nothing_of_the_gone(redis_server: Redis) -> None:
    """Ended leases of dead processes go with the next renewal, and the rest expires by itself."""
    leases = RedisLeases(parse(redis_server.url))
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
        await leases.renew([ADA], holder="dead", ttl=0.05)
        await asyncio.sleep(0.1)
        await leases.renew([ADA], holder="alive", ttl=30)
        (key,) = client.keys()

        assert client.zrange(key, 0, -1) == [b"alive"]
        assert 0 < client.ttl(key) <= 31
    await leases.close()


async def test_many_people_at_once(leases: Leases) -> None:
    """However many there are, each is renewed and found."""
    people = [uuid7() for _ in range(2 * CHUNK + 1)]
    await leases.renew(people[1:], holder="one", ttl=30)
    await leases.renew(people[:2], holder="other", ttl=30)

    found = await leases.holders(people)

    assert found == {
        people[0]: ["other"],
        people[1]: ["one", "other"],
        **{user_id: ["one"] for user_id in people[2:]},
    }
    assert await leases.holders([]) == {}


async def test_a_mark_is_each_holders_own_and_ends(leases: Leases) -> None:
    """Without it a process must take its leases anew."""
    assert not await leases.is_marked(holder="one")
    await leases.mark(holder="one", ttl=0.2)

    assert await leases.is_marked(holder="one")
    assert not await leases.is_marked(holder="other")
    await asyncio.sleep(0.25)
    assert not await leases.is_marked(holder="one")


async def test_several_redis_hosts(redis_server: Redis, tmp_path: Path) -> None:
    """Each holds its share of the people; a mark that one of them has lost is gone."""
    with make_redis(tmp_path) as second:
        second.start()
        leases = RedisLeases(parse(f"{redis_server.url},{second.url}"))
        people = [uuid7() for _ in range(200)]
        with redis_client.Redis.from_url(redis_server.url) as client, redis_client.Redis.from_url(second.url) as other:
            client.flushall()
            await leases.renew(people, holder="one", ttl=30)
            await leases.mark(holder="one", ttl=30)
            shares = [sum(1 for _ in one.scan_iter("parley:presence:*")) for one in (client, other)]

            assert sum(shares) == 200
            assert min(shares) > 50
            assert await leases.holders(people) == {user_id: ["one"] for user_id in people}
            assert await leases.is_marked(holder="one")
            other.flushall()
            assert not await leases.is_marked(holder="one")
        await leases.close()


async def test_redis_does_not_learn_whose_leases_it_keeps(redis_server: Redis) -> None:
    """Who is looked up is who is written to."""
    leases = RedisLeases(parse(redis_server.url))
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
        await leases.renew([ADA], holder="one", ttl=30)
        (key,) = client.keys()

        assert ADA.bytes not in key
        assert str(ADA).encode() not in key
        assert ADA.hex.encode() not in key
    await leases.close()


async def test_a_redis_that_was_restarted_is_asked_again(tmp_path: Path) -> None:
    """The connection from before costs no failure."""
    with make_redis(tmp_path) as server:
        server.start()
        leases = RedisLeases(parse(server.url))
        await leases.renew([ADA], holder="one", ttl=30)

        server.kill()
        server.start()

        assert await held(leases, ADA) == []
        await leases.close()


def test_the_configuration_decides(settings: Any) -> None:
    """With a Redis there may be several processes."""
    assert isinstance(make_leases(), MemoryLeases)
    settings.PARLEY_REDIS = parse("redis://127.0.0.1:1/0,redis://127.0.0.1:2/0")

    assert isinstance(make_leases(), RedisLeases)
