"""Waits, after a freeze, until nothing can be committed any more that was allowed to begin before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db import transaction as django_transaction

from chatproject.databases import PATIENCE_SECONDS

Wait = Callable[[float, str], object]
"""Called with seconds to wait and with what is waited for, for people to read."""

AT_ONCE = 0.05
"""Seconds. SQLite gives a turn that is free in less, and who waits asks for it every tenth of a second."""
LIFETIME = "transactionLifetimeLimitSeconds"
DEFAULT_LIFETIME = 60
"""How long a transaction of MongoDB lives, where the server does not tell."""


def wait_for_writers(tables: Sequence[str], *, wait: Wait) -> None:
    """Return once every transaction that is open now, and every statement under way, has ended.

    PostgreSQL is asked for a lock on the tables, SQLite for a turn. MongoDB tells nobody what is open, and ends it.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "mongodb":
        wait(_seconds_on_mongodb(connection), "MongoDB tells nobody which transactions are open, and ends them by then")
    elif connection.vendor == "postgresql":
        names = ", ".join(connection.ops.quote_name(table) for table in tables)
        with django_transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {names} IN SHARE MODE")
    elif not _turn_came_at_once():
        wait(connection.settings_dict["OPTIONS"]["timeout"], "somebody was writing, and others may wait for their turn")
        _turn_came_at_once()


def _turn_came_at_once() -> bool:
    """Take SQLite's turn to write, and tell whether nobody else had it: those who wait have no order among them."""
    asked_at = time.monotonic()
    with django_transaction.atomic():  # IMMEDIATE
        return time.monotonic() - asked_at < AT_ONCE


def _seconds_on_mongodb(connection: Any) -> float:
    """Return how long a transaction may still commit whose first statement is on its way now.

    The driver waits for a server and for a connection. The server then looks for transactions that are too old every
    half of their lifetime, at least once a second and once a minute.
    """
    from pymongo.errors import OperationFailure  # noqa: PLC0415  with MongoDB alone

    connection.ensure_connection()
    try:
        told = connection.database.client.admin.command({"getParameter": 1, LIFETIME: 1}).get(LIFETIME)
    except OperationFailure:  # not everybody may ask, and a `mongos` does not know
        told = None
    lifetime = float(told or DEFAULT_LIFETIME)
    return 2 * PATIENCE_SECONDS + lifetime + min(max(lifetime / 2, 1), 60)
