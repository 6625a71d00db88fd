"""Tests of what a database URL means."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from chatproject import databases


def test_without_a_url_there_is_sqlite(tmp_path: Path) -> None:
    """In the data directory, which is made for its owner alone."""
    data_dir = tmp_path / "data"

    settings = databases.parse("", data_dir=data_dir)

    assert settings["ENGINE"] == "django.db.backends.sqlite3"
    assert settings["NAME"] == str(data_dir / "parley.sqlite3")
    assert settings["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert settings["TEST"]["NAME"] == str(data_dir / "test-parley.sqlite3")
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_the_url_can_name_the_file(tmp_path: Path) -> None:
    """With the same options."""
    settings = databases.parse(f"sqlite:///{tmp_path}/other.db", data_dir=tmp_path)

    assert settings["NAME"] == f"{tmp_path}/other.db"
    assert settings["OPTIONS"] == databases.parse("", data_dir=tmp_path)["OPTIONS"]


@pytest.mark.parametrize(("synchronous", "value"), [("full", 2), ("normal", 1)])
def test_how_durable_sqlite_is_can_be_chosen(synchronous: str, value: int, tmp_path: Path) -> None:
    """Its statements set SQLite to what the operator asked for."""
    settings = databases.parse("", data_dir=tmp_path, sqlite_synchronous=synchronous)

    with closing(sqlite3.connect(settings["NAME"])) as connection:
        connection.executescript(settings["OPTIONS"]["init_command"])
        assert connection.execute("PRAGMA synchronous").fetchone() == (value,)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://localhost:27017/chats?replicaSet=rs0", "chats"),
        ("mongodb+srv://user:pw@cluster.example.org/chats", "chats"),
        ("mongodb://localhost:27017", "parley"),
    ],
)
def test_mongodb(url: str, name: str, tmp_path: Path) -> None:
    """The whole URL is the backend's; the path names the database."""
    settings = databases.parse(url, data_dir=tmp_path)

    assert (settings["ENGINE"], settings["NAME"], settings["HOST"]) == ("django_mongodb_backend", name, url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgresql(scheme: str, tmp_path: Path) -> None:
    """An acknowledged commit is on disk."""
    settings = databases.parse(f"{scheme}://ada:pw@db.example.org:5433/chats", data_dir=tmp_path)

    assert settings["ENGINE"] == "django.db.backends.postgresql"
    assert (settings["NAME"], settings["HOST"], settings["PORT"]) == ("chats", "db.example.org", 5433)
    assert "synchronous_commit=on" in settings["OPTIONS"]["options"]


@pytest.mark.parametrize(("url", "named"), [("mysql://u:SECRET@h/x", "mysql"), ("SECRET", "a URL without scheme")])
def test_other_databases_are_refused(url: str, named: str, tmp_path: Path) -> None:
    """By name, and without repeating a password."""
    with pytest.raises(ImproperlyConfigured, match=named) as caught:
        databases.parse(url, data_dir=tmp_path)

    assert "SECRET" not in str(caught.value)


def test_what_the_url_asks_of_postgresql_is_kept(tmp_path: Path) -> None:
    """TLS and options of the operator stand beside ours, and their patience in place of ours."""
    url = "postgres://db/parley?sslmode=require&connect_timeout=9&options=-c%20jit%3Doff"

    options = databases.parse(url, data_dir=tmp_path)["OPTIONS"]

    assert options["sslmode"] == "require"
    assert int(options["connect_timeout"]) == 9
    assert options["options"] == "-c jit=off -c synchronous_commit=on"


@pytest.mark.parametrize("url", ["mongodb://db/parley", "postgres://db/parley"])
def test_nobody_waits_long_for_a_database_that_is_away(url: str, tmp_path: Path) -> None:
    """MongoDB's driver would wait for 30 s, PostgreSQL's for as long as the network does."""
    options = databases.parse(url, data_dir=tmp_path)["OPTIONS"]

    assert {options.get("serverSelectionTimeoutMS"), options.get("connect_timeout")} & {5000, 5}


def test_patience_with_mongodb_can_be_chosen(tmp_path: Path) -> None:
    """The URL wins."""
    url = "mongodb://db/parley?serverSelectionTimeoutMS=9000"

    assert databases.parse(url, data_dir=tmp_path)["OPTIONS"] == {}


@pytest.mark.parametrize(
    "url", ["postgres://ada:sesame@db:port/x", "mongodb://ada:ses@me@db/x", "mongodb://db:99999/x"]
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    """The message says how an address is written."""
    with pytest.raises(ImproperlyConfigured) as refused:
        databases.parse(url, data_dir=tmp_path)

    assert str(refused.value).startswith("DATABASE_URL is no address: ")
    assert "sesame" not in str(refused.value)
    assert "percent-encode" in str(refused.value)


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_sqlite_is_safe_in_fact(db: None, pragma: str, value: object) -> None:
    """A write-ahead log, every commit on disk, foreign keys enforced."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma}")
        assert cursor.fetchone() == (value,)
