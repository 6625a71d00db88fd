"""Tests of what the suite's three stores stand on: their servers, copies of databases, and the list of differences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.live.server import ROOT, clean_environment
from tests.stores import reading
from tests.stores.mongodb import mongodb
from tests.stores.store import Store
from tests.stores.wire import paths

TESTS = """
import pytest

@pytest.mark.parametrize("passes", [False, True])
def test_it(passes):
    assert passes
"""
LISTED = """
from tests.stores import differences
from tests.stores.differences import Difference, Kind

def pytest_configure(config):
    differences.DIFFERENCES = (Difference("test_listed.py::{test}", "sqlite", Kind.LIMIT, "a reason"),)
"""


def environment(store: str) -> dict[str, str]:
    """Return the environment of a run on a store, that is no worker of this one."""
    outer = clean_environment(TEST_STORE=store)
    return {name: value for name, value in outer.items() if not name.startswith(("PYTEST_", "SLIPCOVER_"))}


def run(directory: Path, listed: str) -> subprocess.CompletedProcess[str]:
    """Run a suite of a test that fails and one that passes, of which those of a name are listed as differences."""
    (directory / "conftest.py").write_text(LISTED.format(test=listed))
    (directory / "test_listed.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pytest.ini")]
    return subprocess.run(
        [*command, "--rootdir", str(directory), str(directory / "test_listed.py")],
        cwd=ROOT,
        env=environment("sqlite"),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_listed_test_is_expected_to_fail_and_counted(tmp_path: Path) -> None:
    """With its kind, below the results. One that passes fails the run: the list would otherwise grow old."""
    done = run(tmp_path, "test_it")

    assert done.returncode == 1
    assert "1 failed, 1 xfailed" in done.stdout
    assert "sqlite; tests that it cannot pass: 1 backend limit" in done.stdout
    assert "[XPASS(strict)] backend limit: a reason" in done.stdout


def test_an_entry_that_names_no_test_ends_the_run(tmp_path: Path) -> None:
    """By its name."""
    done = run(tmp_path, "test_other")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "lists test_listed.py::test_other, which is no test" in done.stderr


def test_a_store_that_is_none_ends_the_run() -> None:
    """The message names those there are."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/test_docs.py"],
        cwd=ROOT,
        env=environment("oracle"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "TEST_STORE is one of sqlite, mongodb, postgres, not 'oracle'" in done.stdout + done.stderr


def indexes(url: str) -> dict[str, Any]:
    """Return the indexes of MongoDB's collections; elsewhere the whole database is copied at once."""
    if not url.startswith("mongodb"):
        return {}
    with MongoClient[dict[str, Any]](url) as client:
        database = client.get_default_database()
        return {name: database[name].index_information() for name in database.list_collection_names()}


def test_an_installation_gets_a_copy(store: Store, migrated: Path, tmp_path: Path) -> None:
    """Tables, rows and indexes are there; dropping it leaves the original."""
    source = store.environment(migrated).get("DATABASE_URL", f"sqlite://{migrated}/parley.sqlite3")
    target = store.environment(tmp_path).get("DATABASE_URL", f"sqlite://{tmp_path}/parley.sqlite3")

    store.copy(migrated, tmp_path)

    assert set(reading.tables(target)) == set(reading.tables(source))
    assert reading.rows(target, "django_migrations") == reading.rows(source, "django_migrations") != []
    assert indexes(target) == indexes(source)
    store.drop(tmp_path)
    assert reading.tables(source)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"a": {"b": 1, "c": {"d": 1}}, "e": 1}, {"a.b": 1, "a.c.d": 1, "e": 1}),
        ({"a": {"$toString": "$b"}, "c": {}}, {"a": {"$toString": "$b"}, "c": {}}),
    ],
)
def test_nested_fields_are_paths(fields: dict[str, Any], found: dict[str, Any]) -> None:
    """But an expression stays whole."""
    assert dict(paths(fields)) == found


@pytest.mark.parametrize(("corrected", "answer"), [(True, {"a": {"b": "x"}}), (False, {"a": {"b": 1}})])
def test_the_correction_is_still_needed(corrected: bool, answer: dict[str, Any]) -> None:
    """The wheel's own server takes a nested projection for a value; once it does not, `tests.stores.wire` can go."""
    with mongodb(corrected=corrected) as server, MongoClient[dict[str, Any]](server.url) as client:
        people = client.get_default_database()["people"]
        people.insert_one({"_id": 1, "a": {"b": "x", "c": "y"}})

        [found] = people.aggregate([{"$project": {"_id": 0, "a": {"b": 1}}}])

    assert found == answer
