"""The pool of connections to PostgreSQL, with a real one: how many there are, and what an outage does to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from chatproject.db.pool import SIZE
from tests.live.clients import Account, log_lines, register
from tests.live.server import Daphne, migrated_daphne
from tests.stores.postgres import Postgres, postgres

pytestmark = [pytest.mark.live, pytest.mark.slow]

AT_ONCE = 100


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """A PostgreSQL of their own, which they kill."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def server(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daphne]:
    """A Daphne on it."""
    with migrated_daphne(tmp_path_factory.mktemp("pool"), DATABASE_URL=database.url) as running:
        yield running


@pytest.fixture(scope="module")
def ada(server: Daphne) -> Account:
    """Somebody."""
    return asyncio.run(register(server, "ada"))


async def ask(server: Daphne, person: Account, *, times: int) -> list[httpx.Response]:
    """Ask who one is, so many times at once."""
    limits = httpx.Limits(max_connections=times)
    async with httpx.AsyncClient(base_url=server.url, headers=person.headers, timeout=30, limits=limits) as client:
        return await asyncio.gather(*(client.get("/user/me") for _ in range(times)))


def connections_of(database: Postgres) -> int:
    """Return how many connections the database has beside this one."""
    statement = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with psycopg.connect(database.url) as connection:
        return int((connection.execute(statement).fetchone() or (0,))[0])


async def test_many_requests_share_a_few_connections(server: Daphne, database: Postgres, ada: Account) -> None:
    """Each of them has a thread of its own; all are answered."""
    answers = await ask(server, ada, times=AT_ONCE)

    assert {answer.status_code for answer in answers} == {200}
    assert connections_of(database) <= SIZE + 5  # which the database threads keep


async def test_a_restart_of_the_database(server: Daphne, database: Postgres, ada: Account) -> None:
    """Meanwhile people are asked to come back, in the one shape; afterwards the dead connections fail nobody."""
    await ask(server, ada, times=AT_ONCE)
    database.kill()
    refused = await ask(server, ada, times=3)
    database.start()
    deadline = time.monotonic() + 15
    while (await ask(server, ada, times=1))[0].status_code != 200:
        assert time.monotonic() < deadline
    answers = await ask(server, ada, times=AT_ONCE)

    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(503, "unavailable")}
    assert {answer.status_code for answer in answers} == {200}
    assert log_lines(server, "http.unavailable")
    assert "Traceback" not in server.log


async def test_idle_connections_that_died_fail_nobody(server: Daphne, database: Postgres, ada: Account) -> None:
    """A database that was restarted between two requests is noticed before one of them is asked."""
    await ask(server, ada, times=AT_ONCE)
    database.kill()
    database.start()

    answers = await ask(server, ada, times=SIZE)

    assert {answer.status_code for answer in answers} == {200}


async def test_the_end_waits_for_nobody(server: Daphne, ada: Account) -> None:
    """The pool's own threads do not hold up the end of a process, and say nothing at it."""
    await ask(server, ada, times=SIZE)
    before = len(server.log)

    started = time.monotonic()
    server.stop()
    took = time.monotonic() - started
    said = server.log[before:]
    server.start()

    assert took < 5
    assert "thread" not in said
