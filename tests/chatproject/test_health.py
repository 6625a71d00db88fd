"""Tests of the health answers: against the suite's own database, and real servers whose parts fail."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import AsyncClient, Client

from chatproject import health
from chatproject.health import Readiness
from messaging import keys
from messaging.models import Chat, ChatKey, ChatKind
from realtime import health as probes
from tests.live.server import Daphne, make_redis

GOOD = {"status": "ok", "checks": dict.fromkeys(("database", "migrations", "keys", "layer"), "ok")}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer of the test before stand."""
    monkeypatch.setattr(health.readiness, "_asked_at", float("-inf"))
    monkeypatch.setattr(health.readiness, "_states", {})


async def ask() -> tuple[int, Any]:
    """Return status and body of `/readyz`."""
    answer = await AsyncClient().get("/readyz")
    return answer.status_code, answer.json()


def broken(part: str, state: str) -> tuple[int, Any]:
    """Return the answer that names one part."""
    checks = GOOD["checks"] | {part: state}  # type: ignore[operator]
    return 503, {"status": "unavailable", "checks": checks, "hints": {part: health.HINTS[part]}}


@pytest.mark.django_db(transaction=True)
async def test_everything_is_there() -> None:
    """All parts are named, and there are no secrets in the answer."""
    assert await ask() == (200, GOOD)


@pytest.mark.django_db(transaction=True)
async def test_an_older_schema_is_not_ready() -> None:
    """A migration that the database lacks is told, and is over as soon as it is applied."""
    recorder = MigrationRecorder(connection)
    await asyncio.to_thread(recorder.record_unapplied, "messaging", "0001_initial")
    try:
        answer = await ask()
    finally:
        await asyncio.to_thread(recorder.record_applied, "messaging", "0001_initial")

    assert answer == broken("migrations", "unapplied migrations")


def _chat(master_key_id: str, wrapped: bytes | None = None) -> None:
    chat = Chat.objects.create(kind=ChatKind.GROUP)
    keys.create([chat.pk])
    changes: dict[str, Any] = {"master_key_id": master_key_id} | ({} if wrapped is None else {"wrapped": wrapped})
    ChatKey.objects.filter(chat=chat).update(**changes)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("key_id", "wrapped", "state"),
    [
        ("retired", None, "a master key in use is not configured"),
        ("test1", b"\0" * 40, "a master key does not open the keys that it wrapped"),
    ],
)
async def test_a_missing_master_key_is_not_ready(key_id: str, wrapped: bytes | None, state: str) -> None:
    """Chats whose key cannot be unwrapped could not be read."""
    await asyncio.to_thread(_chat, key_id, wrapped)

    assert await ask() == broken("keys", state)


@pytest.mark.django_db(transaction=True)
def test_the_keys_in_use_are_found_by_steps(django_assert_num_queries: Any) -> None:
    """However many chats there are, each id costs one query."""
    for key_id in ("b", "a", "b", "c", "b"):
        _chat(key_id)

    with django_assert_num_queries(4):
        assert [key_id for key_id, _ in probes.used_master_keys()] == ["a", "b", "c"]


async def test_a_part_that_hangs_is_a_part_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes in time, and the next one starts no second thread behind the one that hangs."""
    monkeypatch.setattr(probes, "SECONDS", 0.1)
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    release, started = Event(), []

    def hang() -> None:
        started.append(1)
        release.wait(10)

    readiness = Readiness({"store": health._Threaded(hang)})
    begun = time.monotonic()
    states = [await readiness.states(), await readiness.states()]

    assert states == [{"store": "timeout"}, {"store": "timeout"}]
    assert time.monotonic() - begun < 2
    assert len(started) == 1
    release.set()
    assert await readiness.states() == {"store": "ok"}


async def test_the_answer_holds_for_a_second() -> None:
    """A crowd of load balancers costs the stores one look a second."""
    looks = []

    async def look() -> None:
        looks.append(1)

    readiness = Readiness({"store": look})
    for _ in range(5):
        assert await readiness.states() == {"store": "ok"}

    assert len(looks) == 1


@pytest.mark.parametrize(
    ("states", "helps"),
    [
        ({"database": "timeout", "migrations": "timeout", "keys": "timeout"}, "database"),
        ({"database": "ok", "migrations": "unavailable", "keys": "unavailable"}, "database"),
        ({"database": "ok", "migrations": "unapplied migrations", "keys": "unavailable"}, "migrations"),
        ({"database": "ok", "migrations": "ok", "keys": "timeout"}, "database"),
        ({"database": "ok", "migrations": "ok", "keys": "a master key in use is not configured"}, "keys"),
    ],
)
def test_master_keys_are_suspected_only_once_they_were_looked_at(states: dict[str, str], helps: str) -> None:
    """Where the database did not say which are in use, its own hint helps, or that of its schema."""
    migrations = states["migrations"]

    assert health.hint("keys", states) == health.HINTS[helps]
    assert (
        health.hint("migrations", states) == health.HINTS["database" if migrations in health.SILENT else "migrations"]
    )


async def test_what_a_store_says_stays_here() -> None:
    """The answer is public: an error's text, which may hold addresses, is not in it."""

    async def look() -> None:
        raise OSError("password authentication failed for db.internal")

    assert await Readiness({"store": look}).states() == {"store": "unavailable"}


def test_an_abandoned_wait_leaves_the_probe_alone() -> None:
    """Cancelling the copy does not cancel what others wait for."""
    source: Future[None] = Future()
    abandoned, kept = health._copy(source), health._copy(source)

    abandoned.cancel()
    source.set_result(None)

    assert kept.result(1) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_neither_redirected_nor_limited(path: str, settings: Any) -> None:
    """They come without a token, over plain http, and often."""
    settings.SECURE_SSL_REDIRECT = True
    settings.RATELIMIT_ENABLE = True
    client = Client()
    cache.clear()

    answers = [client.get(path).status_code for _ in range(50)]

    assert set(answers) == {200}
    assert client.get("/user/me").status_code == 301


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_ask_by_any_address(path: str) -> None:
    """An orchestrator asks by the address of a container, which is no allowed host; the headers are there too."""
    answer = Client().get(path, headers={"host": "10.1.2.3:8000"})

    assert answer.status_code == 200
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Request-ID"]
    assert Client().get("/user/me", headers={"host": "10.1.2.3:8000"}).status_code == 400


def get(server: Daphne, path: str) -> tuple[int, Any]:
    """Ask a server, whatever it answers."""
    try:
        with urllib.request.urlopen(f"{server.url}{path}", timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def wait_for(server: Daphne, expected: int) -> Any:
    """Ask until the status is as expected, and return the body."""
    deadline = time.monotonic() + 15
    while (answer := get(server, "/readyz"))[0] != expected:
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)
    return answer[1]


@pytest.mark.live
def test_redis_may_go_and_come_back_and_hang(daphne: Callable[..., Daphne], tmp_path: Path) -> None:
    """While it is away the layer is named and `/healthz` stays good; afterwards the same process is ready again.

    A Redis that is stopped mid-way accepts connections and answers nothing: that is told in time.
    """
    with make_redis(tmp_path) as redis:
        redis.start()
        server = daphne(REDIS_URL=redis.url)
        assert get(server, "/readyz") == (200, GOOD)

        redis.stop()
        away = wait_for(server, 503)
        assert get(server, "/healthz") == (200, {"status": "ok"})
        redis.start()
        back = wait_for(server, 200)

        redis.send(signal.SIGSTOP)
        try:
            time.sleep(health.CACHE_SECONDS)
            started = time.monotonic()
            status, hanging = get(server, "/readyz")
            took = time.monotonic() - started
        finally:
            redis.send(signal.SIGCONT)

    assert away["checks"]["layer"] in {"unavailable", "timeout"}
    assert away["checks"]["database"] == "ok"
    assert back == GOOD
    assert (status, hanging["checks"]["layer"]) == (503, "timeout")
    assert took < 5


@pytest.mark.live
def test_a_server_before_its_migrations(daphne: Callable[..., Daphne]) -> None:
    """An empty database answers, and is not ready."""
    server = daphne(migrate=False)

    assert get(server, "/readyz")[0] == 503
    assert get(server, "/readyz")[1]["checks"]["database"] == "ok"
    assert get(server, "/readyz")[1]["checks"]["migrations"] == "unapplied migrations"
    server.manage("migrate", "--verbosity", "0")
    assert wait_for(server, 200) == GOOD
