"""Turns `DATABASE_URL` into Django's database settings; without one, SQLite in the data directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

# A checkpoint writes a page once, however often the log holds it: fewer, larger ones save a third of the writing. While
# a server runs it does them beside the writer (`db.fold_log`); this is how far the log grows at the most.
# A statement of many rows keeps a journal of its own, which belongs in memory rather than in a file.
PRAGMAS = (
    "PRAGMA journal_mode=WAL; PRAGMA synchronous={}; PRAGMA foreign_keys=ON; PRAGMA cache_size=-20000; "
    "PRAGMA wal_autocheckpoint=16000; PRAGMA temp_store=MEMORY;"
)

PATIENCE_SECONDS = 5
"""How long a connection may take: longer, and the calls of people who wait would hold every thread there is."""

MONGODB_OPTIONS: dict[str, Any] = {
    # What was acked survives the loss of any one member, and what was read is never rolled back.
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    # A secondary lags behind: the writer would not find its own message, and a client be shown a number of the past.
    "readPreference": "primary",
    "retryWrites": True,
    "retryReads": True,
    # One client for all threads of a process. Beyond its size a thread waits, and then answers that it cannot.
    "maxPoolSize": 50,
    "waitQueueTimeoutMS": PATIENCE_SECONDS * 1000,
    "maxIdleTimeMS": 600_000,
    "connectTimeoutMS": PATIENCE_SECONDS * 1000,
    "serverSelectionTimeoutMS": PATIENCE_SECONDS * 1000,
    # No time-out of the socket: building an index may take minutes, and a member that hangs is noticed by the driver's
    # own look at it, which then breaks off what waits for it.
    "appName": "parley",
}
"""What the driver is told unless the URL says otherwise; TLS and SCRAM come with the URL."""


def is_mongodb(url: str) -> bool:
    """Tell whether the URL names a MongoDB."""
    return urlsplit(url).scheme in ("mongodb", "mongodb+srv")


def parse(url: str, *, data_dir: Path, sqlite_synchronous: str = "full") -> dict[str, Any]:
    """Return the settings of the default database. Raises `ImproperlyConfigured` for a scheme we do not serve.

    With `sqlite_synchronous="full"` an acknowledged message survives a power cut; with `"normal"` SQLite may lose the
    last ones to it, never to a killed process.
    """
    scheme = urlsplit(url).scheme
    if not url:
        return _sqlite(data_dir / "parley.sqlite3", sqlite_synchronous)
    if scheme == "sqlite":
        return _sqlite(Path(dj_database_url.parse(url)["NAME"]), sqlite_synchronous)
    if is_mongodb(url):
        return _mongodb(url)
    if scheme in ("postgres", "postgresql"):
        return _postgresql(url)
    raise ImproperlyConfigured(f"DATABASE_URL: {scheme or 'a URL without scheme'} is not sqlite, mongodb or postgres.")


def _malformed(problem: str) -> ImproperlyConfigured:
    """Return what stops the start. It never repeats the URL, which holds a password."""
    return ImproperlyConfigured(
        f"DATABASE_URL is no address: {problem}. Write SCHEME://USER:PASSWORD@HOST:PORT/NAME, and percent-encode what "
        "is neither a letter nor a digit in the password."
    )


def _mongodb(url: str) -> dict[str, Any]:
    from pymongo.errors import ConfigurationError, InvalidURI  # noqa: PLC0415  with MongoDB alone
    from pymongo.uri_parser import parse_uri  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.scheme == "mongodb":  # that of mongodb+srv would ask the network
        try:
            parse_uri(url)
        except (ConfigurationError, InvalidURI, ValueError) as error:
            raise _malformed(re.split(r"[.,] ", str(error))[0].rstrip(".")) from None
    chosen = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    options = {name: value for name, value in MONGODB_OPTIONS.items() if name.lower() not in chosen}
    name = parts.path.strip("/") or "parley"
    return {"ENGINE": "chatproject.db.mongodb", "HOST": url, "NAME": name, "OPTIONS": options}


def _postgresql(url: str) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = {**dj_database_url.parse(url)}
    except ValueError:
        raise _malformed("its host, port or password cannot be read") from None
    own = {"connect_timeout": PATIENCE_SECONDS, **settings.get("OPTIONS", {})}
    own["options"] = f"{own.get('options', '')} -c synchronous_commit=on".strip()
    return {**settings, "OPTIONS": own}


def _sqlite(path: Path, synchronous: str) -> dict[str, Any]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ImproperlyConfigured(
            f"{path.parent} cannot be made: {error.strerror}. Create it, owned by Parley's user, or name another "
            "directory in PARLEY_DATA_DIR or DATABASE_URL."
        ) from None
    return {
        "ENGINE": "chatproject.db.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            # A deferred transaction that turns into a write fails at once under contention; an immediate one waits.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": PRAGMAS.format(synchronous.upper()),
        },
        # A file rather than memory, so that the tests' threads meet on the same database as they do in service.
        "TEST": {"NAME": str(path.with_name(f"test-{path.name}"))},
    }
