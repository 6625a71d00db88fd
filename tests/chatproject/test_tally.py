"""Tests of counting in memory: windows, what is told to others and learnt from them, and bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import time_machine

from chatproject.tally import MOST_COUNTS, Share, Tally

NOON = 1_769_860_800


@pytest.fixture
def clock() -> Iterator[time_machine.Coordinates]:
    """A clock that stands."""
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


def calls(tally: Tally, name: str = "ada", *, limit: int = 10, period: int = 60) -> int:
    """Return how many calls go through before one is refused."""
    for number in range(1000):
        if tally.count(name, limit=limit, period=period) is not None:
            return number
    return 1000


@pytest.mark.usefixtures("clock")
def test_up_to_the_limit_and_no_further() -> None:
    """Each name for itself."""
    tally = Tally()

    assert [calls(tally), calls(tally), calls(tally, "bob")] == [10, 0, 10]


def test_the_next_window(clock: time_machine.Coordinates) -> None:
    """It begins when it was said, and at different moments for different names; a clock set back begins anew."""
    tally = Tally()
    calls(tally)
    wait = tally.count("ada", limit=10, period=60)
    assert wait is not None
    assert 0 < wait <= 60

    clock.shift(wait - 0.001)
    assert calls(tally) == 0
    clock.shift(0.001)
    assert calls(tally) == 10
    clock.shift(-3_600)
    assert calls(tally) == 10
    ends = set()
    for name in map(str, range(50)):
        tally.count(name, limit=1, period=60)
        ends.add(tally.count(name, limit=1, period=60))
    assert len(ends) > 20


@pytest.mark.usefixtures("clock")
def test_what_is_told_and_learnt() -> None:
    """Only what is new is told; what others counted counts; what could not be told is told with the next."""
    tally = Tally()
    for _ in range(4):
        tally.count("ada", limit=10, period=60)
    (share,) = tally.take()
    assert (share.name, share.calls) == ("ada", 4)
    assert tally.take() == []

    tally.count("ada", limit=10, period=60)
    tally.learn({share: 7})
    assert calls(tally) == 2
    (more,) = tally.take()
    assert more.calls == 3
    tally.give_back([more])
    assert tally.take() == [more]


def test_an_answer_that_is_too_late(clock: time_machine.Coordinates) -> None:
    """It says nothing about the window that has begun since, nor about a name that was forgotten."""
    tally = Tally()
    calls(tally)
    old = tally.take()
    clock.shift(60)
    tally.count("ada", limit=10, period=60)

    tally.learn(dict.fromkeys([*old, Share("eve", NOON, 1)], 1000))
    tally.give_back(old)

    assert [share.calls for share in tally.take()] == [1]
    assert calls(tally) == 9


def test_memory_is_bounded(clock: time_machine.Coordinates) -> None:
    """However many there are, the youngest are kept; those whose time is over go first."""
    tally = Tally()
    for number in range(MOST_COUNTS + 100):
        tally.count(str(number), limit=1, period=3_600)
    assert len(tally) <= MOST_COUNTS
    assert tally.count(str(MOST_COUNTS + 99), limit=1, period=3_600) is not None

    clock.shift(7_200)
    for number in range(MOST_COUNTS):
        tally.count(f"next {number}", limit=1, period=3_600)
    assert tally.count("next 0", limit=1, period=3_600) is not None


def test_many_threads() -> None:
    """None of their calls is lost."""
    tally = Tally()

    def count() -> None:
        for _ in range(5_000):
            tally.count("ada", limit=1_000_000, period=86_400)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(share.calls for share in tally.take()) == 20_000
