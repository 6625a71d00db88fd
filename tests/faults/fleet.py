"""One installation of real processes: two Daphnes behind a load balancer, Redis behind a proxy, and a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from tests.conftest import DaphneFactory
from tests.faults.proxy import FaultProxy
from tests.live.server import Daphne, Process, Redis
from tests.stores import reading
from tests.stores.mongodb import MongoWire
from tests.stores.postgres import Postgres


def _id(value: object) -> str:
    """Write an id as the protocol does, whichever way the database does."""
    return str(UUID(str(value)))


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the database has it."""

    id: str
    chat_id: str
    sender_id: str
    client_id: str
    seq: int
    rev: int


@dataclass(kw_only=True)
class Fleet:
    """The processes and the proxies between them. `front` is where clients connect."""

    daphnes: list[Daphne]
    redis: Redis
    database: Postgres | MongoWire | None
    """The database's process, where it is one of this fleet's own."""
    front: FaultProxy
    redis_proxy: FaultProxy

    def process(self, name: str) -> Process:
        """Return the process of a name: `daphne 0`, `daphne 1`, `redis` or `database`."""
        kind, _, number = name.partition(" ")
        found = {"daphne": self.daphnes[int(number or 0)], "redis": self.redis, "database": self.database}[kind]
        assert found is not None
        return found

    def rows(self) -> list[Row]:
        """Read every message straight from the database, past all of Parley."""
        ids = ("_id", "chatId", "senderId", "clientId")
        found = reading.rows(self.daphnes[0].database_url, "messages")
        return [Row(*(_id(row[name]) for name in ids), row["seq"], row["rev"]) for row in found]

    def revs(self) -> dict[str, int]:
        """Read the counter of every chat."""
        chats = reading.rows(self.daphnes[0].database_url, "chats")
        return {_id(chat["_id"]): chat["counter"] for chat in chats}

    @property
    def log(self) -> str:
        """What the Daphnes have written."""
        return "".join(daphne.log for daphne in self.daphnes)


@asynccontextmanager
async def fleet(
    daphne: DaphneFactory, redis: Redis, *, database: Postgres | MongoWire | None = None, **environment: str
) -> AsyncIterator[Fleet]:
    """Start two Daphnes on one Redis (which runs) and one database: the store's, or the given one, which runs too."""
    if database is not None:
        environment["DATABASE_URL"] = database.url
    async with AsyncExitStack() as stack:
        redis_proxy = await stack.enter_async_context(FaultProxy(redis.port))
        environment["REDIS_URL"] = redis_proxy.redis_url
        daphnes = [await asyncio.to_thread(daphne, started=False, **environment) for _ in range(2)]
        front = await stack.enter_async_context(FaultProxy(*(one.port for one in daphnes)))
        await asyncio.gather(*(asyncio.to_thread(one.start) for one in daphnes))
        yield Fleet(daphnes=daphnes, redis=redis, database=database, front=front, redis_proxy=redis_proxy)
