"""The three stores that the suite runs on: each starts a server where it needs one, and makes databases there.

An installation is a data directory; it has one database, which all servers started in that directory share.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from pymongo import MongoClient
from pymongo.operations import IndexModel

from tests.stores.mongodb import mongodb
from tests.stores.postgres import postgres

NAMES = ("sqlite", "mongodb", "postgres")
SQLITE_FILE = "parley.sqlite3"


class Store(Protocol):
    """Where the databases of a run are."""

    name: str

    def environment(self, data_dir: Path) -> dict[str, str]:
        """Return what tells a server that keeps its files in this directory about its database."""

    def copy(self, source: Path, target: Path) -> None:
        """Give one installation a copy of another one's database, which nobody uses meanwhile."""

    def drop(self, data_dir: Path) -> None:
        """Remove an installation's database, if there is one."""


class SQLite:
    """A file in the data directory."""

    name = "sqlite"

    def environment(self, data_dir: Path) -> dict[str, str]:
        """Return nothing: without a URL there is SQLite."""
        return {}

    def copy(self, source: Path, target: Path) -> None:
        """Copy the file."""
        shutil.copyfile(source / SQLITE_FILE, target / SQLITE_FILE)

    def drop(self, data_dir: Path) -> None:
        """Do nothing: the file goes with its directory."""


class _Server:
    """What the stores with a server share: a database's name comes from that of the installation's directory."""

    def __init__(self, url: str) -> None:
        self.parts = urlsplit(url)
        self.base = self.parts.path.strip("/")

    def database(self, data_dir: Path) -> str:
        """Return the name of an installation's database, unlike that of every other run."""
        return f"{self.base}_{hashlib.sha256(bytes(data_dir)).hexdigest()[:16]}"

    def environment(self, data_dir: Path) -> dict[str, str]:
        """Return the URL of the installation's database."""
        return {"DATABASE_URL": self.parts._replace(path=f"/{self.database(data_dir)}").geturl()}


class PostgreSQL(_Server):
    """A database on the server, copied as a template."""

    name = "postgres"

    def copy(self, source: Path, target: Path) -> None:
        """Let the server copy its files."""
        self._execute(f'CREATE DATABASE "{self.database(target)}" TEMPLATE "{self.database(source)}"')

    def drop(self, data_dir: Path) -> None:
        """Drop it, whoever is still connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{self.database(data_dir)}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.parts._replace(path="/postgres").geturl(), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


class MongoDB(_Server):
    """A database on the server, copied collection by collection."""

    name = "mongodb"

    def copy(self, source: Path, target: Path) -> None:
        """Copy documents and indexes."""
        with MongoClient[dict[str, Any]](self.parts.geturl()) as client:
            old, new = client[self.database(source)], client[self.database(target)]
            for name in old.list_collection_names():
                collection = new.create_collection(name)
                if documents := list(old[name].find()):
                    collection.insert_many(documents)
                indexes = [dict(index) for index in old[name].list_indexes() if index["name"] != "_id_"]
                models = [IndexModel(list(index.pop("key").items()), **_options(index)) for index in indexes]
                if models:
                    collection.create_indexes(models)

    def drop(self, data_dir: Path) -> None:
        """Drop it."""
        with MongoClient[dict[str, Any]](self.parts.geturl()) as client:
            client.drop_database(self.database(data_dir))


def _options(index: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name not in ("v", "ns")}


def current() -> Store:
    """Return the store of this run, which the plugin has named in `DATABASE_URL`."""
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        return SQLite()
    return MongoDB(url) if url.startswith("mongodb") else PostgreSQL(url)


@contextmanager
def started(name: str) -> Iterator[str]:
    """Start what a store needs, and stop it at the end. Gives the value of `DATABASE_URL`.

    `MONGODB_TEST_URL` names a MongoDB that runs already, to use in place of the test server; it must be a replica set.
    """
    run = f"parley_{uuid4().hex[:8]}"
    if name == "sqlite":
        yield ""
    elif name == "postgres":
        with postgres(fsync="off") as server:
            yield urlsplit(server.url)._replace(path=f"/{run}").geturl()
    elif name != "mongodb":
        raise ValueError(f"TEST_STORE is one of {', '.join(NAMES)}, not {name!r}.")
    elif url := os.environ.get("MONGODB_TEST_URL"):
        yield urlsplit(url)._replace(path=f"/{run}").geturl()
    else:
        with mongodb() as wire:
            yield urlsplit(wire.url)._replace(path=f"/{run}").geturl()
