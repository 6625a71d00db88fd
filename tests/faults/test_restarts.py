"""SIGTERM: no new connections, acks for what is committed, a moment to come back for each socket, and a quick end."""

from __future__ import annotations

import asyncio
import signal
import socket as sockets
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.faults.cast import Cast
from tests.faults.fleet import fleet
from tests.faults.proxy import Way
from tests.faults.readers import Reader
from tests.faults.writers import RestWriter, Writer
from tests.live.clients import PASSWORD, bare_socket, register
from tests.live.server import LOOPBACK, Daphne, Redis
from tests.stores.postgres import Postgres

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE = 6
SENDS = 900
EXIT_SECONDS = 10


def terminate(daphne: Daphne) -> float:
    """Send SIGTERM, wait for the end, and return how many seconds it took. The end must be a clean one."""
    started = time.monotonic()
    daphne.send(signal.SIGTERM)
    assert daphne.wait(seconds=EXIT_SECONDS) == 0
    return time.monotonic() - started


async def test_a_rolling_restart_under_load(daphne: DaphneFactory, own_redis: Redis) -> None:
    """Both processes are restarted behind the load balancer while people write: nothing is lost, everybody is back."""
    async with fleet(daphne, own_redis) as servers, Cast(servers) as cast:
        await cast.arrive(people=PEOPLE, chats=1)
        for person in range(PEOPLE):
            cast.add(Writer, person, every=0.06).write(SENDS // PEOPLE, *cast.chat_ids)
            cast.add(Reader, person)
        cast.add(RestWriter, 0).write(50, *cast.chat_ids)
        await cast.start()

        for one in servers.daphnes:
            took = await asyncio.to_thread(terminate, one)
            cast.ledger.counts["slowest end after SIGTERM, ms"] = max(
                round(1000 * took), cast.ledger.counts["slowest end after SIGTERM, ms"]
            )
            await asyncio.to_thread(one.start)
        await cast.acked(seconds=60)

        await cast.conclude("A rolling restart")
        assert cast.ledger.acked_sends == SENDS + 50
        assert cast.ledger.counts["closed with 1012"] >= 2 * PEOPLE
        duplicates = [ack for acks in cast.ledger.acks.values() for ack in acks if ack.duplicate]
        assert duplicates == [], "something was committed and not acked"
        hints = cast.ledger.hints
        assert len(hints) == cast.ledger.counts["closed with 1012"]
        assert max(hints) - min(hints) > 1, f"they come back all at once: {hints}"
        assert cast.ledger.counts["closed with 1006"] == 0, "a socket was cut off"


async def test_requests_under_way_are_answered(daphne: DaphneFactory) -> None:
    """Sign-ups take their time, for the passwords' sake; SIGTERM in the middle of them does not cut them off."""
    server = daphne()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=15)) for _ in "abc"]
        for client in clients:
            await client.get("/healthz")  # its connection is there

        people = [{"username": f"{name}da", "email": f"{name}@example.org", "password": PASSWORD} for name in "abc"]
        calls = [client.post("/auth/register", json=body) for client, body in zip(clients, people, strict=True)]
        signing_up = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.1)
        server.send(signal.SIGTERM)
        answers = await asyncio.gather(*signing_up)

    assert [(answer.status_code, answer.headers["connection"]) for answer in answers] == [(201, "close")] * 3
    assert await asyncio.to_thread(server.wait) == 0


async def test_nobody_is_let_in_while_it_ends(daphne: DaphneFactory) -> None:
    """A client that does not answer the close holds the end up for a moment, in which connecting is refused."""
    server = daphne()
    account = await register(server, "ada")
    with bare_socket(server, account):
        server.send(signal.SIGTERM)
        refused, let_in = 0, 0
        while server.process is not None and server.process.poll() is None:
            try:
                sockets.create_connection((LOOPBACK, server.port), timeout=1).close()
                let_in += bool(refused)
            except ConnectionRefusedError:
                refused += 1
            await asyncio.sleep(0.05)

    assert not let_in, "it had stopped to accept, and began again"
    assert server.wait() == 0


async def test_it_ends_in_time_when_redis_and_the_database_do_not_answer(
    daphne: DaphneFactory, own_redis: Redis, own_postgres: Postgres
) -> None:
    """One of them silent, the other dead: 10 s are kept, with sockets open and sends under way."""
    async with fleet(daphne, own_redis, database=own_postgres) as servers, Cast(servers) as cast:
        await cast.arrive(people=2, chats=1)
        for person in range(2):
            cast.add(Writer, person, every=0.01).write(5_000, *cast.chat_ids)
            cast.add(Reader, person)
        await cast.start()
        await servers.redis_proxy.turn(Way.BLACK_HOLE)
        await asyncio.to_thread(own_postgres.kill)
        await asyncio.sleep(1)

        took = await asyncio.gather(*(asyncio.to_thread(terminate, one) for one in servers.daphnes))

        assert max(took) < EXIT_SECONDS
        assert cast.ledger.lies == []
        assert "daphne.drain_cut_short" not in servers.log
