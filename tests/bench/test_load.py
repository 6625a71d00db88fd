"""Tests of the benchmark's load generator against a real server: it counts everything once. Nothing is timed here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import growth, scenarios
from bench.stacks import STORES
from bench.stacks.base import People
from bench.stacks.parley import Parley

pytestmark = pytest.mark.live

PEOPLE = 20
MISSED = 250
"""More than a socket is sent, which is told to load the chat anew."""


def empty_stack(directory: Path, migrated_database: Path) -> Parley:
    """Make a Daphne and a Redis as the benchmark runs them, with an empty database; not started yet."""
    shutil.copyfile(migrated_database, directory / "migrated-parley.sqlite3")
    home = directory / "stack"
    home.mkdir()
    return Parley(home)


@pytest.fixture
def stack(tmp_path: Path, migrated_database: Path) -> Parley:
    """One for a test that fills it."""
    return empty_stack(tmp_path, migrated_database)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[tuple[Parley, People]]:
    """A running one, and its people in pairs, the first of which have written already."""
    running = empty_stack(tmp_path_factory.mktemp("pairs"), migrated_database)
    people = running.populate(PEOPLE, fill=[120, 10])
    with running:
        yield running, people


@pytest.mark.parametrize("load", [{"in_flight": 3}, {"rate": 200}])
def test_every_message_is_acked_and_delivered_once(pairs: tuple[Parley, People], load: dict[str, int]) -> None:
    """In a closed loop and at a rate: nothing is lost, doubled, refused or brought to somebody else."""
    result = scenarios.traffic(*pairs, **load, warmup=0.2, seconds=0.5)

    counts = result["counts"]
    assert result["messages"] > 0
    assert counts["sent"] == counts["acked"] == counts["delivered"] == counts["completed"] >= result["messages"]
    assert {counts[name] for name in ("lost", "refused", "twice", "astray", "closed")} == {0}
    assert set(result["serverCpu"]) == {"redis", "server"}


def test_a_group_message_reaches_every_member(stack: Parley) -> None:
    """The fan-out counts one delivery for each member but the sender, whose copy is the ack."""
    people = stack.populate(PEOPLE, group=True)

    with stack:
        result = scenarios.fan_out(stack, people, in_flight=2, warmup=0.2, seconds=0.5)

    counts = result["counts"]
    assert counts["messages"] > 0
    assert counts["deliveries"] == counts["messages"] * PEOPLE


def test_clients_that_come_back_get_what_they_missed(stack: Parley) -> None:
    """The storm's clients lose their sockets, return with their cursors and are brought up to date."""
    people = stack.populate(PEOPLE, messages=3)

    with stack:
        result = scenarios.storm(stack, people, missed=3, away=0.1)

    assert result["resumed"]["count"] == PEOPLE
    assert result["missed"] == result["expected"] == 3 * PEOPLE
    assert result["errors"] == {}


def test_pages_and_idle_sockets(pairs: tuple[Parley, People]) -> None:
    """REST is asked in a filled chat, whose rows open like any other; idle sockets stay open."""
    pages = scenarios.pages(*pairs, large=0, small=2, warmup=1, rounds=3)
    idle = scenarios.idle(*pairs, warm=2, settle=0.1, seconds=0.5)

    assert {name: one["count"] for name, one in pages["latencies"].items()} == dict.fromkeys(
        ("read-large", "send-large", "read-small", "send-small"), 3
    )
    assert (idle["sockets"], idle["closed"]) == (PEOPLE - 2, 0)
    assert "unreadable" not in pairs[0].server.log


@pytest.mark.slow
@pytest.mark.parametrize("name", STORES)
def test_an_installation_grows(name: str, tmp_path: Path, migrated_database: Path) -> None:
    """On each store every operation is measured, and whoever comes back is brought all that it missed.

    On the first it is measured at each size: that an installation in use grows on does not depend on the store.
    """
    sizes = (300, 600)  # more than what is missed, and than what the measuring itself adds
    measured = sizes if name == next(iter(STORES)) else sizes[-1:]
    shutil.copyfile(migrated_database, tmp_path / "migrated-parley.sqlite3")
    home = tmp_path / name
    home.mkdir()
    grown = STORES[name](home)
    assert isinstance(grown, Parley)
    try:
        for size in sizes:
            people = grown.grow(size, chats=4, away=MISSED)
            if size not in measured:
                continue
            with grown:
                requests = scenarios.requests_at(grown, people, size=size, warmup=0, rounds=2, seconds=60)
                resync = scenarios.resync(grown, people, missed=MISSED, rounds=2, seconds=60)
                batches = scenarios.batches(grown, people, count=2)

            found = {**requests["latencies"], **resync["latencies"], **batches["latencies"]}
            assert {operation: one["count"] for operation, one in found.items()} == dict.fromkeys(growth.OPERATIONS, 2)
            assert "unreadable" not in grown.server.log
    finally:
        grown.discard()
