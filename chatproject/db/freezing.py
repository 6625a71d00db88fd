"""Keeps writes out of a store that is frozen: in maintenance, or while a copy is being made into it.

The truth is a row in the store itself (`chatproject.stores.models.Freeze`), which all processes share. A process may
write only on the strength of a look at that row that is younger than `LEASE_SECONDS`, so nobody has to be told: once
that time has passed since the row was stored, no transaction can begin and no statement be sent. Servers look every
`LOOK_SECONDS` beside the way of messages, which so costs a comparison; any other process looks when it is about to
write. What was sent before, and what had written before, is waited for (`chatproject.db.settling`).

`db.atomic` (before it opens a transaction, and when it is open), the statements of `db.rows` and, through `WriteGuard`,
everything that the ORM writes ask here.
"""

from __future__ import annotations

import time
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections

LEASE_SECONDS = 5.0
LOOK_SECONDS = 2.0
RETRY_AFTER = 5
"""Seconds after which a client that was refused should try again."""

MODEL = ("stores", "Freeze")


class _State:
    """What this process knows: whether the store is frozen, and until when (monotonic seconds) it may rely on that."""

    frozen = False
    until = 0.0
    has_table = False
    exempt = False


def check_writable(using: str = DEFAULT_DB_ALIAS) -> None:
    """Raise `Maintenance` while the default database is frozen; others are written by whoever freezes."""
    if using != DEFAULT_DB_ALIAS or _State.exempt:
        return
    connections[DEFAULT_DB_ALIAS].ensure_connection()  # what comes next is not to wait for one
    if time.monotonic() >= _State.until:
        look()
    if _State.frozen:
        from chatproject.errors import Maintenance  # noqa: PLC0415  it stands on this package

        raise Maintenance(retry_after=RETRY_AFTER)


def look() -> bool:
    """Ask the store whether it is frozen, and tell; within a transaction too. Raises `DatabaseError`."""
    asked_at = time.monotonic()
    _State.frozen = _has_table() and _has_row()
    _State.until = asked_at + LEASE_SECONDS
    return _State.frozen


def is_frozen() -> bool:
    """Tell what this process knows, without a query."""
    return _State.frozen


def exempt_process(*, exempt: bool = True) -> None:
    """Let this process write whatever the store says, and ask it nothing: for commands that fill a frozen store."""
    _State.exempt = exempt


def forget() -> None:
    """Look again at the next write."""
    _State.frozen, _State.until = False, 0.0


def in_transaction() -> bool:
    """Tell whether this thread has a transaction open."""
    connection = connections[DEFAULT_DB_ALIAS]
    return bool(getattr(connection, "in_atomic_block_mongo", False) or connection.in_atomic_block)


def _has_row() -> bool:
    """Tell whether the row is there now. SQLite's open transaction lets nobody else put it; PostgreSQL shows it."""
    model = apps.get_model(*MODEL)
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "mongodb":
        return bool(model._default_manager.using(DEFAULT_DB_ALIAS).exists())
    from chatproject.db.mongodb.errors import raising_djangos  # noqa: PLC0415  with MongoDB alone

    # Outside of the open transaction, whose snapshot does not show what came since.
    return raising_djangos(connection.get_collection(model._meta.db_table).find_one)({}) is not None


def _has_table() -> bool:
    """Tell whether the store's schema knows of freezes yet: `migrate` writes before it does."""
    connection = connections[DEFAULT_DB_ALIAS]
    if not _State.has_table:
        table = apps.get_model(*MODEL)._meta.db_table
        _State.has_table = connection.vendor == "mongodb" or table in connection.introspection.table_names()
    return _State.has_table


class WriteGuard:
    """A database router that asks before the ORM writes, whoever calls it: the admin and Django's own apps too."""

    def db_for_write(self, model: type[Any], **hints: Any) -> None:
        """Raise `Maintenance` while nothing may be written; where to write is for others to say."""
        check_writable()

    def db_for_read(self, model: type[Any], **hints: Any) -> None:
        """Have no opinion."""
