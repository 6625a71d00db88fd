"""Tests of what doctor says of a database that promises less than Parley does, on real servers that were told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.live.server import ROOT, make_daphne
from tests.stores.mongodb import MongoWire, mongodb
from tests.stores.postgres import Postgres, postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def a_postgres() -> Iterator[Postgres]:
    """A server whose own configuration is that of a careless operator."""
    with postgres(synchronous_commit="off") as server:
        yield server


@pytest.fixture(scope="module")
def a_mongodb() -> Iterator[MongoWire]:
    """A replica set of one."""
    with mongodb() as server:
        yield server


def durability(directory: Path, url: str) -> list[tuple[str, str]]:
    """Return the level and message of each finding about durability."""
    server = make_daphne(directory, DATABASE_URL=url)
    command = [sys.executable, "manage.py", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False)
    findings = json.loads(done.stdout)["findings"]
    assert all(finding["level"] == "ok" or finding["remedy"] for finding in findings)
    return [(finding["level"], finding["message"]) for finding in findings if finding["part"] == "durability"]


@pytest.mark.parametrize(
    ("option", "level", "says"),
    [
        ("", "ok", "synchronous_commit is on"),
        ("-c synchronous_commit=remote_apply", "ok", "synchronous_commit is remote_apply"),
        ("-c jit=off --synchronous-commit=remote_write", "ok", "synchronous_commit is remote_write"),
        ("-c synchronous_commit=local", "warn", "synchronous_commit is local"),
        ("-c synchronous_commit=off", "FAIL", "synchronous_commit is off"),
    ],
)
def test_what_the_operator_asks_of_postgresql_wins(
    a_postgres: Postgres, tmp_path: Path, option: str, level: str, says: str
) -> None:
    """Over our `on`, as ours does over the configuration of the server; what may lose a message is told."""
    url = f"{a_postgres.url}?options={quote(option)}" if option else a_postgres.url

    ((found, message),) = durability(tmp_path, url)

    assert found == level
    assert says in message


@pytest.mark.parametrize(
    ("query", "level", "says"),
    [
        ("", "ok", "confirmed messages survive the loss of a member"),
        ("journal=false", "warn", "journal is false"),
        ("readPreference=secondaryPreferred", "warn", "readPreference is secondaryPreferred"),
        ("readConcernLevel=local", "warn", "readConcernLevel is local"),
        ("w=1", "FAIL", "w is 1: the loss of one member may take acked messages"),
    ],
)
def test_each_weaker_promise_of_mongodb_is_told(
    a_mongodb: MongoWire, tmp_path: Path, query: str, level: str, says: str
) -> None:
    """Not the write concern alone."""
    findings = durability(tmp_path, f"{a_mongodb.url}?{query}")

    assert level in {found for found, _ in findings}
    assert [found for found, message in findings if says in message] == [level]


def test_all_of_them_are_told_at_once(a_mongodb: MongoWire, tmp_path: Path) -> None:
    """One line for each."""
    url = f"{a_mongodb.url}?journal=false&readPreference=primaryPreferred&readConcernLevel=available"

    findings = durability(tmp_path, url)

    assert [message.partition(" ")[0] for level, message in findings if level == "warn"] == [
        *("journal", "readPreference", "readConcernLevel")
    ]
