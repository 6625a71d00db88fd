"""Lets the checks of `doctor` look at other stores from within this process, as if our environment named them.

The drivers, their options and the servers are real; what a process says of them has tests of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.utils import load_backend
from pymongo import MongoClient
from pytest_django import DjangoDbBlocker

from chatproject import databases as addresses
from chatproject import redis_url
from realtime.diagnosis import Finding, examine
from realtime.diagnosis import databases as diagnosis
from realtime.diagnosis import stores as redis_diagnosis
from realtime.diagnosis.findings import Check

Look = Callable[..., list[Finding]]
LookAtRedis = Callable[[str], Finding]


@pytest.fixture
def look_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Look:
    """Return a function that runs checks on the database of a URL: `look_at(url, Check("database", reachable))`."""

    def look(url: str, *checks: Check) -> list[Finding]:
        default = addresses.parse(url, data_dir=tmp_path)
        clients: dict[str, MongoClient[Any]] = {}
        with monkeypatch.context() as there, django_db_blocker.unblock():
            # Each check runs in a thread of its own, whose connections are new ones.
            there.setattr(connections, "settings", connections.configure_settings({"default": default}))
            if addresses.is_mongodb(url):  # that of one process is shared by all of its threads
                there.setattr(load_backend(default["ENGINE"]).DatabaseWrapper, "_connection_pools", clients)
            there.setattr(diagnosis, "ENV", replace(diagnosis.ENV, database_url=url))
            findings = list(examine(checks))
        for client in clients.values():
            client.close()
        return findings

    return look


@pytest.fixture
def look_at_redis(monkeypatch: pytest.MonkeyPatch) -> LookAtRedis:
    """Return a function that tells what is found of the Redis at a URL."""

    def look(url: str) -> Finding:
        with monkeypatch.context() as there:
            there.setattr(redis_diagnosis, "ENV", replace(redis_diagnosis.ENV, redis=redis_url.parse(url)))
            [finding] = examine([Check("redis", redis_diagnosis.redis_server)])
        return finding

    return look
