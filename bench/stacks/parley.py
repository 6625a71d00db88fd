"""Parley as it is run: Daphne, Redis, SQLite."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.stacks.base import People, Stack, seed
from tests.live.server import LOOPBACK, make_daphne, make_redis

DATABASE = "parley.sqlite3"
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

    def __init__(self, directory: Path, *, synchronous: str = "full", asgi_server: str = "daphne") -> None:
        super().__init__(directory)
        self.redis = make_redis(directory)
        self.server = make_daphne(
            directory, REDIS_URL=self.redis.url, PARLEY_LOG_LEVEL="WARNING", PARLEY_SQLITE_SYNCHRONOUS=synchronous
        )
        if asgi_server != "daphne":
            arguments = [part.format(port=self.server.port) for part in OTHER_SERVERS[asgi_server]]
            self.server.command = [sys.executable, "-m", *arguments, "chatproject.asgi:application"]
        self.add("redis", self.redis)
        self.add("server", self.server)

    @property
    def port(self) -> int:
        return self.server.port

    def populate(self, count: int, *, group: bool = False, messages: int = 0, fill: Sequence[int] = ()) -> People:
        """`messages` go into each chat; `fill` are the lengths of the histories of the first chats."""
        self._make_database()
        command = [sys.executable, "-m", "bench.seed_parley", "--people", str(count), "--messages", str(messages)]
        command += ["--fill", *map(str, fill)]
        return seed([*command, "--group"] if group else command, self.server.environment)

    def _make_database(self) -> None:
        """Migrate once in a run and copy from then on."""
        template = self.directory.parent / f"migrated-{DATABASE}"
        if not template.exists():
            self.server.manage("migrate", "--verbosity", "0")
            shutil.copyfile(self.server.data_dir / DATABASE, template)
        shutil.copyfile(template, self.server.data_dir / DATABASE)
