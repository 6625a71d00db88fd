"""Fixtures of the runs with faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.server import Redis, make_redis
from tests.stores.mongodb import MongoWire, mongodb
from tests.stores.postgres import Postgres, postgres


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A real Redis that the test may kill."""
    with make_redis(tmp_path) as server:
        server.start()
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may kill."""
    with postgres() as server:
        yield server


@pytest.fixture
def own_mongodb() -> Iterator[MongoWire]:
    """A server that speaks MongoDB's protocol and that the test may kill: what it has confirmed is on the disk."""
    with mongodb("--sync-on-commit") as server:
        yield server
