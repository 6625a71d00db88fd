"""The databases that Parley is measured on: SQLite in its data directory, PostgreSQL, and MongoDB or a stand-in.

A database of a server's is a process of the server side. One is made empty for each stack.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from pymongo import MongoClient

from tests.live.server import Daphne, Process
from tests.stores.mongodb import make_mongodb
from tests.stores.postgres import Postgres, make_postgres

SQLITE_FILE = "parley.sqlite3"
NAMED_MONGODB = "MONGODB_TEST_URL"
"""Names a MongoDB that runs already, a replica set, to use in place of the test server; it is not pinned or counted."""


class Database(ABC):
    """An installation's database."""

    process: Process | None = None
    """The server, if it is ours."""

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What tells Parley where it is."""

    def make(self, server: Daphne) -> None:
        """Make the empty database; `process` runs."""
        server.manage("migrate", "--verbosity", "0")

    def settle(self) -> None:  # noqa: B027  most have nothing to do
        """Do what the database would else do in the background after many rows have come, during the measurement."""

    def discard(self) -> None:  # noqa: B027  most have nothing to do
        """Remove what is not in the stack's directory."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the server, if there is one, while the database is filled."""
        if self.process is None:
            yield
            return
        with self.process:
            self.process.start()
            yield


class SQLite(Database):
    """A file in the data directory."""

    def __init__(self, directory: Path, *, synchronous: str) -> None:
        self._template = directory.parent / f"migrated-{SQLITE_FILE}"
        self._synchronous = synchronous

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PARLEY_SQLITE_SYNCHRONOUS": self._synchronous}

    def make(self, server: Daphne) -> None:
        """Migrate once in a run and copy from then on."""
        if not self._template.exists():
            super().make(server)
            shutil.copyfile(server.data_dir / SQLITE_FILE, self._template)
        shutil.copyfile(self._template, server.data_dir / SQLITE_FILE)


class PostgreSQL(Database):
    """A server with its own settings, of Debian's package or the wheel, and an ack once a message is on the disk."""

    process: Postgres

    def __init__(self, _: Path) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="parley-bench-postgres-"))
        self.process = make_postgres(self._home)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"DATABASE_URL": self.process.url}

    def settle(self) -> None:
        with psycopg.connect(self.process.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def discard(self) -> None:
        shutil.rmtree(self._home)


class MongoDB(Database):
    """The MongoDB that `MONGODB_TEST_URL` names, else the test server of the wheel."""

    named: ClassVar[bool] = NAMED_MONGODB in os.environ

    def __init__(self, directory: Path) -> None:
        self._name = f"parley_bench_{uuid4().hex[:8]}"
        self._url = os.environ.get(NAMED_MONGODB, "")
        if self.named:
            return
        # Each commit is on the disk, as with `j: true`.
        self.process = make_mongodb(directory, "--sync-on-commit")
        self._url = self.process.url

    @property
    def environment(self) -> Mapping[str, str]:
        return {"DATABASE_URL": urlsplit(self._url)._replace(path=f"/{self._name}").geturl()}

    def discard(self) -> None:
        if self.named:
            with MongoClient(self._url) as client:
                client.drop_database(self._name)
