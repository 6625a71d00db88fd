"""Parley as it is run: Daphne, Redis, SQLite."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.stacks.base import People, Stack, seed
from tests.live.server import make_daphne, make_redis

DATABASE = "parley.sqlite3"


class Parley(Stack):
    """The application at hand, through its native door."""

    dialect = "parley"

    def __init__(self, directory: Path, *, synchronous: str = "full") -> None:
        super().__init__(directory)
        self.redis = make_redis(directory)
        self.server = make_daphne(
            directory, REDIS_URL=self.redis.url, PARLEY_LOG_LEVEL="WARNING", PARLEY_SQLITE_SYNCHRONOUS=synchronous
        )
        self.add("redis", self.redis)
        self.add("server", self.server)

    @property
    def port(self) -> int:
        return self.server.port

    def populate(self, count: int, *, group: bool = False) -> People:
        self._make_database()
        command = [sys.executable, "-m", "bench.seed_parley", "--people", str(count)]
        return seed([*command, "--group"] if group else command, self.server.environment)

    def _make_database(self) -> None:
        """Migrate once in a run and copy from then on."""
        template = self.directory.parent / f"migrated-{DATABASE}"
        if not template.exists():
            self.server.manage("migrate", "--verbosity", "0")
            shutil.copyfile(self.server.data_dir / DATABASE, template)
        shutil.copyfile(template, self.server.data_dir / DATABASE)
