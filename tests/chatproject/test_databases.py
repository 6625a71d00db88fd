"""Tests of what a database URL means."""

from __future__ import annotations

import re
import sqlite3
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.utils import ConnectionHandler
from pymongo import MongoClient
from pymongo.client_options import ClientOptions
from pytest_django import DjangoDbBlocker

from chatproject import databases
from tests.certificates import make_certificates
from tests.stores.postgres import postgres


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
    assert options["options"] == "-c synchronous_commit=on -c jit=off"


def test_transactions_of_postgresql_see_what_others_commit(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    """Whatever the role or the URL says; what is decided by a second look relies on it."""
    query = "?options=-c%20default_transaction_isolation%3Dserializable"
    with postgres() as server, django_db_blocker.unblock():
        connection = ConnectionHandler({"default": databases.parse(server.url + query, data_dir=tmp_path)})["default"]
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SHOW default_transaction_isolation")
            [default] = cursor.fetchone()
            connection.set_autocommit(False)
            cursor.execute("SHOW transaction_isolation")
            [level] = cursor.fetchone()

    assert (default, level) == ("serializable", "read committed")


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
    "write concern": {"w": "majority", "j": True, "wtimeout": 5000},
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
        ("w=2&journal=false", {"write concern": {"w": 2, "j": False, "wtimeout": 5000}}),
        ("w=2;wTimeoutMS=0", {"write concern": {"w": 2, "j": True, "wtimeout": 0}}),
        ("wtimeoutms=90000", {"write concern": {"w": "majority", "j": True, "wtimeout": 90_000}}),
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
    authority = make_certificates(tmp_path).authority
    url = f"mongodb://ada:s%40me@db/parley?authSource=admin&authMechanism=SCRAM-SHA-256&tls=true&tlsCAFile={authority}"

    pool = client_options(url, tmp_path).pool_options
    login = pool._credentials

    assert (login.mechanism, login.source, login.username, login.password) == ("SCRAM-SHA-256", "admin", "ada", "s@me")
    context = pool._ssl_context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs() if hasattr(context, "get_ca_certs") else context  # so it is read


def test_the_client_in_use_was_told_so(db: None) -> None:
    """It is the same for all threads of the process. The driver of the other stores knows none of this."""
    connection = connections["default"]
    if connection.vendor == "mongodb":
        connection.ensure_connection()
        assert told(connection.connection.options) == DEFAULTS
    else:
        assert "w" not in connection.settings_dict["OPTIONS"]


@pytest.mark.parametrize(
    "url",
    [
        *("postgres://ada:sesame@db:port/x", "mongodb://ada:ses@me@db/x", "mongodb://db:99999/x"),
        # Where the password is cut short, its beginning would be taken for a port, and its rest for a path.
        *("postgres://ada:12#sesame@db/x", "mongodb://ada:ses#me@db/x", "mongodb+srv://ada:ses#me@db/x"),
        *("postgres://ada:12/sesame@db/x", "postgres://ada:12?sesame@db/x", "mongodb://ada:ses/me@db/x"),
        *("postgres://[sesame@db/x", "postgres://ada:sesame@\u2100/x", "mongodb://sesame%40db", "mongodb://ada:sesame"),
        *("postgres://ada:sesame@db", "postgres://ada:sesame@db/x?sslmode", "mongodb://ada:sesame@/x"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    """The message says how an address is written."""
    with pytest.raises(ImproperlyConfigured) as refused:
        databases.parse(url, data_dir=tmp_path)

    assert str(refused.value).startswith("DATABASE_URL is no address: ")
    assert "percent-encode" in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    assert not {"sesame", "ses", "me", "12"} & set(re.findall(r"\w+", str(refused.value)))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mongodb://h/x?retryWrtes=false", "MongoDB's driver knows no option retryWrtes"),
        ("mongodb+srv://h.example.org/x?retryWrtes=false", "MongoDB's driver knows no option retryWrtes"),
        ("mongodb://h/x?journal=sesame", "MongoDB's driver does not take the value of journal"),
        ("mongodb://h/x?authMechanismProperties=sesame", "does not take the value of authMechanismProperties"),
        ("mongodb://h,g/x?directConnection=true", "does not take it: Cannot specify multiple hosts with direct"),
        ("mongodb://ada@h/x", "MongoDB's driver does not take it: A password is required"),
        ("mongodb+srv://h.example.org:1/x", "must not include a port"),
        ("postgres://ada:sesame@h/x?nonsense=1", "PostgreSQL's driver knows no option nonsense"),
    ],
)
def test_an_option_that_the_driver_does_not_take_is_named(url: str, says: str, tmp_path: Path) -> None:
    """Its value, which may be a secret, is not shown; nothing is asked of the network."""
    with pytest.raises(ImproperlyConfigured) as refused:
        databases.parse(url, data_dir=tmp_path)

    message = str(refused.value)
    assert message.startswith("DATABASE_URL: ")
    assert says in message
    assert "sesame" not in message
    assert "\n" not in message


FILE_OPTIONS = [
    *(("mongodb", option) for option in ("tlsCAFile", "tlsCRLFile", "tlsCertificateKeyFile")),
    *(("mongodb+srv", option) for option in ("tlsCAFile", "tlsCertificateKeyFile")),
    *(("postgres", option) for option in ("sslrootcert", "sslcert", "sslcrl", "sslkey")),
]


@pytest.mark.parametrize(("scheme", "option"), FILE_OPTIONS)
def test_a_file_of_tls_is_looked_into_at_the_start(scheme: str, option: str, tmp_path: Path) -> None:
    """One that is missing, cannot be read or holds something else is told by its option's name, in a line."""
    (tmp_path / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nno certificate\n-----END CERTIFICATE-----\n")
    url = f"{scheme}://ada:sesame@h.example.org/x?{option}="
    told = {}

    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "garbage.pem"):
        try:
            databases.parse(f"{url}{path}", data_dir=tmp_path)
        except ImproperlyConfigured as refused:
            told[path.name] = str(refused)

    assert told.pop("nowhere") == f"DATABASE_URL: {option} names no file: correct its path."
    assert f"{option} cannot be read (Is a directory)" in told.pop(tmp_path.name)
    if option == "sslkey":  # libpq takes more kinds of keys than PEM
        assert not told
    else:
        assert told.pop("garbage.pem").startswith(f"DATABASE_URL: {option} ")


@pytest.mark.filterwarnings("ignore:Context.set_passwd_cb is deprecated")  # by pyOpenSSL, of MongoDB's driver
def test_a_key_with_a_password_is_opened_with_it(tmp_path: Path) -> None:
    """Without one nobody is asked at a terminal, which would hold up the start."""
    files = make_certificates(tmp_path)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    (tmp_path / "own.pem").write_bytes(locked + files.certificate.read_bytes())
    url = f"mongodb://h/x?tlsCertificateKeyFile={tmp_path}/own.pem"

    databases.parse(f"{url}&tlsCertificateKeyFilePassword=sesame", data_dir=tmp_path)
    for password in ("", "&tlsCertificateKeyFilePassword=another"):
        with pytest.raises(ImproperlyConfigured, match="tlsCertificateKeyFile does not fit"):
            databases.parse(f"{url}{password}", data_dir=tmp_path)


def test_files_of_tls_that_are_right_are_taken(tmp_path: Path) -> None:
    """Also the authorities of the system, which PostgreSQL's driver knows by a word."""
    files = make_certificates(tmp_path)
    own = f"sslcert={files.certificate}&sslkey={files.key}"

    for authority in (files.authority, "system"):
        options = databases.parse(f"postgres://h/x?sslrootcert={authority}&{own}", data_dir=tmp_path)["OPTIONS"]
        assert options["sslrootcert"] == str(authority)


@pytest.mark.parametrize(
    "url", ["sqlite://x.db", "sqlite:x.db", "sqlite:///x.db", "sqlite://", "sqlite://:memory:", "sqlite:////"]
)
def test_sqlite_without_a_full_path_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in memory, under another name, or wherever the process was started; the right form is shown."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ImproperlyConfigured, match="after four slashes: sqlite:////var/lib/parley"):
        databases.parse(url, data_dir=tmp_path)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("written", "name"), [("a%20b.db", "a b.db"), ("a#b@c.db", "a#b@c.db")])
def test_the_path_of_sqlite_may_hold_anything(written: str, name: str, tmp_path: Path) -> None:
    """Percent-encoded or not."""
    assert databases.parse(f"sqlite:///{tmp_path}/{written}", data_dir=tmp_path)["NAME"] == f"{tmp_path}/{name}"


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_sqlite_is_safe_in_fact(db: None, pragma: str, value: object) -> None:
    """A write-ahead log, every commit on disk, foreign keys enforced."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma}")
        assert cursor.fetchone() == (value,)
