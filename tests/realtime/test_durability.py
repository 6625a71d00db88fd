"""Tests of what doctor says of a database that promises less than Parley does, on real servers that were told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from realtime.diagnosis.durability import durable
from realtime.diagnosis.findings import Check
from tests.live.server import ROOT, make_daphne
from tests.stores.elsewhere import Look
from tests.stores.mongodb import MongoWire, mongodb
from tests.stores.postgres import Postgres, postgres

pytestmark = pytest.mark.slow

Durability = Callable[[str], list[tuple[str, str]]]


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


def told(findings: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    """Return the level and message of each finding about durability; what is not well has a remedy."""
    found = [finding for finding in findings if finding["part"] == "durability"]
    assert all(finding["level"] == "ok" or finding["remedy"] for finding in found)
    return [(finding["level"], finding["message"]) for finding in found]


@pytest.fixture
def durability(look_at: Look) -> Durability:
    """Return a function that asks the database of a URL."""
    return lambda url: told(finding.as_dict() for finding in look_at(url, Check("durability", durable)))


def doctor(directory: Path, url: str) -> list[tuple[str, str]]:
    """Return what `manage.py doctor` says of durability."""
    server = make_daphne(directory, DATABASE_URL=url)
    command = [sys.executable, "manage.py", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False)
    return told(json.loads(done.stdout)["findings"])


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
    a_postgres: Postgres, durability: Durability, option: str, level: str, says: str
) -> None:
    """Over our `on`, as ours does over the configuration of the server; what may lose a message is told."""
    url = f"{a_postgres.url}?options={quote(option)}" if option else a_postgres.url

    ((found, message),) = durability(url)

    assert found == level
    assert says in message


def test_doctor_tells_what_our_own_process_gets(a_postgres: Postgres, tmp_path: Path) -> None:
    """Its `on` is in force although the server's own configuration says otherwise."""
    ((found, message),) = doctor(tmp_path, a_postgres.url)

    assert found == "ok"
    assert "synchronous_commit is on" in message


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
    a_mongodb: MongoWire, durability: Durability, query: str, level: str, says: str
) -> None:
    """Not the write concern alone."""
    findings = durability(f"{a_mongodb.url}?{query}")

    assert level in {found for found, _ in findings}
    assert [found for found, message in findings if says in message] == [level]


def test_doctor_tells_all_of_them_at_once(a_mongodb: MongoWire, tmp_path: Path) -> None:
    """One line for each."""
    url = f"{a_mongodb.url}?journal=false&readPreference=primaryPreferred&readConcernLevel=available"

    findings = doctor(tmp_path, url)

    assert [message.partition(" ")[0] for level, message in findings if level == "warn"] == [
        *("journal", "readPreference", "readConcernLevel")
    ]
