"""The versions of everything that took part, for the report."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from importlib import metadata
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from bench.machine import output_of
from bench.stacks.databases import NAMED_MONGODB, MongoDB
from tests.live.server import redis_executable
from tests.stores.postgres import programs

PACKAGES = (
    "django", "channels", "channels-redis", "daphne", "twisted", "autobahn", "redis", "cryptography", "msgspec",
    "uvicorn", "uvloop", "websockets", "granian",
)  # fmt: skip
STORE_PACKAGES = ("psycopg", "django-mongodb-backend", "pymongo")
EXPRESS = Path(__file__).parent / "peers" / "express" / "package.json"


def all_of_them() -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "SQLite (Python)": sqlite3.sqlite_version,
        "Node.js": output_of("node", "--version").removeprefix("v"),
        "Redis": output_of(redis_executable(), "--version").split("v=")[-1].split(" ")[0],
        "Prosody": output_of("dpkg-query", "-W", "-f", "${Version}\n", "prosody"),
    }
    found.update((name, _version(name)) for name in PACKAGES)
    found.update(json.loads(EXPRESS.read_text())["dependencies"])
    return found


def of_stores() -> dict[str, str]:
    """Return the versions of what the three stores are made of."""
    try:
        postgres = output_of(str(programs() / "postgres"), "--version").split(") ")[-1]
    except FileNotFoundError:
        postgres = "not there"
    return {
        "SQLite (Python)": sqlite3.sqlite_version,
        "PostgreSQL": postgres,
        "MongoDB": _mongodb(),
        **{name: _version(name) for name in STORE_PACKAGES},
    }


def _mongodb() -> str:
    """Return the version of the MongoDB that was named, or that of the test server in its place."""
    if not MongoDB.named:
        return f"none; secantusdb {_version('secantusdb')} in its place"
    with MongoClient[Any](os.environ[NAMED_MONGODB]) as client:
        return str(client.server_info()["version"])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not there"
