"""Checks of the database: can it be reached and written, is its schema ours; and what helps where it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.db import DEFAULT_DB_ALIAS, connections

from chatproject import db
from chatproject.env import ENV
from messaging.models import Chat, ChatKind
from realtime import health
from realtime.diagnosis.findings import Finding, fail, first_line, ok, place, said, warn

PART = "database"

_LOGIN = "correct the user and password in DATABASE_URL"
_OWNER = "make the user of DATABASE_URL the owner of its database and tables"
_HOST = "start the database, or correct host and port in DATABASE_URL"
_PRIMARY = (
    "name every member of the replica set in DATABASE_URL, without directConnection, and see whether it has a primary"
)
_AUTHORITY = "name the authority of its certificate in DATABASE_URL: tlsCAFile= (MongoDB) or sslrootcert= (PostgreSQL)"
_TLS = "see whether it runs and speaks TLS, and whether DATABASE_URL says the same (tls= for MongoDB)"
_OPTION = "correct this option in DATABASE_URL"
UNKNOWN = "see the message of the database"

_SYMPTOMS = (
    (r"too many c|connection slots are reserved", "raise max_connections of the database, or run fewer processes"),
    (r"requires authentication|no password supplied|password authentication|not permitted to log in", _LOGIN),
    (r"authenticationfailed", f"{_LOGIN}, and the authSource of the user"),
    (r"authentication|role \".*\" does not exist", _LOGIN),
    (r"unauthorized|not authorized", "grant the user of DATABASE_URL readWrite and dbAdmin on its database"),
    (r"permission denied for|no schema has been selected", _OWNER),
    (
        r"pg_hba\.conf.*, ssl encryption",
        "admit this user, database and address in pg_hba.conf, or correct DATABASE_URL",
    ),
    (r"pg_hba\.conf", "admit it in pg_hba.conf, or correct DATABASE_URL; sslmode=require where only TLS is admitted"),
    (r"connection option|invalid sslmode|configuration parameter|value for parameter", _OPTION),
    # TLS, before the words of a connection that failed by it.
    (r"certificate verify failed|root certificate file", _AUTHORITY),
    (r"verificationerror|mismatch|does not match host name", "name the host in DATABASE_URL as its certificate does"),
    (
        r"certificate required|client certificate|alert (unknown ca|bad certificate)",
        "name a certificate that the database knows in DATABASE_URL: tlsCertificateKeyFile=, or sslcert= and sslkey=",
    ),
    (
        r"private key file",
        "name the key of sslcert in DATABASE_URL by sslkey=, a file that Parley's user alone can read",
    ),
    (r"does not support ssl", "switch TLS on in the database, or leave sslmode out of DATABASE_URL"),
    (r"ssl|reset by peer|connection closed|econnreset", _TLS),
    # Replica sets, before the word "timeout" that a wait for them ends with.
    (
        r"replica set name|belongs to a set named",
        "correct replicaSet in DATABASE_URL, or run MongoDB as that replica set",
    ),
    (r"waiting for replication|data-bearing nodes", "start the members of the replica set: a majority has to confirm"),
    (r"notwritableprimary|notprimary|not primary|not master|match selector|no primary", _PRIMARY),
    (r"read-only transaction|session is read-only", "name the primary in DATABASE_URL: this server takes no writes"),
    (r"replica set|transaction numbers|no transactions", "run MongoDB as a replica set (one member will do)"),
    (r"database \".*\" does not exist", "create the database, or correct its name in DATABASE_URL"),
    (r"no such table|no such column|(relation|column) \S+ does not exist", "run: manage.py migrate"),
    (r"starting up|shutting down|recovery mode", "wait until the database has started"),
    (r"unable to open database file|readonly|read-only", "let Parley's user write the file and its directory"),
    (r"disk is full|disk i/o|no space left|file too large|quota", "make room on the disk"),
    (r"not a database|malformed", "this file is not a healthy SQLite database: restore a backup"),
    (r"dns|resolution|resolve host|could not translate|name or service|nodename|no address associated", _HOST),
    (r"refused|timed out|timeout|no servers|no route|unreachable|terminated abnormally|on socket", _HOST),
)
"""What databases say (patterns, in lower case), and what helps; the first that fits counts."""


class _Undo(Exception):
    """Rolls the trial write back."""


def where() -> str:
    """Return which database is meant, without credentials."""
    return place(ENV.database_url) if ENV.database_url else str(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"])


def remedy_for(error: BaseException) -> str:
    """Return what to do about an error of a database."""
    text = said(error).lower()
    return next(
        (remedy for symptom, remedy in _SYMPTOMS if re.search(symptom, text)),
        UNKNOWN,
    )


def reachable() -> Iterator[Finding]:
    """Connect, then write a row in a transaction that is rolled back."""
    try:
        health.database()
        missing = health.missing_migrations()
    except health.NotReady as error:
        yield fail(PART, f"{where()} has {error}", remedy_for(error))
        return
    except Exception as error:  # noqa: BLE001  drivers have errors of their own
        yield fail(PART, f"{where()} cannot be reached: {first_line(error)}", remedy_for(error))
        return
    if missing:
        yield ok(PART, f"{db.vendor()} at {where()} answers")
        return
    try:
        yield _written()
    except Exception as error:  # noqa: BLE001
        yield fail(PART, f"{where()} cannot be written: {first_line(error)}", remedy_for(error))


def _written() -> Finding:
    """Try to write. Raises what the database says."""
    if db.freezing.look():
        remedy = "see manage.py maintenance status, and when that is done: manage.py maintenance off"
        return warn(PART, f"{where()} takes no writes: it is in maintenance", remedy)
    if _leaves_a_trace():
        return fail(PART, f"{where()} does not roll transactions back", "run MongoDB as a replica set")
    return ok(PART, f"{db.vendor()} at {where()} can be written, in transactions")


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
