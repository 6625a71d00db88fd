"""Fixtures that several parts of the suite share: real servers, described in `tests.live.server`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from chatproject.db import freezing
from tests.live.server import Daphne, Redis, make_daphne, make_redis

DATABASE = "parley.sqlite3"

DaphneFactory = Callable[..., Daphne]


@pytest.fixture(autouse=True)
def a_log_context_of_its_own() -> Iterator[None]:
    """No test sees the request id or the names that another one has bound."""
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def no_look_at_freezes() -> Iterator[None]:
    """No test has a query in it, now and then, that asks whether the store is frozen; the tests of that turn it on."""
    freezing.exempt_process()
    yield
    freezing.exempt_process()


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file to copy: migrating takes seconds, copying none."""
    server = make_daphne(tmp_path_factory.mktemp("migrated"))
    server.manage("migrate", "--verbosity", "0")
    return server.data_dir / DATABASE


@pytest.fixture(scope="module")
def module_daphne(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[DaphneFactory]:
    """As `daphne`, for servers that a whole module shares."""
    with ExitStack() as stack:
        yield _factory(stack, tmp_path_factory.mktemp("servers"), migrated_database)


@pytest.fixture
def daphne(tmp_path: Path, migrated_database: Path) -> Iterator[DaphneFactory]:
    """Start servers: `daphne(REDIS_URL=..., PARLEY_RATE_LIMITS="on")`; they are stopped after the test.

    Servers of one test share their data directory and secrets, so that they form one installation; `data_dir=` gives
    one a directory of its own. `arguments=[...]` go to Daphne, `started=False` leaves the start to the test.
    """
    with ExitStack() as stack:
        yield _factory(stack, tmp_path, migrated_database)


@pytest.fixture(scope="module")
def live_server_process(module_daphne: DaphneFactory) -> Daphne:
    """A real server on its own SQLite database, without Redis; the tests of a module share it."""
    return module_daphne()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A real, empty Redis; the tests of a module share it."""
    with make_redis(tmp_path_factory.mktemp("redis")) as server:
        server.start()
        yield server


def _factory(stack: ExitStack, directory: Path, migrated_database: Path) -> DaphneFactory:
    def start(*, started: bool = True, data_dir: Path | None = None, **options: object) -> Daphne:
        server = stack.enter_context(make_daphne(directory, data_dir=data_dir, **options))  # type: ignore[arg-type]
        if server.environment.get("DATABASE_URL"):
            server.manage("migrate", "--verbosity", "0")
        elif not (server.data_dir / DATABASE).exists():
            shutil.copyfile(migrated_database, server.data_dir / DATABASE)
        if started:
            server.start()
        return server

    return start
