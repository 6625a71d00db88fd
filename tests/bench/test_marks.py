"""Tests of how the benchmark judges what it measured."""

from __future__ import annotations

import pytest

from bench.marks import Mark, all_marks, speed_ratios, top_speed
from bench.results import Results


def closed_loop(variant: str, *speeds: float, sockets: int = 100) -> Results:
    """Return the rounds of one variant."""
    results = Results()
    for speed in speeds:
        results.add("closed loop", variant, {"perSecond": speed}, sockets=sockets, inFlight=1)
    return results


def together(*parts: Results) -> Results:
    """Return one run of several."""
    return Results(records=[record for part in parts for record in part.records])


def first_mark(results: Results) -> Mark:
    """Return the mark of both with FULL against (a)."""
    return next(all_marks(results))


def test_medians_are_compared() -> None:
    """One lucky round and one unlucky round decide nothing."""
    results = together(closed_loop("parley-full", 100, 900, 320), closed_loop("express-full", 100, 1, 5000))

    assert speed_ratios(results, "parley-full", "express-full") == {(100, 1): 3.2}
    assert first_mark(results).verdict == "pass"


def test_the_worst_load_decides() -> None:
    """A mark that is reached with few sockets alone is missed."""
    results = together(
        closed_loop("parley-full", 400),
        closed_loop("express-full", 100),
        closed_loop("parley-full", 290, sockets=1000),
        closed_loop("express-full", 100, sockets=1000),
    )

    assert first_mark(results).verdict == "**miss**"
    assert first_mark(results).measured == "2.90x to 4.00x, by load"


def test_what_was_not_measured_is_said() -> None:
    """Neither passed nor missed."""
    assert {mark.verdict for mark in all_marks(Results())} == {"not measured"}


def test_failures_are_no_figures() -> None:
    """They are listed, and left out of every median."""
    results = closed_loop("express-full", 100)
    results.add("closed loop", "express-full", {"failed": "lost 3"}, sockets=100, inFlight=1)

    top = top_speed(results, "express-full")

    assert top is not None
    assert top.median == 100
    assert [one["failed"] for one in results.failures()] == ["lost 3"]


@pytest.mark.parametrize(("resumed", "errors", "verdict"), [(3000, {}, "pass"), (2999, {"reset": 1}, "**miss**")])
def test_the_storm_must_lose_nobody(resumed: int, errors: dict[str, int], verdict: str) -> None:
    """One client that was not resumed is a miss."""
    results = Results()
    results.add(
        "storm",
        "parley-full",
        {
            "clients": 3000,
            "seconds": 9.0,
            "resumed": {"count": resumed},
            "missed": resumed * 5,
            "expected": 15_000,
            "errors": errors,
        },
    )

    assert [mark.verdict for mark in all_marks(results)][-1] == verdict
