"""Somebody else who writes the same at the same time: makes the first tries of a transaction fail, each store's way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from django.db import connection

from accounts.models import User
from chatproject import db
from chatproject.ids import uuid7

Deed = Callable[[], None]


class Rival:
    """Interferes with the first `times` tries. Each calls `start` first and `meet` to write, a failed one `failed`."""

    def __init__(self, *, times: int, person: User) -> None:
        self.times = times
        self.person = person
        self.failures = 0

    def begin(self) -> None:
        """Get ready, before the first try."""

    def end(self) -> None:
        """Leave nothing behind."""

    def start(self) -> None:
        """Prepare a try, as the first thing in its transaction."""

    @property
    def lurks(self) -> bool:
        """Whether this try is one to interfere with."""
        return self.failures < self.times

    def meet(self, write: Deed) -> None:
        """Let the transaction `write`, with or without interference."""
        if self.lurks:
            self.interfere(write)
        else:
            write()

    def interfere(self, write: Deed) -> None:
        """Do what makes `write` fail."""
        write()

    def failed(self) -> None:
        """Note a failed try."""
        self.failures += 1

    def touch(self) -> None:
        """Change the row that the transaction writes, in a thread, with a connection, of its own."""

        def run() -> None:
            try:
                User.objects.filter(pk=self.person.pk).update(email=f"{uuid7()}@example.org")
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(run).result()


class SQLiteRival(Rival):
    """Holds the one lock there is, and lets go after so many tries. The tries wait for it a moment only."""

    def begin(self) -> None:
        """Take the lock."""
        self.held = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 5")
        if self.times:
            self.held.execute("BEGIN IMMEDIATE")

    def failed(self) -> None:
        """Let go of it in time."""
        super().failed()
        if not self.lurks:
            self.end()

    def end(self) -> None:
        """Let go of it."""
        self.held.close()


class MongoDBRival(Rival):
    """Changes the document after the transaction has begun to look at it: a write conflict."""

    def interfere(self, write: Deed) -> None:
        """Write first."""
        assert User.objects.filter(pk=self.person.pk).exists()  # the snapshot is taken
        self.touch()
        write()


class MongoDBAbort(Rival):
    """Lets the server end the transaction, which its commit is the first to hear of."""

    def interfere(self, write: Deed) -> None:
        """End the session once it has written."""
        write()
        made: Any = connection
        made.connection.admin.command("killSessions", [made.session.session_id])


class SerializationRival(Rival):
    """PostgreSQL's 40001: the row has changed since the transaction's snapshot."""

    def start(self) -> None:
        """Ask for a snapshot."""
        if self.lurks:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def interfere(self, write: Deed) -> None:
        """Write first."""
        assert User.objects.filter(pk=self.person.pk).exists()
        self.touch()
        write()


class DeadlockRival(Rival):
    """PostgreSQL's 40P01: each holds the lock that the other one waits for, and the transaction notices it first."""

    def interfere(self, write: Deed) -> None:
        """Hold the row, and wait for a lock of the transaction's."""
        parameters = connection.get_connection_params()
        options = {name: parameters[name] for name in ("dbname", "host", "port", "user")}
        with psycopg.connect(**options) as other, ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
            other.execute("SET deadlock_timeout = '60s'")
            other.execute("UPDATE users SET status = 'away' WHERE _id = %s", [self.person.pk])
            cursor.execute("SET LOCAL deadlock_timeout = '10ms'")
            cursor.execute("SELECT pg_advisory_xact_lock(1)")
            waiting = pool.submit(other.execute, "SELECT pg_advisory_xact_lock(1)")
            try:
                write()
            finally:
                connection.connection.rollback()  # so that the other one gets what it waits for
                waiting.result()


KINDS = {
    "sqlite": (SQLiteRival,),
    "mongodb": (MongoDBRival, MongoDBAbort),
    "postgresql": (SerializationRival, DeadlockRival),
}


def kinds() -> tuple[type[Rival], ...]:
    """Return the rivals of the store in use."""
    return KINDS[db.vendor()]
