"""Checks of what the database promises: does it keep what it confirms, and show what it has kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from realtime.diagnosis.databases import remedy_for
from realtime.diagnosis.findings import Finding, Level, fail, first_line, ok, warn

PART = "durability"


def durable() -> Iterator[Finding]:
    """Ask the database whether what it confirms survives a power cut; one line for each thing that is against it."""
    try:
        connection = connections[DEFAULT_DB_ALIAS]
        connection.ensure_connection()
        check = {"sqlite": _sqlite, "postgresql": _postgresql}.get(connection.vendor, _mongodb)
        yield from check(connection)
    except DatabaseError as error:
        yield fail(PART, f"unknown: {first_line(error)}", remedy_for(error))


def _value(connection: Any, statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0]).lower()


def _sqlite(connection: Any) -> Iterator[Finding]:
    mode, synchronous = _value(connection, "PRAGMA journal_mode"), int(_value(connection, "PRAGMA synchronous"))
    full = 2
    if mode != "wal":
        remedy = "put the data directory on a local disk: network file systems cannot do WAL"
        yield fail(PART, f"journal_mode is {mode}, not wal", remedy)
    elif synchronous < full:
        remedy = "set PARLEY_SQLITE_SYNCHRONOUS=full, or know that a power cut may take acked messages"
        yield fail(PART, f"synchronous is {synchronous}, not FULL", remedy)
    else:
        yield ok(PART, "WAL, synchronous=FULL: a confirmed message survives a power cut")


def _postgresql(connection: Any) -> Iterator[Finding]:
    off = [name for name in ("fsync", "full_page_writes") if _value(connection, f"SHOW {name}") == "off"]
    for name in off:
        yield fail(PART, f"{name} is off", f"set {name} = on in postgresql.conf")
    commit = _value(connection, "SHOW synchronous_commit")  # on, unless DATABASE_URL says otherwise
    remedy = "take synchronous_commit out of DATABASE_URL"
    if commit == "off":
        yield fail(PART, "synchronous_commit is off: a power cut may take acked messages", remedy)
    elif commit == "local":
        yield warn(PART, "synchronous_commit is local: a standby that takes over may lack acked messages", remedy)
    elif not off:
        yield ok(PART, f"fsync is on, synchronous_commit is {commit}: a confirmed message survives a power cut")


def _mongodb(connection: Any) -> Iterator[Finding]:
    findings = list(_against_mongodb(connection.database))
    yield from findings
    if all(finding.level is not Level.FAIL for finding in findings):
        yield ok(PART, "a replica set: confirmed messages survive the loss of a member")


def _against_mongodb(database: Any) -> Iterator[Finding]:
    concern = database.write_concern.document
    if (members := concern.get("w")) in (0, 1):
        yield fail(PART, f"w is {members}: the loss of one member may take acked messages", _out("w"))
    if concern.get("j") is False:
        yield warn(PART, "journal is false: a power cut of all members may take acked messages", _out("journal"))
    preference = database.read_preference.mongos_mode
    if preference != "primary":
        problem = f"readPreference is {preference}: a sender may not find their own message"
        yield warn(PART, problem, _out("readPreference"))
    level = database.read_concern.level
    if level not in ("majority", "linearizable", "snapshot"):
        yield warn(PART, f"readConcernLevel is {level}: what was shown may be rolled back", _out("readConcernLevel"))


def _out(option: str) -> str:
    return f"take {option} out of DATABASE_URL"
