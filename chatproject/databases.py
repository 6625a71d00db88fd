"""Turns `DATABASE_URL` into Django's database settings; without one, SQLite in the data directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from chatproject import tls_files

# A checkpoint writes a page once, however often the log holds it: fewer, larger ones save a third of the writing. While
# a server runs it does them beside the writer (`db.fold_log`); this is how far the log grows at the most.
# A statement of many rows keeps a journal of its own, which belongs in memory rather than in a file.
PRAGMAS = (
    "PRAGMA journal_mode=WAL; PRAGMA synchronous={}; PRAGMA foreign_keys=ON; PRAGMA cache_size=-20000; "
    "PRAGMA wal_autocheckpoint=16000; PRAGMA temp_store=MEMORY;"
)

PATIENCE_SECONDS = 5
"""How long a connection, or a majority's word, may take: longer, and those who wait would hold every thread."""

MONGODB_OPTIONS: dict[str, Any] = {
    # What was acked survives the loss of any one member, and what was read is never rolled back.
    "w": "majority",
    "journal": True,
    # With too few members alive no majority ever confirms, and the writer would wait for ever. This bounds that wait
    # alone; `timeoutMS`, which the driver would rather have, would also cut off whoever builds an index or sweeps. They
    # too are told when a majority takes longer to follow, and find their work done when they are run again.
    # The write is not undone. Whoever was refused sends it again, and it is found by its `clientId`.
    "wTimeoutMS": PATIENCE_SECONDS * 1000,
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

READ_COMMITTED = 2
"""`psycopg.IsolationLevel.READ_COMMITTED`; the driver is imported with PostgreSQL alone."""

_MONGODB_SCHEMES = ("mongodb", "mongodb+srv")
_DJANGO_OPTIONS = {"pool", "server_side_binding", "assume_role", "prepare_threshold"}
"""What Django and psycopg take beside libpq's own options."""


def is_mongodb(url: str) -> bool:
    """Tell whether the URL names a MongoDB."""
    return url.partition(":")[0].lower() in _MONGODB_SCHEMES


def parse(url: str, *, data_dir: Path, sqlite_synchronous: str = "full") -> dict[str, Any]:
    """Return the settings of the default database.

    Raises `ImproperlyConfigured` for a scheme that we do not serve, and for all that can be seen to be wrong without
    asking the database: in one line, with what to do, and without a password.

    With `sqlite_synchronous="full"` an acknowledged message survives a power cut; with `"normal"` SQLite may lose the
    last ones to it, never to a killed process.
    """
    if not url:
        return _sqlite(data_dir / "parley.sqlite3", sqlite_synchronous)
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may hold the password
        raise _malformed("its host cannot be read") from None
    if parts.scheme == "sqlite":
        return _sqlite(_path(url), sqlite_synchronous)
    if parts.scheme not in (*_MONGODB_SCHEMES, "postgres", "postgresql"):
        raise _refused(f"{parts.scheme or 'a URL without scheme'} is not sqlite, mongodb or postgres")
    _check_encoding(url, parts)
    return _mongodb(url, parts) if is_mongodb(url) else _postgresql(url)


def _refused(problem: str) -> ImproperlyConfigured:
    """Return what stops the start. It never repeats the URL, which holds a password."""
    return ImproperlyConfigured(f"DATABASE_URL: {problem}.")


def _malformed(problem: str) -> ImproperlyConfigured:
    """Return the same for an address that cannot be read, or would be read otherwise than it was meant."""
    return ImproperlyConfigured(
        f"DATABASE_URL is no address: {problem}. Write SCHEME://USER:PASSWORD@HOST:PORT/NAME, and percent-encode what "
        "is neither a letter nor a digit in the password."
    )


def _check_encoding(url: str, parts: SplitResult) -> None:
    """Refuse a password that ends too early for us: the rest of it would be taken for a place, and shown."""
    if "#" in url:
        raise _malformed("it has a # that is not encoded (%23)")
    if "@" in parts.path or any("=" not in pair for pair in _pairs(parts.query)):
        raise _malformed("its host, port or password cannot be read, or an option has no value")


def _pairs(query: str) -> list[str]:
    return [pair for pair in re.split("[&;]", query) if pair]


def _mongodb(url: str, parts: SplitResult) -> dict[str, Any]:
    from pymongo import MongoClient  # noqa: PLC0415  with MongoDB alone
    from pymongo.errors import PyMongoError  # noqa: PLC0415
    from pymongo.uri_parser import parse_uri  # noqa: PLC0415

    try:
        address = parse_uri(f"mongodb://{parts.netloc}{parts.path}")  # that of mongodb+srv would ask the network
    except (PyMongoError, ValueError):
        raise _malformed("its hosts, user, password or name cannot be read") from None
    pairs = _pairs(parts.query)
    for pair in pairs:
        _check_mongodb_option(pair)
    chosen = {name.lower(): unquote_plus(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    _check_mongodb_files(chosen)
    options = {name: value for name, value in MONGODB_OPTIONS.items() if name.lower() not in chosen}
    try:
        MongoClient[Any](url, **options, connect=False).close()
    except (PyMongoError, ValueError, TypeError) as error:  # each option is right, and together they are not
        raise _refused(f"MongoDB's driver does not take it: {error}".rstrip(".")) from None
    name = address["database"] or "parley"
    return {"ENGINE": "chatproject.db.mongodb", "HOST": url, "NAME": name, "OPTIONS": options}


def _check_mongodb_option(pair: str) -> None:
    """Refuse an option that the driver would pass over with a warning. Its value may be a secret."""
    from pymongo.errors import PyMongoError  # noqa: PLC0415  with MongoDB alone
    from pymongo.uri_parser import split_options  # noqa: PLC0415

    name = pair.partition("=")[0]
    try:
        split_options(pair)
    except OSError:
        return  # a file, which is looked into with the others
    except (PyMongoError, ValueError, TypeError) as error:
        if str(error).startswith("Unknown option"):
            raise _refused(f"MongoDB's driver knows no option {name}: correct its name or leave it out") from None
        raise _refused(f"MongoDB's driver does not take the value of {name}: correct it or leave it out") from None


def _check_mongodb_files(options: dict[str, str]) -> None:
    problems = {
        name: tls_files.no_certificates(options[name.lower()])
        for name in ("tlsCAFile", "tlsCRLFile")
        if name.lower() in options
    }
    if own := options.get("tlscertificatekeyfile"):
        password = options.get("tlscertificatekeyfilepassword", "")
        problems["tlsCertificateKeyFile"] = tls_files.no_own_certificate(own, password=password)
    _tell(problems)


def _tell(problems: dict[str, str]) -> None:
    """Raise the first problem that there is with an option."""
    for name, problem in problems.items():
        if problem:
            raise _refused(f"{name} {problem}")


def _postgresql(url: str) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = {**dj_database_url.parse(url)}
    except ValueError:
        raise _malformed("its host, port or password cannot be read") from None
    own = {"connect_timeout": PATIENCE_SECONDS, **settings.get("OPTIONS", {})}
    if not settings["NAME"] and "service" not in own:
        raise _malformed("it names no database")
    _check_postgresql_options(own)
    # Of two settings the server takes the last: the operator's.
    own["options"] = f"-c synchronous_commit=on {own.get('options', '')}".strip()
    # Whatever the role's or the database's default is: a transaction that did not see what has been committed since its
    # first look would write on in maintenance.
    return {**settings, "OPTIONS": {**own, "isolation_level": READ_COMMITTED}}


def _check_postgresql_options(options: dict[str, Any]) -> None:
    """Refuse an option that libpq does not know, and files that it would pass over or not find."""
    import psycopg  # noqa: PLC0415  with PostgreSQL alone
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    for name in options.keys() - _DJANGO_OPTIONS:
        try:
            make_conninfo(**{name: str(options[name])})
        except psycopg.ProgrammingError:
            raise _refused(f"PostgreSQL's driver knows no option {name}: correct its name or leave it out") from None
    problems = {
        name: tls_files.no_certificates(str(options[name]))
        for name in ("sslrootcert", "sslcert", "sslcrl")
        if options.get(name, "system") != "system"
    }
    if "sslkey" in options:
        problems["sslkey"] = tls_files.unreadable(str(options["sslkey"]))
    _tell(problems)


def _path(url: str) -> Path:
    """Return the file that the URL of a SQLite names; without its full path it would be another one, or none at all."""
    name = unquote(url.partition(":")[2].partition("?")[0])
    if not name.startswith("////") or not name.strip("/"):
        raise _refused(
            "SQLite needs the full path of a file, after four slashes: sqlite:////var/lib/parley/parley.sqlite3. "
            "Leave it empty for the file in PARLEY_DATA_DIR"
        )
    return Path(name.removeprefix("///"))


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
