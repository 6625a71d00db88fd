"""Parley as it is run: Daphne, Redis, and one of its three databases."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import machine
from bench.stacks.base import People, Stack, output, seed
from bench.stacks.databases import Database, MongoDB, PostgreSQL, SQLite
from tests.live.server import LOOPBACK, make_daphne, make_redis

DATABASES: dict[str, Callable[[Path], Database]] = {
    "full": partial(SQLite, synchronous="full"),
    "normal": partial(SQLite, synchronous="normal"),
    "postgres": PostgreSQL,
    "mongodb": MongoDB,
}
"""By the second half of a variant's name; SQLite's durability stands for itself, the others are as durable as FULL."""

OTHER_SERVERS = {
    "uvicorn": (
        "uvicorn", "--host", LOOPBACK, "--port", "{port}", "--loop", "uvloop", "--http", "httptools",
        "--ws", "websockets-sansio", "--log-level", "warning", "--backlog", "4096",
    ),
    "granian": (
        "granian", "--interface", "asgi", "--host", LOOPBACK, "--port", "{port}", "--workers", "1",
        "--loop", "uvloop", "--log-level", "warning", "--backlog", "4096",
    ),
}  # fmt: skip
"""The same application on servers that are never required; each takes the application's name as its last argument."""


class Parley(Stack):
    """The application at hand, through its native door."""

    dialect = "parley"

    def __init__(self, directory: Path, *, database: str = "full", asgi_server: str = "daphne") -> None:
        super().__init__(directory)
        self.redis = make_redis(directory)
        self.database = DATABASES[database](directory)
        self.server = make_daphne(
            directory, REDIS_URL=self.redis.url, PARLEY_LOG_LEVEL="WARNING", **self.database.environment
        )
        if asgi_server != "daphne":
            arguments = [part.format(port=self.server.port) for part in OTHER_SERVERS[asgi_server]]
            self.server.command = [sys.executable, "-m", *arguments, "chatproject.asgi:application"]
        self._made = False
        self.add("redis", self.redis)
        if self.database.process is not None:
            self.add("database", self.database.process)
        self.add("server", self.server)

    @property
    def port(self) -> int:
        return self.server.port

    def populate(self, count: int, *, group: bool = False, messages: int = 0, fill: Sequence[int] = ()) -> People:
        """`messages` go into each chat; `fill` are the lengths of the histories of the first chats."""
        command = [sys.executable, "-m", "bench.seed_parley", "--people", str(count), "--messages", str(messages)]
        command += ["--fill", *map(str, fill)]
        with self.database.running():
            self.database.make(self.server)
            return seed([*command, "--group"] if group else command, self.server.environment)

    def grow(self, size: int, *, chats: int, away: int) -> People:
        """Bring the installation to a size, from an empty database or a smaller size (see `bench.seed_sizes`)."""
        command = [sys.executable, "-m", "bench.seed_sizes", "--size", str(size), "--chats", str(chats)]
        command += ["--away", str(away)]
        with self.database.running():
            if not self._made:
                self.database.make(self.server)
                self._made = True
            people = seed(command, self.server.environment)
            self.database.settle()
        return people

    def store_batches(self, people: People, *, count: int) -> dict[str, float]:
        """Time `count` transactions of the store, beside the server that runs (see `bench.store_batches`)."""
        command = [sys.executable, "-m", "bench.store_batches", "--count", str(count), "--chats", *people.chats]
        found: dict[str, float] = output(machine.on_server_core(command), self.server.environment)
        return found

    def discard(self) -> None:
        self.database.discard()
