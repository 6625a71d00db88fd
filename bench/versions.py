"""The versions of everything that took part, for the report."""

from __future__ import annotations

import json
import platform
import sqlite3
from importlib import metadata
from pathlib import Path

from bench.machine import output_of
from tests.live.server import redis_executable

PACKAGES = (
    "django", "channels", "channels-redis", "daphne", "twisted", "autobahn", "redis", "cryptography", "msgspec",
    "uvicorn", "uvloop", "websockets", "granian",
)  # fmt: skip
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


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not there"
