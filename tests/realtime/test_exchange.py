"""Tests of counting together: processes learn within a second what the others counted, and none waits for Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis as redis_client
from structlog.testing import capture_logs

from chatproject import limits
from chatproject.redis_url import parse
from chatproject.tally import Tally
from realtime.exchange import Exchange
from tests.faults.proxy import FaultProxy, Way
from tests.live.redis_forms import cluster
from tests.live.server import Redis, make_redis

LIMIT, PERIOD = 30, 3_600
NAMES = [f"person {number}" for number in range(40)]

Process = tuple[Tally, Exchange]


def calls(tally: Tally, name: str) -> int:
    """Return how many calls go through before one is refused."""
    for number in range(LIMIT + 1):
        if tally.count(name, limit=LIMIT, period=PERIOD) is not None:
            return number
    raise AssertionError("There is no limit.")


@pytest.fixture
async def process() -> AsyncIterator[Callable[[str], Process]]:
    """Return a function that makes a process's part, over a `REDIS_URL`."""
    async with AsyncExitStack() as stack:

        def make(url: str) -> Process:
            tally = Tally()
            exchange = Exchange(tally, parse(url))
            stack.push_async_callback(exchange.close)
            return tally, exchange

        yield make


@pytest.mark.parametrize("form", ["one", "two", "cluster"])
async def test_processes_count_together(
    process: Callable[[str], Process], redis_server: Redis, tmp_path: Path, form: str
) -> None:
    """Whatever one of them has let through the other does not, on each form of Redis; and every key has its end."""
    async with AsyncExitStack() as stack:
        second = stack.enter_context(make_redis(tmp_path))
        second.start()
        urls = {"one": redis_server.url, "two": f"{redis_server.url},{second.url}"}
        servers = stack.enter_context(cluster(tmp_path)) if form == "cluster" else None
        url = servers.url if servers else urls[form]
        with redis_client.Redis.from_url(redis_server.url) as client:
            client.flushall()
        (one, of_one), (other, of_other) = process(url), process(url)
        for name in NAMES:
            for _ in range(20):
                assert one.count(name, limit=LIMIT, period=PERIOD) is None
                other.count(name, limit=LIMIT, period=PERIOD) if name == NAMES[0] else None

        for exchange in (of_one, of_other, of_one):
            await exchange.run()
        for name in NAMES[1:]:
            other.count(name, limit=LIMIT, period=PERIOD)
        await of_other.run()

        assert {calls(other, name) for name in NAMES[1:]} == {9}
        assert calls(other, NAMES[0]) == 0
        clients = servers.clients() if servers else [redis_client.Redis(port=redis_server.port)]
        for client in clients:
            with client:
                keys = client.keys("parley:limit:*")
                assert keys
                assert all(0 < client.ttl(key) <= PERIOD + 5 for key in keys)


async def test_the_bound(process: Callable[[str], Process], redis_server: Redis) -> None:
    """Before they have heard of each other, each of three lets through the rate, and none of them more after that."""
    processes = [process(redis_server.url) for _ in range(3)]

    let_through = [calls(tally, "somebody quick") for tally, _ in processes]
    for _, exchange in processes:
        await exchange.run()

    assert let_through == [LIMIT] * 3
    assert [calls(tally, "somebody quick") for tally, _ in processes] == [0, 0, 0]


async def test_redis_away(
    process: Callable[[str], Process], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead or silent: nobody waits, each counts for itself, and tells it once Redis is back."""
    monkeypatch.setattr("realtime.exchange.RETRY_SECONDS", 0.5)
    async with FaultProxy(redis_server.port) as proxy:
        (one, of_one), (other, of_other) = process(proxy.redis_url), process(redis_server.url)
        await of_one.run()
        for way in (Way.REFUSE, Way.BLACK_HOLE):
            name = f"somebody {way}"
            await proxy.turn(way)
            proxy.cut() if way is Way.REFUSE else None
            for _ in range(20):
                one.count(name, limit=LIMIT, period=PERIOD)
            started = time.monotonic()
            with capture_logs() as lines:
                running = asyncio.ensure_future(of_one.run())
                for _ in range(5):
                    before = time.monotonic()
                    await asyncio.sleep(0.01)
                    assert time.monotonic() - before < 0.5, "the loop was held up"
                    one.count(name, limit=LIMIT, period=PERIOD)
                await running
                await of_one.run()
            assert [line["event"] for line in lines] == ["limits.unavailable"]
            assert time.monotonic() - started < 6
            await proxy.turn(Way.FORWARD)
            proxy.cut()
            await asyncio.sleep(0.6)

            other.count(name, limit=LIMIT, period=PERIOD)
            await of_one.run()
            await of_other.run()

            assert calls(other, name) == 4
    assert limits.RETRY_SECONDS == 5
