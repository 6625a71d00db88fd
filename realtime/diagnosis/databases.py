"""Checks of the database: can it be reached and written, does it keep what it confirms, is its schema ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from chatproject import db
from chatproject.env import ENV
from messaging.models import Chat, ChatKind
from realtime import health
from realtime.diagnosis.findings import Finding, fail, first_line, ok, place, warn

PART = "database"

_SYMPTOMS = (
    (("authentication", "not authorized", "role "), "correct the user and password in DATABASE_URL"),
    (("does not exist",), "create the database, or correct its name in DATABASE_URL"),
    (
        (
            "refused",
            "timed out",
            "timeout",
            "could not translate",
            "name or service",
            "nodename",
            "no servers",
            "resolve host",
        ),
        "start the database, or correct host and port in DATABASE_URL",
    ),
    (("unable to open database file", "readonly", "read-only"), "let Parley's user write the file and its directory"),
    (("disk is full", "disk i/o", "no space left", "file too large", "quota"), "make room on the disk"),
    (("not a database", "malformed"), "this file is not a healthy SQLite database: restore a backup"),
    (("replica set", "transaction numbers", "no transactions"), "run MongoDB as a replica set (one member will do)"),
    (("no such table", "no such column"), "run: manage.py migrate"),
)
"""What databases say, in lower case, and what helps; the first that fits counts."""


class _Undo(Exception):
    """Rolls the trial write back."""


def where() -> str:
    """Return which database is meant, without credentials."""
    return place(ENV.database_url) if ENV.database_url else str(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"])


def remedy_for(error: BaseException) -> str:
    """Return what to do about an error of a database."""
    text = str(error).lower()
    return next(
        (remedy for symptoms, remedy in _SYMPTOMS if any(symptom in text for symptom in symptoms)),
        "see the message of the database",
    )


def reachable() -> Iterator[Finding]:
    """Connect, then write a row in a transaction that is rolled back."""
    try:
        health.database()
    except health.NotReady as error:
        yield fail(PART, f"{where()} has {error}", remedy_for(error))
        return
    except Exception as error:  # noqa: BLE001  drivers have errors of their own
        yield fail(PART, f"{where()} cannot be reached: {first_line(error)}", remedy_for(error))
        return
    if health.missing_migrations():
        yield ok(PART, f"{db.vendor()} at {where()} answers")
        return
    if db.freezing.look():
        yield warn(
            PART, f"{where()} takes no writes: it is in maintenance", "when that is done: manage.py maintenance off"
        )
        return
    try:
        kept = _leaves_a_trace()
    except Exception as error:  # noqa: BLE001
        yield fail(PART, f"{where()} cannot be written: {first_line(error)}", remedy_for(error))
        return
    if kept:
        yield fail(PART, f"{where()} does not roll transactions back", "run MongoDB as a replica set")
    else:
        yield ok(PART, f"{db.vendor()} at {where()} can be written, in transactions")


def _leaves_a_trace() -> bool:
    """Tell whether a row written in a transaction is still there after its rollback; if so, remove it."""
    trial = Chat(kind=ChatKind.GROUP)
    try:
        with db.atomic():
            trial.save(force_insert=True)
            raise _Undo
    except _Undo:
        pass
    return Chat.objects.filter(pk=trial.pk).delete()[0] > 0


def durable() -> Iterator[Finding]:
    """Ask the database whether what it confirms survives a power cut."""
    part = "durability"
    try:
        connection = connections[DEFAULT_DB_ALIAS]
        connection.ensure_connection()
        check = {"sqlite": _sqlite, "postgresql": _postgresql}.get(connection.vendor, _mongodb)
        problem, remedy, good = check(connection)
    except DatabaseError as error:
        yield fail(part, f"unknown: {first_line(error)}", remedy_for(error))
        return
    yield fail(part, problem, remedy) if problem else ok(part, good)


def _value(connection: Any, statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0]).lower()


def _sqlite(connection: Any) -> tuple[str, str, str]:
    mode, synchronous = _value(connection, "PRAGMA journal_mode"), int(_value(connection, "PRAGMA synchronous"))
    if mode != "wal":
        remedy = "put the data directory on a local disk: network file systems cannot do WAL"
        return f"journal_mode is {mode}, not wal", remedy, ""
    full = 2
    if synchronous < full:
        return (
            f"synchronous is {synchronous}, not FULL",
            "set PARLEY_SQLITE_SYNCHRONOUS=full, or know that a power cut may take acked messages",
            "",
        )
    return "", "", "WAL, synchronous=FULL: a confirmed message survives a power cut"


def _postgresql(connection: Any) -> tuple[str, str, str]:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if _value(connection, f"SHOW {name}") == "off":
            return f"{name} is off", f"set {name} = on in postgresql.conf", ""
    return "", "", "fsync and synchronous_commit are on: a confirmed message survives a power cut"


def _mongodb(connection: Any) -> tuple[str, str, str]:
    concern = connection.database.write_concern.document
    if concern and concern.get("w") in (0, 1):
        return f"the write concern is {concern}", "put w=majority&journal=true into DATABASE_URL", ""
    return "", "", "a replica set: confirmed messages survive the loss of a member"


def migrated() -> Iterator[Finding]:
    """Compare the migrations of this program with the database's."""
    part = "migrations"
    try:
        missing = health.missing_migrations()
    except Exception as error:  # noqa: BLE001
        yield fail(part, f"unknown: {first_line(error)}", remedy_for(error))
        return
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        yield fail(part, f"the database has an older schema, without {shown}", "run: manage.py migrate")
    elif unknown := health.unknown_migrations():
        remedy = "run the version that made them; to stay with this one, migrate back with that version first"
        yield warn(part, f"the database has a newer schema, with {', '.join(unknown[:3])}", remedy)
    else:
        yield ok(part, "all are applied")
