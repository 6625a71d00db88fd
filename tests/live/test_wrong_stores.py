"""Stores that are wrong, away or refuse us: `doctor` and the start say which and what to do, in a line, and no secret.

A server waits for a store that is away, and uses it when it comes; only its own configuration keeps it from starting.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.live.clients import log_lines, register
from tests.live.server import LOOPBACK, ROOT, Daphne, Process, free_port, make_daphne, make_redis
from tests.stores.mongodb import make_mongodb
from tests.stores.postgres import Postgres, postgres

pytestmark = [pytest.mark.live, pytest.mark.slow]

PASSWORD = "sesame"
CLOSED = f"{LOOPBACK}:1"
"""Nobody may listen on such a port but root, and root does not."""


# --- Servers ----------------------------------------------------------------------------------------------------------


@contextmanager
def mongodb(directory: Path, *options: str, port: int | None = None) -> Iterator[str]:
    """Give the address of a running server that speaks MongoDB's protocol."""
    directory.mkdir()
    with make_mongodb(directory, *options, port=port) as server:
        server.start()
        yield f"{LOOPBACK}:{server.port}"


@pytest.fixture(scope="module")
def guarded_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that asks for a password."""
    with postgres() as server:
        data = Path(server.command[server.command.index("-D") + 1])
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER ROLE parley PASSWORD 'another'")
            (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture(scope="module")
def stores(guarded_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of stores that refuse us, to fill into URLs."""
    directory = tmp_path_factory.mktemp("stores")
    with ExitStack() as stack:
        guarded_redis = stack.enter_context(make_redis(directory))
        guarded_redis.command += ["--requirepass", "another"]
        Process.start(guarded_redis)
        yield {
            "postgres": f"{LOOPBACK}:{guarded_postgres.port}",
            "mongodb": stack.enter_context(mongodb(directory / "guarded", "--auth")),
            "alone": stack.enter_context(mongodb(directory / "alone", "--standalone")),
            "redis": f"{LOOPBACK}:{guarded_redis.port}",
            "closed": CLOSED,
        }


# --- doctor -----------------------------------------------------------------------------------------------------------

START_DATABASE = "start the database, or correct host and port in DATABASE_URL"
CORRECT_PASSWORD = "correct the user and password in DATABASE_URL"


@pytest.mark.parametrize(
    ("variable", "url", "remedy"),
    [
        ("DATABASE_URL", "postgres://parley:sesame@nowhere.invalid/parley", START_DATABASE),
        ("DATABASE_URL", "postgres://parley:sesame@{closed}/parley", START_DATABASE),
        ("DATABASE_URL", "postgres://parley:sesame@{postgres}/postgres", CORRECT_PASSWORD),
        ("DATABASE_URL", "postgres://parley:another@{postgres}/nowhere", "create the database, or correct its name"),
        ("DATABASE_URL", "mongodb://parley:sesame@nowhere.invalid/parley", START_DATABASE),
        ("DATABASE_URL", "mongodb://parley:sesame@{closed}/parley", START_DATABASE),
        ("DATABASE_URL", "mongodb://parley:sesame@{mongodb}/parley", CORRECT_PASSWORD),
        ("DATABASE_URL", "mongodb://{mongodb}/parley", CORRECT_PASSWORD),
        ("DATABASE_URL", "mongodb://{alone}/parley", "run MongoDB as a replica set"),
        ("REDIS_URL", "redis://:sesame@nowhere.invalid:6379/0", "start Redis, or correct host and port in REDIS_URL"),
        ("REDIS_URL", "redis://:sesame@{closed}/0", "start Redis, or correct host and port in REDIS_URL"),
        ("REDIS_URL", "redis://:sesame@{redis}/0", "correct the password in REDIS_URL"),
        ("REDIS_URL", "redis://{redis}/0", "correct the password in REDIS_URL"),
    ],
)
def test_doctor_tells_what_is_wrong_in_one_line(
    stores: dict[str, str], tmp_path: Path, variable: str, url: str, remedy: str
) -> None:
    """The one line that fails is that of the store; it ends with what to do, and has no password in it."""
    server = make_daphne(tmp_path, **{variable: url.format_map(stores)})

    done = run(server, "manage.py", "doctor")

    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    part = "database" if variable == "DATABASE_URL" else "redis"
    if variable == "REDIS_URL":  # the database of this installation is a new, empty file
        failed = [line for line in failed if not line.startswith("FAIL migrations")]
    assert done.returncode == 1
    assert len(failed) == 1, failed
    assert failed[0].startswith(f"FAIL {part}: ")
    assert remedy in failed[0].partition(" -> ")[2]
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# --- The start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DATABASE_URL": "mysql://parley:sesame@db/parley"}, "mysql is not sqlite, mongodb or postgres"),
        ({"DATABASE_URL": "postgres://parley:sesame@db:port/parley"}, "DATABASE_URL is no address"),
        ({"DATABASE_URL": "mongodb://parley:ses@me@db/parley"}, "DATABASE_URL is no address"),
        ({"PARLEY_DATA_DIR": "/proc/nowhere", "PARLEY_ENV": "test"}, "/proc/nowhere cannot be made"),
        ({"PARLEY_MASTER_KEYS_FILE": "/nowhere", "PARLEY_MASTER_KEYS": ""}, "PARLEY_MASTER_KEYS"),
        ({"PARLEY_MASTER_KEYS": "key:sesame"}, "PARLEY_MASTER_KEYS: entry 1 must be"),
    ],
)
@pytest.mark.parametrize("command", [("manage.py", "doctor"), ("-m", "daphne", "chatproject.asgi:application")])
def test_a_wrong_configuration_stops_the_start(
    tmp_path: Path, environment: dict[str, str], says: str, command: tuple[str, ...]
) -> None:
    """Only another configuration can help, so one line says which, and nothing starts."""
    done = run(make_daphne(tmp_path, **environment), *command)

    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Parley cannot start: ")
    assert says in lines[0]
    assert "ses" not in done.stdout + done.stderr


async def test_stores_that_come_later_are_used(tmp_path: Path) -> None:
    """A server starts while MongoDB and Redis are away, says so, and is ready once both are there and migrated."""
    port, redis = free_port(), make_redis(tmp_path)
    urls = {"DATABASE_URL": f"mongodb://{LOOPBACK}:{port}/parley", "REDIS_URL": redis.url}
    with make_daphne(tmp_path, **urls) as server, redis, ExitStack() as stack:
        server.start()
        first = readiness(server)
        wait_for_problems(server, {"database", "redis"})

        stack.enter_context(mongodb(tmp_path / "mongodb", port=port))
        redis.start()
        unmigrated = wait_for_checks(server, migrations="unapplied migrations")
        server.manage("migrate", "--verbosity", "0")
        wait_for_checks(server, database="ok", migrations="ok", layer="ok")
        ada = await register(server, "ada")

    assert first["checks"]["database"] in {"unavailable", "timeout"}
    assert set(first["hints"]) >= {"database", "layer"}
    assert unmigrated["hints"] == {"migrations": "Run manage.py migrate."}
    assert ada.token
    assert "Traceback" not in server.log


def test_a_postgresql_that_comes_later_is_used(tmp_path: Path, guarded_postgres: Postgres) -> None:
    """The same for PostgreSQL, which refuses us at first by a wrong role and then knows it."""
    url = f"postgres://late:{PASSWORD}@{LOOPBACK}:{guarded_postgres.port}/postgres"
    with make_daphne(tmp_path, DATABASE_URL=url) as server:
        server.start()
        first = readiness(server)
        wait_for_problems(server, {"database"})

        with psycopg.connect(guarded_postgres.url.replace("parley@", "parley:another@"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE late LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        server.manage("migrate", "--verbosity", "0")
        wait_for_checks(server, database="ok", migrations="ok")

    assert first["checks"]["database"] == "unavailable"
    assert PASSWORD not in server.log


# --- Questions --------------------------------------------------------------------------------------------------------


def run(server: Daphne, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a server's environment."""
    whole = [sys.executable, *command]
    return subprocess.run(whole, cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False)


def readiness(server: Daphne) -> dict[str, dict[str, str]]:
    """Return the body of `/readyz`, whatever its status."""
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as response:
            return dict(json.load(response))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))


def wait_for_checks(server: Daphne, **expected: str) -> dict[str, dict[str, str]]:
    """Ask until the parts are as expected, and return the body."""
    deadline = time.monotonic() + 30
    while not expected.items() <= (body := readiness(server))["checks"].items():
        assert time.monotonic() < deadline, body
        time.sleep(0.2)
    return body


def wait_for_problems(server: Daphne, parts: set[str]) -> None:
    """Wait until the log has a line for each of these parts, and see that each says what to do."""
    deadline = time.monotonic() + 30
    while parts - {line["part"] for line in log_lines(server, "start.problem")}:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.1)
    assert all(line["remedy"] for line in log_lines(server, "start.problem"))
