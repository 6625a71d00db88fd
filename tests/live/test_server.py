"""Tests of the processes that the end-to-end tests stand on."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.live.server import Daphne, StartFailedError, make_daphne, make_redis
from tests.stores import reading

pytestmark = pytest.mark.live


def get(server: Daphne, path: str) -> tuple[int, object]:
    """Ask the server, as any program would."""
    with urllib.request.urlopen(f"{server.url}{path}", timeout=10) as response:
        return response.status, json.load(response)


def test_the_shared_server_answers(live_server_process: Daphne) -> None:
    """It is up, on a migrated database of its own."""
    status, body = get(live_server_process, "/healthz")

    assert (status, body) == (200, {"status": "ok"})
    assert {"users", "messages"} <= set(reading.tables(live_server_process.database_url))


def test_two_servers_form_one_installation(daphne: Callable[..., Daphne]) -> None:
    """Servers of one test have ports of their own, and the same secrets and database."""
    one, other = daphne(started=False), daphne(started=False)

    assert one.port != other.port
    assert one.environment["PARLEY_JWT_KEY"] == other.environment["PARLEY_JWT_KEY"]
    assert one.database_url == other.database_url


def test_sigterm_ends_a_server_and_it_comes_back(live_server_process: Daphne) -> None:
    """A polite end is quick and clean, and a second start serves on the same port."""
    server = live_server_process

    server.send(signal.SIGTERM)

    assert server.wait() == 0
    server.start()
    assert get(server, "/healthz")[0] == 200


def test_a_wrong_start_shows_why(tmp_path: Path) -> None:
    """The failure carries the end of the log, so that nobody has to look for it."""
    server = make_daphne(tmp_path, PARLEY_ENV="production", PARLEY_ALLOWED_HOSTS="")

    with server, pytest.raises(StartFailedError, match="PARLEY_ALLOWED_HOSTS is not set"):
        server.start()


def test_redis_is_real_and_empty(tmp_path: Path) -> None:
    """It speaks the protocol and keeps nothing on disk."""
    with make_redis(tmp_path) as server:
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.dbsize() == 0
            assert client.config_get("save") == {"save": ""}
