"""Turns `DATABASE_URL` into Django's database settings; without one, SQLite in the data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

# A checkpoint writes a page once, however often the log holds it: fewer, larger ones save a third of the writing. While
# a server runs it does them beside the writer (`db.fold_log`); this is how far the log grows at the most.
# A statement of many rows keeps a journal of its own, which belongs in memory rather than in a file.
PRAGMAS = (
    "PRAGMA journal_mode=WAL; PRAGMA synchronous={}; PRAGMA foreign_keys=ON; PRAGMA cache_size=-20000; "
    "PRAGMA wal_autocheckpoint=16000; PRAGMA temp_store=MEMORY;"
)


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
        name = urlsplit(url).path.strip("/") or "parley"
        return {"ENGINE": "django_mongodb_backend", "HOST": url, "NAME": name}
    if scheme in ("postgres", "postgresql"):
        return {**dj_database_url.parse(url), "OPTIONS": {"options": "-c synchronous_commit=on"}}
    raise ImproperlyConfigured(f"DATABASE_URL: {scheme or 'a URL without scheme'} is not sqlite, mongodb or postgres.")


def _sqlite(path: Path, synchronous: str) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "ENGINE": "django.db.backends.sqlite3",
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
