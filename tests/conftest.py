"""Fixtures that several parts of the suite share: real servers, described in `tests.live.server`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.db import connections
from pytest_django import DjangoDbBlocker
from servestatic.middleware import ServeStaticMiddleware

from chatproject.db import freezing
from tests.live.server import Daphne, Redis, make_daphne, make_redis
from tests.stores import emptying, watching  # noqa: F401  its listener has to be there before the first client
from tests.stores.elsewhere import look_at, look_at_redis  # noqa: F401
from tests.stores.store import SQLITE_FILE, Store, current

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


@pytest.fixture
def freeze(no_look_at_freezes: None) -> Iterator[Callable[[], None]]:
    """Put the store into maintenance when called, as another process would; this one looks at its next write."""

    def begin() -> None:
        from chatproject.stores.models import Freeze, Reason

        Freeze(reason=Reason.MAINTENANCE).save(using="default")
        freezing.exempt_process(exempt=False)
        freezing.forget()

    yield begin
    freezing.forget()


@pytest.fixture(scope="session", autouse=True)
def static_files_are_found_once() -> Iterator[None]:
    """Each of Django's test clients makes the middleware anew, which would look for the same files every time."""
    found: dict[str, Any] = {}
    find = ServeStaticMiddleware.add_files_from_finders

    def find_once(middleware: ServeStaticMiddleware) -> None:
        if not found:
            find(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServeStaticMiddleware, "add_files_from_finders", find_once)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make the database once, and only empty it between tests."""
    emptying.use_for_tests()
    yield
    with django_db_blocker.unblock():
        emptying.disconnect_others(connections["default"])


def _migrated(directory: Path, **environment: str) -> Path:
    """Make an installation with an empty, migrated database, and return its data directory."""
    server = make_daphne(directory, **environment)
    server.manage("migrate", "--verbosity", "0")
    return server.data_dir


@pytest.fixture(scope="session")
def migrated_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """An empty, migrated SQLite file to copy, on whichever store the suite runs."""
    if store.name == "sqlite":
        return request.getfixturevalue("migrated") / SQLITE_FILE
    return _migrated(tmp_path_factory.mktemp("migrated-sqlite")) / SQLITE_FILE


@pytest.fixture(scope="session")
def store() -> Store:
    """The store of this run."""
    return current()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Path]:
    """The installation that others get their database from: migrating takes seconds, copying few."""
    directory = tmp_path_factory.mktemp("migrated")
    store.create(directory / "data")
    yield _migrated(directory, **store.environment(directory / "data"))
    store.drop(directory / "data")


@pytest.fixture(scope="module")
def module_daphne(tmp_path_factory: pytest.TempPathFactory, store: Store, migrated: Path) -> Iterator[DaphneFactory]:
    """As `daphne`, for servers that a whole module shares."""
    with ExitStack() as stack:
        yield _factory(stack, tmp_path_factory.mktemp("servers"), store, migrated)


@pytest.fixture
def daphne(tmp_path: Path, store: Store, migrated: Path) -> Iterator[DaphneFactory]:
    """Start servers: `daphne(REDIS_URL=..., PARLEY_RATE_LIMITS="on")`; they are stopped after the test.

    Servers of one test share their data directory, secrets and database, so that they form one installation;
    `data_dir=` gives one a directory of its own. The database is on the store of this run, and migrated, unless
    `migrate=False` or `DATABASE_URL=` says otherwise. `arguments=[...]` go to Daphne, `started=False` leaves the start
    to the test.
    """
    with ExitStack() as stack:
        yield _factory(stack, tmp_path, store, migrated)


@pytest.fixture(scope="module")
def live_server_process(module_daphne: DaphneFactory) -> Daphne:
    """A real server on its own database, without Redis; the tests of a module share it."""
    return module_daphne()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A real, empty Redis; the tests of a module share it."""
    with make_redis(tmp_path_factory.mktemp("redis")) as server:
        server.start()
        yield server


def _factory(stack: ExitStack, directory: Path, store: Store, migrated: Path) -> DaphneFactory:
    installed: set[Path] = set()

    def start(
        *, started: bool = True, migrate: bool = True, data_dir: Path = directory / "data", **options: Any
    ) -> Daphne:
        first = data_dir not in installed
        installed.add(data_dir)
        if first:
            stack.callback(store.drop, data_dir)
        options = {**store.environment(data_dir), **options}
        server = stack.enter_context(make_daphne(directory, data_dir=data_dir, **options))
        if migrate and server.environment.get("DATABASE_URL") != store.environment(data_dir).get("DATABASE_URL"):
            server.manage("migrate", "--verbosity", "0")
        elif first and migrate:
            store.copy(migrated, data_dir)
        elif first:
            store.create(data_dir)
        if started:
            server.start()
        return server

    return start
