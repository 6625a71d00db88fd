"""What must be reached, and whether it was: each mark compares medians and judges the worst case that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.results import Record, Results, Spread

IDLE_KIB = 20
PAGE_RATIO = 1.2


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One line of the table. `passed` is None when it was not measured."""

    what: str
    wanted: str
    measured: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return "not measured" if self.passed is None else "pass" if self.passed else "**miss**"


def per_second(record: Record) -> float:
    return float(record["perSecond"])


def loads(results: Results, scenario: str = "closed loop") -> list[tuple[int, int]]:
    """Return the loads of a closed loop, as (sockets, in flight), in the order of the run."""
    found = {(one["sockets"], one["inFlight"]): None for one in results.records if one["scenario"] == scenario}
    return list(found)


def top_speed(results: Results, variant: str) -> Spread | None:
    """Return the best of a variant's loads."""
    found = [
        results.spread(per_second, "closed loop", variant, sockets=sockets, inFlight=in_flight)
        for sockets, in_flight in loads(results)
    ]
    return max((one for one in found if one), key=lambda one: one.median, default=None)


def speed_ratios(
    results: Results, ours: str, theirs: str, scenario: str = "closed loop"
) -> dict[tuple[int, int], float]:
    """Return how many times as fast ours is, by load."""
    return _ratios(results, scenario, per_second, ours, theirs)


def cost_ratios(
    results: Results, ours: str, theirs: str, scenario: str = "closed loop"
) -> dict[tuple[int, int], float]:
    """Return how many times as much CPU time theirs takes for a message, by load."""
    return _ratios(results, scenario, lambda one: one["cpuPer1000"], theirs, ours)


def _ratios(
    results: Results, scenario: str, value: Callable[[Record], float], over: str, under: str
) -> dict[tuple[int, int], float]:
    ratios = {}
    for sockets, in_flight in loads(results, scenario):
        above, below = (
            results.spread(value, scenario, name, sockets=sockets, inFlight=in_flight) for name in (over, under)
        )
        if above and below:
            ratios[sockets, in_flight] = above.median / below.median
    return ratios


def all_marks(results: Results) -> Iterator[Mark]:
    yield _speed(results, "both with FULL, against (a)", 3.0, ("parley-full", "express-full"))
    yield _speed(results, "both with NORMAL, against (a)", 2.0, ("parley-normal", "express-normal"))
    yield _speed(results, "ours with FULL, against (a) with NORMAL", 1.5, ("parley-full", "express-normal"))
    pairs = (("parley-full", "channels-full"), ("parley-normal", "channels-normal"))
    yield _speed(results, "equal durability, against (b)", 12.0, *pairs)
    yield _rate(results)
    yield _idle(results)
    yield _fan_out(results)
    yield _pages(results)
    yield _storm(results)


def _speed(results: Results, what: str, wanted: float, *pairs: tuple[str, str]) -> Mark:
    ratios = [ratio for ours, theirs in pairs for ratio in speed_ratios(results, ours, theirs).values()]
    return Mark(
        what=f"messages acked and delivered per second of one server core, {what}",
        wanted=f"at least {wanted:.1f}x",
        measured=f"{min(ratios):.2f}x to {max(ratios):.2f}x, by load" if ratios else "",
        passed=min(ratios) >= wanted if ratios else None,
    )


def _ratio(
    results: Results, value: Callable[[Record], float], scenario: str, ours: str, theirs: str, **names: Any
) -> tuple[float, Spread, Spread] | None:
    mine, other = (results.spread(value, scenario, name, **names) for name in (ours, theirs))
    return (mine.median / other.median, mine, other) if mine and other else None


def _rate(results: Results) -> Mark:
    parts, passed = [], []
    for durability in ("full", "normal"):
        names = f"parley-{durability}", f"express-{durability}"
        found = _ratio(results, lambda one: one["delivery"]["p99"], "rate", *names)
        if found:
            ratio, ours, theirs = found
            parts.append(f"{durability.upper()}: {ours.median:.1f} ms against {theirs.median:.1f} ms")
            passed.append(ratio <= 1)
    return Mark(
        what="p99 delivery at half of (a)'s top speed, against (a)",
        wanted="not worse",
        measured="; ".join(parts),
        passed=all(passed) if passed else None,
    )


def _idle(results: Results) -> Mark:
    found = results.spread(lambda one: one["kibPerSocket"], "idle", "parley-full")
    theirs = results.spread(lambda one: one["kibPerSocket"], "idle", "express-full")
    beside = f"; (a): {theirs.median:.1f} KiB" if theirs else ""
    return Mark(
        what="memory per idle authenticated socket with heartbeats",
        wanted=f"at most {IDLE_KIB} KB",
        measured=f"{found.median:.1f} KiB{beside}" if found else "",
        passed=found.median <= IDLE_KIB if found else None,
    )


def _fan_out(results: Results) -> Mark:
    parts, passed = [], []
    for in_flight, how in ((1, "one message at a time"), (4, "four")):
        names = "parley-full", "express-full"
        found = _ratio(results, lambda one: one["deliveriesPerSecond"], "fan-out", *names, inFlight=in_flight)
        if found:
            ratio, ours, theirs = found
            parts.append(f"{how}: {ratio:.2f}x ({ours.median:,.0f} against {theirs.median:,.0f})")
            passed.append(ratio >= 1.5)
    return Mark(
        what="fan-out: one message into a group of 1,000 connected members, deliveries per second, against (a)'s room",
        wanted="at least 1.5x",
        measured="; ".join(parts),
        passed=all(passed) if passed else None,
    )


def _pages(results: Results) -> Mark:
    parts, passed = [], []
    for name, call in (("send", "`POST /chat/message`"), ("read", "page of 50")):
        ratio = results.spread(
            lambda one, name=name: one["latencies"][f"{name}-large"]["p50"] / one["latencies"][f"{name}-small"]["p50"],
            "pages",
            "parley-full",
        )
        if ratio:
            parts.append(f"{call} {ratio.median:.2f}x")
            passed.append(ratio.median <= PAGE_RATIO)
    return Mark(
        what="REST in a chat of 1,000,000 messages against one of 1,000, medians",
        wanted=f"at most {PAGE_RATIO}x",
        measured="; ".join(parts),
        passed=all(passed) if passed else None,
    )


def _storm(results: Results) -> Mark:
    found = results.find("storm", "parley-full")
    what, wanted = "connect storm: 3,000 clients reconnecting at once with cursors", "all resumed, no error"
    if not found:
        return Mark(what=what, wanted=wanted, measured="", passed=None)
    worst = min(found, key=lambda one: one["resumed"]["count"])
    complete = all(one["missed"] == one["expected"] and not one["errors"] for one in found)
    return Mark(
        what=what,
        wanted=wanted,
        measured=f"{worst['resumed']['count']:,} of {worst['clients']:,} resumed in {worst['seconds']:.1f} s",
        passed=complete,
    )
