"""Redis is away for 30 s, dead or silent: sends are acked all the while, and afterwards everybody converges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.conftest import DaphneFactory
from tests.faults.cast import Cast
from tests.faults.devices import until
from tests.faults.fleet import Fleet, fleet
from tests.faults.proxy import Way
from tests.faults.readers import Reader
from tests.faults.writers import RestWriter, Writer
from tests.live.server import Redis

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_SECONDS = 30
PEOPLE = 4
PAUSE = 0.25
"""Seconds between two sends of a person: with the rate limits on, 600 a minute are allowed."""
SLOWEST_ACK = 5.0
"""Once in a while one call waits for a Redis that hangs, for 2 s."""
SLOWEST_WELCOME = 10.0
"""A handshake counts towards a limit, and a person's first socket takes a lease: that may be two of those calls."""

Break = Callable[[Fleet], Awaitable[None]]


async def send_while_redis_is_away(servers: Fleet, title: str, *, leave: Break, come_back: Break) -> None:
    """Send before, during and after; no socket is closed, and 10 s after the return everybody has everything."""
    async with Cast(servers) as cast:
        await cast.arrive(people=PEOPLE + 1, chats=1)
        for person in range(PEOPLE):
            cast.add(Writer, person, every=PAUSE).write(int((AWAY_SECONDS + 8) / PAUSE), *cast.chat_ids)
            cast.add(Reader, person)
        cast.add(RestWriter, 0).write(20, *cast.chat_ids)
        await cast.start()
        await asyncio.sleep(2)
        before = cast.ledger.acked_sends

        await leave(servers)
        await asyncio.sleep(AWAY_SECONDS / 2)
        newcomers = [cast.add(Writer, person) for person in (0, PEOPLE)]  # somebody who is there, and somebody new
        for newcomer in newcomers:
            newcomer.write(1, *cast.chat_ids)
            newcomer.start()
        welcome = await until(lambda: all(one.done for one in newcomers), seconds=20, what="newcomers are not served")
        cast.ledger.counts["newcomers are served, ms"] = round(1000 * welcome)
        await asyncio.sleep(AWAY_SECONDS / 2 - welcome)
        meanwhile = cast.ledger.acked_sends - before
        await come_back(servers)
        cast.ledger.counts["acked while Redis was away"] = meanwhile
        cast.ledger.counts["convergence of that, ms"] = round(1000 * await cast.converged())
        await cast.acked(seconds=20)

        await cast.conclude(title)
        assert meanwhile > 0.8 * PEOPLE * AWAY_SECONDS / PAUSE
        assert max(cast.ledger.latencies) < SLOWEST_ACK
        assert welcome < SLOWEST_WELCOME
        assert cast.ledger.counts["connections opened"] == 2 * PEOPLE + 2, "a socket did not stay open"


async def test_redis_is_away_for_half_a_minute(
    daphne: DaphneFactory, module_daphne: DaphneFactory, own_redis: Redis, redis_server: Redis
) -> None:
    """Two installations at once: one Redis is killed, the other answers no more and ends no connection."""
    killed = partial(
        send_while_redis_is_away,
        title=f"Redis killed for {AWAY_SECONDS} s",
        leave=lambda servers: asyncio.to_thread(servers.redis.kill),
        come_back=lambda servers: asyncio.to_thread(servers.redis.start),
    )
    silent = partial(
        send_while_redis_is_away,
        title=f"Redis silent for {AWAY_SECONDS} s",
        leave=lambda servers: servers.redis_proxy.turn(Way.BLACK_HOLE),
        come_back=lambda servers: servers.redis_proxy.turn(Way.FORWARD),
    )
    async with (
        fleet(daphne, own_redis, PARLEY_RATE_LIMITS="on") as one,
        fleet(module_daphne, redis_server, PARLEY_RATE_LIMITS="on") as other,
    ):
        await asyncio.gather(killed(one), silent(other))
