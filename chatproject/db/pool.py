"""Lets the threads of a server take turns with a few connections to PostgreSQL (psycopg's own pool).

Each request has a thread of its own, and with it would have a connection of its own: opening one costs more than what
is asked on it, and a server has no more than some hundred. SQLite opens a file, and MongoDB's driver has a pool.
"""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, connections

SIZE = 15
"""Connections that a process shares; its five database threads keep one each. PostgreSQL takes 100 by default."""
TIMEOUT_SECONDS = 2
"""How long a request waits for one: while the database is away that is how long everybody waits to be told."""
IDLE_SECONDS = 600
RECONNECT_SECONDS = 2
"""How long the pool tries by itself, with growing pauses; afterwards whoever asks for a connection has it try anew."""


def share() -> None:
    """Begin to share. What runs for a moment and alone, as commands do, has no use for it.

    A connection is looked at before it is given out, so that one that has died meanwhile fails nobody. Who gets none
    within `TIMEOUT_SECONDS` gets an `OperationalError`.
    """
    settings = connections.settings[DEFAULT_DB_ALIAS]
    if settings["ENGINE"] != "django.db.backends.postgresql":
        return
    connections[DEFAULT_DB_ALIAS].close()  # the pool would take a connection of before for one of its own
    settings["CONN_HEALTH_CHECKS"] = True
    settings["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": SIZE,
        "timeout": TIMEOUT_SECONDS,
        "max_idle": IDLE_SECONDS,
        "reconnect_timeout": RECONNECT_SECONDS,
    }


def leave() -> None:
    """Give this thread a connection of its own, which tells at once why it cannot be had."""
    if "pool" in connections.settings[DEFAULT_DB_ALIAS].get("OPTIONS", ()):
        own = connections[DEFAULT_DB_ALIAS].copy()
        own.settings_dict["OPTIONS"].pop("pool")
        connections[DEFAULT_DB_ALIAS] = own
