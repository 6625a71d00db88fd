"""Tests of what a database URL means."""

from __future__ import annotations

import sqlite3
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from pymongo import MongoClient
from pymongo.client_options import ClientOptions

from chatproject import databases


def test_without_a_url_there_is_sqlite(tmp_path: Path) -> None:
    """In the data directory, which is made for its owner alone."""
    data_dir = tmp_path / "data"

    settings = databases.parse("", data_dir=data_dir)

    assert settings["ENGINE"] == "chatproject.db.sqlite3"
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

    assert (settings["ENGINE"], settings["NAME"], settings["HOST"]) == ("chatproject.db.mongodb", name, url)


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


def client_options(url: str, tmp_path: Path) -> ClientOptions:
    """Return what the driver makes of the settings, without connecting."""
    settings = databases.parse(url, data_dir=tmp_path)
    client: MongoClient[Any] = MongoClient(settings["HOST"], **settings["OPTIONS"], connect=False)
    with client:
        return client.options


def told(options: ClientOptions) -> dict[str, object]:
    """Return those that decide what survives, what is read, and who waits how long."""
    pool = options.pool_options
    return {
        "write concern": options.write_concern.document,
        "read concern": options.read_concern.level,
        "read preference": options.read_preference.mongos_mode,
        "retries": (options.retry_writes, options.retry_reads),
        "pool": (pool.max_pool_size, pool.wait_queue_timeout, pool.connect_timeout),
        "patience": options.server_selection_timeout,
        "name": pool.appname,
    }


DEFAULTS = {
    "write concern": {"w": "majority", "j": True},
    "read concern": "majority",
    "read preference": "primary",
    "retries": (True, True),
    "pool": (50, 5, 5),
    "patience": 5,
    "name": "parley",
}


def test_what_mongodb_has_acked_and_shown_is_there_to_stay(tmp_path: Path) -> None:
    """On a majority's disks; and nobody waits for ever."""
    assert told(client_options("mongodb://db/parley?replicaSet=rs0", tmp_path)) == DEFAULTS


@pytest.mark.parametrize(
    ("query", "changed"),
    [
        ("w=2&journal=false", {"write concern": {"w": 2, "j": False}}),
        ("readconcernlevel=local", {"read concern": "local"}),
        ("readPreference=secondary", {"read preference": "secondary"}),
        ("retryWrites=false", {"retries": (False, True)}),
        ("MAXPOOLSIZE=9&connectTimeoutMS=700", {"pool": (9, 5, 0.7)}),
        ("serverSelectionTimeoutMS=9000", {"patience": 9}),
        ("appName=parley-2", {"name": "parley-2"}),
    ],
)
def test_the_url_of_mongodb_wins(query: str, changed: dict[str, object], tmp_path: Path) -> None:
    """Option by option, in any case."""
    assert told(client_options(f"mongodb://db/parley?{query}", tmp_path)) == DEFAULTS | changed


def test_mongodb_with_tls_and_a_password(tmp_path: Path) -> None:
    """The authority's file and the mechanism are told by the URL, the password percent-encoded."""
    authority = tmp_path / "ca.pem"
    authority.write_text(ssl.DER_cert_to_PEM_cert(self_signed()))
    url = f"mongodb://ada:s%40me@db/parley?authSource=admin&authMechanism=SCRAM-SHA-256&tls=true&tlsCAFile={authority}"

    pool = client_options(url, tmp_path).pool_options
    login = pool._credentials

    assert (login.mechanism, login.source, login.username, login.password) == ("SCRAM-SHA-256", "admin", "ada", "s@me")
    context = pool._ssl_context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    authority.write_text("no certificate")
    with pytest.raises(Exception, match="no certificate"):  # so it is read
        client_options(url, tmp_path)


def self_signed() -> bytes:
    """Return the certificate of an authority (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "Parley's test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_the_client_in_use_was_told_so(db: None) -> None:
    """It is the same for all threads of the process. The driver of the other stores knows none of this."""
    connection = connections["default"]
    if connection.vendor == "mongodb":
        connection.ensure_connection()
        assert told(connection.connection.options) == DEFAULTS
    else:
        assert "w" not in connection.settings_dict["OPTIONS"]


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
