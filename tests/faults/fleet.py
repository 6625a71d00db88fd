"""One installation of real processes: two Daphnes behind a load balancer, Redis behind a proxy, and a database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from tests.conftest import DATABASE, DaphneFactory
from tests.faults.proxy import FaultProxy
from tests.live.server import Daphne, Process, Redis
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
    postgres: Postgres | None
    front: FaultProxy
    redis_proxy: FaultProxy

    def process(self, name: str) -> Process:
        """Return the process of a name: `daphne 0`, `daphne 1`, `redis` or `postgres`."""
        kind, _, number = name.partition(" ")
        if kind == "daphne":
            return self.daphnes[int(number)]
        return self.redis if kind == "redis" else self.database

    @property
    def database(self) -> Postgres:
        """The database's process; on SQLite there is none."""
        assert self.postgres is not None
        return self.postgres

    def rows(self) -> list[Row]:
        """Read every message straight from the database, past all of Parley."""
        found = self._query('SELECT "_id", "chatId", "senderId", "clientId", seq, rev FROM messages')
        return [Row(*(_id(value) for value in row[:4]), *row[4:]) for row in found]

    def revs(self) -> dict[str, int]:
        """Read the counter of every chat."""
        return {_id(chat_id): rev for chat_id, rev in self._query('SELECT "_id", counter FROM chats')}

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        connection: Any = (
            sqlite3.connect(self.daphnes[0].data_dir / DATABASE)
            if self.postgres is None
            else psycopg.connect(self.postgres.url)
        )
        with closing(connection):
            return list(connection.execute(query).fetchall())

    @property
    def log(self) -> str:
        """What the Daphnes have written."""
        return "".join(daphne.log for daphne in self.daphnes)


@asynccontextmanager
async def fleet(
    daphne: DaphneFactory, redis: Redis, *, database: Postgres | None = None, **environment: str
) -> AsyncIterator[Fleet]:
    """Start two Daphnes on one Redis (which runs) and one database: SQLite, or the given one, which runs too."""
    if database is not None:
        environment["DATABASE_URL"] = database.url
    async with AsyncExitStack() as stack:
        redis_proxy = await stack.enter_async_context(FaultProxy(redis.port))
        environment["REDIS_URL"] = redis_proxy.redis_url
        daphnes = [await asyncio.to_thread(daphne, started=False, **environment) for _ in range(2)]
        front = await stack.enter_async_context(FaultProxy(*(one.port for one in daphnes)))
        await asyncio.gather(*(asyncio.to_thread(one.start) for one in daphnes))
        yield Fleet(daphnes=daphnes, redis=redis, postgres=database, front=front, redis_proxy=redis_proxy)
