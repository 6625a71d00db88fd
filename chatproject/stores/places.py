"""Opens a store by its URL, beside the one that this process is configured with, and says in one line what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError, Error, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import load_backend
from django.utils.connection import ConnectionDoesNotExist

from chatproject import databases, db
from chatproject.env import ENV
from realtime.diagnosis.databases import UNKNOWN, remedy_for, where
from realtime.diagnosis.findings import first_line, place

APPS = ("accounts", "messaging", "stores")
"""The apps of ours that have tables."""


class StoreProblem(Exception):
    """Something keeps an operator's command from its work; the message says what, and what to do, in one line."""


class StoreUnreachable(StoreProblem):
    """A store cannot be opened, so that nobody knows what it says."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open store: its alias among Django's connections, its name without credentials, its kind, and its URL."""

    alias: str
    name: str
    vendor: str
    url: str = field(repr=False)


def open_store(alias: str, url: str, *, option: str) -> Store:
    """Connect to a store and check that its schema is this program's. `option` is how the operator named it.

    An empty URL is the embedded default. Raises `StoreProblem`; it is a `StoreUnreachable` where the store is at fault.
    """
    settings = _settings(url, option)
    name = _name(url, settings)
    vendor = _vendor(settings)
    _prepare(alias, settings)
    store = Store(alias, name, vendor, url)
    with naming(store, option):
        if vendor == "sqlite" and not Path(settings["NAME"]).exists():
            raise StoreUnreachable(
                f"{option}: there is no file {name}. Correct the path, or make it: {_migrate(option)}"
            )
        _check_schema(store, option)
    return store


def name_of(url: str, *, option: str) -> str:
    """Return what `open_store` would call a store, without asking it. Raises `StoreProblem`."""
    return _name(url, _settings(url, option))


@contextmanager
def naming(store: Store, option: str) -> Iterator[None]:
    """Turn what a driver raises into one line that names the store and says what to do."""
    try:
        yield
    except StoreProblem:
        raise
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        raise StoreUnreachable(f"{option}: {store.name}: {_with_remedy(error, option)}") from error


@contextmanager
def in_one_line(option: str, *, comfort: str = "") -> Iterator[None]:
    """Turn what may go wrong with a store under way into a `CommandError` of one line, which ends with the comfort."""
    try:
        yield
    except StoreProblem as problem:
        raise CommandError(str(problem)) from None
    except KeyboardInterrupt:
        raise CommandError(f"Stopped.{comfort}") from None
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        raise CommandError(f"{_with_remedy(error, option)}.{comfort}") from None


def trouble_with(error: Exception) -> str | None:
    """Say in one line what is wrong with the configured store; None for an error that is none of its own.

    What the database says of a statement that is wrong has no remedy but a look at where it comes from, and what is
    said of a file may be of any file.
    """
    known = isinstance(error, Error) and (db.is_outage(error) or remedy_for(error) != UNKNOWN)
    return f"{where()}: {_with_remedy(error)}" if known or _is_of_driver(error) else None


def _is_of_a_store(error: Exception) -> bool:
    """Tell whether an error comes from the stores, where nothing else is worked with."""
    return isinstance(error, (DatabaseError, OSError, ImproperlyConfigured)) or _is_of_driver(error)


def _is_of_driver(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("pymongo", "bson", "psycopg", "sqlite3")


def _with_remedy(error: Exception, option: str = "DATABASE_URL") -> str:
    return f"{first_line(error)} -> {remedy_for(error).replace('DATABASE_URL', option)}"


def _settings(url: str, option: str) -> dict[str, Any]:
    try:
        return databases.parse(url, data_dir=ENV.data_dir, sqlite_synchronous=ENV.sqlite_synchronous)
    except (ImproperlyConfigured, ValueError) as error:
        raise StoreProblem(f"{option}: {first_line(error).removeprefix('DATABASE_URL: ')}") from None


def _name(url: str, settings: dict[str, Any]) -> str:
    if settings["ENGINE"].endswith("sqlite3"):
        return str(Path(settings["NAME"]).resolve())
    return place(url).partition("?")[0]


def _vendor(settings: dict[str, Any]) -> str:
    last = settings["ENGINE"].rpartition(".")[2]
    return str({"sqlite3": "sqlite"}.get(last, last))


def _prepare(alias: str, settings: dict[str, Any]) -> None:
    """Make Django know the connection under its alias, in the place of a former one."""
    close_store(alias)
    complete = connections.configure_settings({"default": {}, alias: settings})[alias]
    connections[alias] = load_backend(complete["ENGINE"]).DatabaseWrapper(complete, alias)


def close_store(alias: str) -> None:
    """Let go of a store, if it was opened."""
    with suppress(ConnectionDoesNotExist):
        connections[alias].close()
        del connections[alias]


def _check_schema(store: Store, option: str) -> None:
    """Raise `StoreProblem` unless exactly the migrations of this program are applied."""
    ours = {key for key in MigrationLoader(None, ignore_no_migrations=True).disk_migrations if key[0] in APPS}
    applied = {key for key in MigrationRecorder(connections[store.alias]).applied_migrations() if key[0] in APPS}
    if unknown := sorted(applied - ours):
        newest = ".".join(unknown[-1])
        raise StoreProblem(f"{option}: {store.name} has a newer schema ({newest}) -> run this with the newer Parley")
    if missing := sorted(ours - applied):
        what = f"an older schema, without {'.'.join(missing[0])}" if applied else "no tables yet"
        raise StoreUnreachable(f"{option}: {store.name} has {what} -> {_migrate(option)}")


def _migrate(option: str) -> str:
    return f"run: DATABASE_URL=<the URL of {option}> manage.py migrate"
