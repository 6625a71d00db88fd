"""Gives the suite its own environment, before pytest-django reads the settings (pytest.ini names this plugin).

`TEST_STORE` names the store that the suite runs on: sqlite (the default), mongodb or postgres.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stores import differences, store

ONCE = ("tests/browser/", "tests/faults/test_store_copy.py", "tests/faults/test_restore_drill.py")
"""What runs once: the web client knows of no database, and the others name theirs."""
DATABASE_FIXTURES = {"db", "transactional_db", "store"}
OWN_DATABASES = {"own_postgres", "own_mongodb"}
"""Fixtures of a test that has its own database, whichever the suite runs on."""

_running = ExitStack()
_name = os.environ.get("TEST_STORE", "sqlite")
_shares = "PYTEST_XDIST_WORKER" in os.environ and _name != "mongodb"
"""Whether the store's server is that of the process that started this one. A server of MongoDB's protocol does one
thing at a time, so each worker has its own.
"""


def _isolate() -> None:
    """Let nothing of the developer's environment in."""
    kept = ("DATABASE_URL",) if _shares else ()
    for name in list(os.environ):
        if name.startswith("PARLEY_") or (name in ("DATABASE_URL", "REDIS_URL") and name not in kept):
            del os.environ[name]
    data_dir = Path(tempfile.mkdtemp(prefix="parley-test-"))
    _running.callback(shutil.rmtree, data_dir, ignore_errors=True)
    os.environ["PARLEY_ENV"] = "test"
    os.environ["PARLEY_DATA_DIR"] = str(data_dir)


_isolate()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None]:
    """Start the store's server. It stops with this process, however that ends but by SIGKILL."""
    atexit.register(_running.close)
    if not _shares:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # otherwise it would end without any clearing up
        url = _running.enter_context(store.started(_name))
        if url:
            os.environ["DATABASE_URL"] = url
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Stop it, and remove the suite's data directory."""
    _running.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expect the tests that the store cannot pass to fail. An entry of the list that names no test ends the run.

    Tests that touch no database, or one of their own, run once, on SQLite.
    """
    name = store.current().name
    files = {item.nodeid.partition("::")[0] for item in items}
    whole = not any("::" in argument for argument in config.args)
    for one in differences.of(name):
        named = [item for item in items if one.names(item.nodeid)]
        for item in named:
            item.add_marker(pytest.mark.xfail(reason=f"{one.kind}: {one.reason}", strict=True))
        if not named and whole and one.test.partition("::")[0] in files:
            raise pytest.UsageError(f"tests/stores/differences.py lists {one.test}, which is no test.")
    if name != "sqlite":
        again = [item for item in items if _depends_on_the_store(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in again])
        items[:] = again


def _depends_on_the_store(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    touches = item.get_closest_marker("django_db") is not None or not DATABASE_FIXTURES.isdisjoint(fixtures)
    return touches and OWN_DATABASES.isdisjoint(fixtures) and not item.nodeid.startswith(ONCE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count them."""
    name = store.current().name
    failed = [report.nodeid for report in terminalreporter.stats.get("xfailed", ())]
    met = Counter(one.kind for one in differences.of(name) for node_id in failed if one.names(node_id))
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(met.items())) or "none"
    terminalreporter.section("store")
    terminalreporter.write_line(f"{name}; tests that it cannot pass: {counts}")
