"""The ground gives way: Redis loses its data, the clock jumps, the disk is full. Nothing acked is not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.conftest import DaphneFactory
from tests.faults.cast import Cast
from tests.faults.devices import until
from tests.faults.fleet import fleet
from tests.faults.readers import Reader
from tests.faults.shim import Shim
from tests.faults.writers import RestWriter, Writer
from tests.live.server import Redis, make_redis

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE = 4
HOUR = 3600
PHASE_SECONDS = 4
"""Longer than the time between two looks at which sockets' tokens have run out."""


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    """The control over clock and disk of the processes that are started with its environment."""
    with Shim(tmp_path, directory=tmp_path / "data") as control:
        yield control


async def test_redis_loses_its_data(daphne: DaphneFactory, own_redis: Redis) -> None:
    """FLUSHALL again and again, and a restart, while people write."""
    async with fleet(daphne, own_redis) as servers, Cast(servers) as cast:
        await cast.arrive(people=PEOPLE, chats=1)
        writers = [cast.add(Writer, person, every=0.05) for person in range(PEOPLE)]
        for person in range(PEOPLE):
            cast.add(Reader, person)
        await cast.start()
        for writer in writers:
            writer.write(100, *cast.chat_ids)

        for _ in range(5):
            await asyncio.sleep(0.5)
            with redis.Redis.from_url(own_redis.url) as client:
                client.flushall()
            cast.ledger.counts["FLUSHALL"] += 1
        await asyncio.to_thread(own_redis.kill)
        await asyncio.to_thread(own_redis.start)
        await cast.acked(seconds=30)

        await cast.conclude("Redis loses its data")
        assert cast.ledger.tries.total() == PEOPLE * 100, "somebody had to send twice"


async def test_the_clock_jumps_by_an_hour(daphne: DaphneFactory, shim: Shim, tmp_path: Path) -> None:
    """Forward, back, further back and forward, under the Daphnes and Redis: tokens run out, and that is all."""
    with make_redis(tmp_path) as server:
        server.environment = {**server.environment, **shim.environment}
        server.start()
        async with fleet(daphne, server, **shim.environment) as servers, Cast(servers) as cast:
            await cast.arrive(people=PEOPLE, chats=2)
            for person in range(PEOPLE):
                cast.add(Writer, person, every=0.05, may_expire=True).write(280, *cast.chat_ids)
                cast.add(Reader, person, may_expire=True)
            cast.add(RestWriter, 0, may_expire=True).write(50, *cast.chat_ids)
            await cast.start()

            for seconds in (HOUR, 0, -HOUR, 0):
                shim.shift_clock(seconds)
                await asyncio.sleep(PHASE_SECONDS)
            await cast.acked(seconds=60)

            await cast.conclude("The clock jumps by an hour, and back, each way")
            assert cast.ledger.counts["closed with 4401"] >= 2 * PEOPLE, "the clock did not jump"


async def test_the_disk_is_full(daphne: DaphneFactory, own_redis: Redis, shim: Shim) -> None:
    """Sends are told `unavailable` over each door, reading goes on; with space again everything is stored and acked."""
    async with fleet(daphne, own_redis, **shim.environment) as servers, Cast(servers) as cast:
        await cast.arrive(people=PEOPLE, chats=1)
        writers = [cast.add(Writer, person) for person in range(PEOPLE)]
        over_rest = cast.add(RestWriter, 0)
        for person in range(PEOPLE):
            cast.add(Reader, person)
        await cast.start()
        for writer in writers:
            writer.write(50, *cast.chat_ids)
        await cast.acked(seconds=30)

        shim.fill_disk(full=True)
        for writer in (*writers, over_rest):
            writer.write(50, *cast.chat_ids)
        counts = cast.ledger.counts
        await until(
            lambda: counts["sends told unavailable"] and counts["REST said 503 unavailable"],
            seconds=20,
            what="the disk never was full",
        )
        stored = len(await asyncio.to_thread(servers.rows))
        await _doors_while_the_disk_is_full(cast)
        await asyncio.sleep(1)
        assert len(await asyncio.to_thread(servers.rows)) == stored
        shim.fill_disk(full=False)
        await cast.acked(seconds=30)

        await cast.conclude("The disk is full")
        assert cast.ledger.acked_sends == PEOPLE * 100 + 50
        assert cast.ledger.counts["connections opened"] == 2 * PEOPLE, "a socket was closed"


async def _doors_while_the_disk_is_full(cast: Cast) -> None:
    """What writes is answered with 503 in the one error shape, and what reads as ever."""
    person = cast.people[0]
    everybody = {"username": "latecomer", "email": "latecomer@example.org", "password": "correct horse battery"}
    async with httpx.AsyncClient(base_url=cast.fleet.front.url, headers=person.headers, timeout=20) as client:
        refused = [
            await client.post("/auth/register", json=everybody),
            await client.post("/chat/message", json={"chatId": cast.chat_ids[0], "content": "x" * 16_000}),
            await client.post("/attachment", data={"chatId": cast.chat_ids[0]}, files={"file": b"x" * 100_000}),
            await client.put("/user/status", json={"status": "away"}),
        ]
        read = [await client.get(path) for path in ("/chat", f"/chat/{cast.chat_ids[0]}", "/user/me", "/healthz")]
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refused] == [(503, "unavailable")] * 4
    assert [answer.status_code for answer in read] == [200] * 4
