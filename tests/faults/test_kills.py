"""`kill -9` of a Daphne, of Redis and of the database under load: every acked message is there, once and in order."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import DaphneFactory
from tests.faults.cast import Cast
from tests.faults.fleet import Fleet, fleet
from tests.faults.kills import kill_along
from tests.faults.readers import Reader
from tests.faults.writers import RestWriter, Writer
from tests.live.server import Redis
from tests.stores import store
from tests.stores.mongodb import MongoWire
from tests.stores.postgres import Postgres

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

OVER_REST = 100
PEOPLE = 8


async def send_through_kills(servers: Fleet, victims: list[str], *, sends: int, title: str) -> None:
    """Let clients that retry send so many messages while the victims are killed, and prove that nothing is lost."""
    async with Cast(servers) as cast:
        await cast.arrive(people=PEOPLE, chats=2)
        for person in range(PEOPLE):
            cast.add(Writer, person).write((sends - 2 * OVER_REST) // PEOPLE, *cast.chat_ids)
        for person in range(2):
            cast.add(RestWriter, person).write(OVER_REST, *cast.chat_ids)
        for person in (0, 0, 1):  # the first person reads on two devices
            cast.add(Reader, person)

        killing = asyncio.ensure_future(kill_along(cast, victims, sends=sends))
        await cast.start()
        await cast.acked(seconds=200)
        killed = await killing

        await cast.conclude(title)
        assert killed.total() == len(victims)
        assert cast.ledger.acked_sends == sends


async def test_daphne_redis_and_postgres_are_killed(
    daphne: DaphneFactory, own_redis: Redis, own_postgres: Postgres
) -> None:
    """20 kills in 10,000 sends, of each process in turn, with PostgreSQL: its postmaster and all of its backends."""
    victims = ["daphne 0", "database", "redis", "daphne 1", "redis", "database", "redis", "database"] * 3
    async with fleet(daphne, own_redis, database=own_postgres) as servers:
        await send_through_kills(servers, victims[:20], sends=10_000, title="20 kills, PostgreSQL")


async def test_daphne_redis_and_mongodb_are_killed(
    daphne: DaphneFactory, own_redis: Redis, own_mongodb: MongoWire
) -> None:
    """10 kills in 2,000 sends, with a server of MongoDB's protocol, which takes a write at a time and is slow."""
    victims = ["daphne 0", "database", "redis", "daphne 1", "database"] * 2
    async with fleet(daphne, own_redis, database=own_mongodb) as servers:
        await send_through_kills(servers, victims, sends=2_000, title="10 kills, MongoDB's protocol")


async def test_daphne_and_redis_are_killed(daphne: DaphneFactory, own_redis: Redis) -> None:
    """10 kills in 5,000 sends; SQLite lives in the processes that are killed."""
    victims = ["daphne 0", "redis", "daphne 1", "redis", "redis"] * 2
    async with fleet(daphne, own_redis) as servers:
        await send_through_kills(servers, victims, sends=5_000, title=f"10 kills, {store.current().name}")
