"""Tests of what the benchmark says about the three stores and about size. Nothing is timed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import growth, report, report_stores
from bench.plan import FULL
from bench.results import Results

FACTS = {"rounds": 1, "seconds": 4, "load": 0.1, "realMongodb": False, "shortChats": 1000, "versions": {}}


def measured(variant: str, **medians: dict[int, float]) -> Results:
    """Return one record for each operation and size, as a run makes them."""
    results = Results(facts={"stores": FACTS})
    for operation, by_size in medians.items():
        for size, p50 in by_size.items():
            record = {"latencies": {operation: {"p50": p50, "p95": 2 * p50}}}
            results.add(growth.SCENARIO, variant, record, size=size, missed=min(by_size))
    return results


def loop(variant: str, speed: float, cpu: float) -> Results:
    """Return one round of a store in the closed loop."""
    spread = {"p50": 1.0, "p95": 2.0, "p99": 3.0}
    record = {
        "perSecond": speed, "ack": spread, "delivery": spread, "cpuPer1000": cpu, "serverCpu": {}, "loadCpu": 0.1,
    }  # fmt: skip
    results = Results(facts={"stores": FACTS})
    results.add("stores", variant, record, sockets=100, inFlight=4)
    return results


def together(*parts: Results) -> Results:
    """Return one run of several."""
    return Results(records=[one for part in parts for one in part.records], facts=parts[0].facts)


def test_growth_compares_the_largest_size_with_the_smallest() -> None:
    """By medians, whatever lies between."""
    results = measured("parley-full", send={1_000_000: 12.0, 10_000: 10.0, 100_000: 99.0})

    assert growth.growth(results, "parley-full", "send") == 1.2
    assert growth.latency(results, "parley-full", 10_000, "send", "p95") == 20.0


def test_growth_needs_both_sizes() -> None:
    """One size, or an operation that failed at one of them, tells nothing of growth."""
    results = measured("parley-full", send={10_000: 10.0, 100_000: 11.0}, inbox={10_000: 5.0})
    results.add(growth.SCENARIO, "parley-postgres", {"failed": "away"}, size=10_000, missed=10_000)

    assert growth.growth(results, "parley-full", "inbox") is None
    assert growth.growth(results, "parley-postgres", "send") is None
    assert growth.sizes(results) == [10_000, 100_000]
    assert growth.sizes(results, "parley-postgres") == []


def test_the_sizes_have_a_table_for_each_store() -> None:
    """With the ratio of the ends, and a word on the test server that is measured at fewer of them."""
    results = together(
        measured("parley-full", send={10_000: 10.0, 1_000_000: 11.0}),
        measured("parley-mongodb", send={10_000: 30.0, 100_000: 45.0}),
    )

    text = report_stores.sizes(results)

    assert "|  | 10,000 | 1,000,000 | 1,000,000 : 10,000 |" in text
    assert "| `POST /chat/message` | 10.0 / 20.0 | 11.0 / 22.0 | 1.10x |" in text
    assert "| `POST /chat/message` | 30.0 / 60.0 | 45.0 / 90.0 | 1.50x |" in text
    assert text.count("The stand-in") == 1


def test_stores_are_compared_with_sqlite() -> None:
    """Speed and CPU time, each as a multiple of SQLite's; and it is said that the test server is no MongoDB."""
    results = together(
        loop("parley-full", 1000, 0.1), loop("parley-postgres", 500, 0.3), loop("parley-mongodb", 50, 2.0)
    )

    text = report_stores.three_stores(results)

    assert "| PostgreSQL: messages per second | 0.50x |" in text
    assert "| PostgreSQL: CPU time for a message | 3.00x |" in text
    assert "is no MongoDB" in text


def test_a_report_without_stores_has_no_such_section() -> None:
    """As a run with other variants alone leaves it."""
    assert report_stores.three_stores(Results()) == report_stores.sizes(Results()) == ""


def test_measuring_the_stores_again_keeps_the_rest() -> None:
    """What was measured of them before goes, and the report still holds what else there was."""
    committed = Results.load(Path(report.__file__).with_name("results.json"))
    both = together(committed, loop("parley-full", 1000, 0.1), measured("parley-full", send={10_000: 1.0}))

    kept = both.without(lambda one: one["scenario"] in report_stores.SCENARIOS)

    assert [one for one in committed.records if one["scenario"] not in report_stores.SCENARIOS] == kept.records
    assert kept.facts == committed.facts
    assert "## Closed loop" in report.text(kept)


@pytest.mark.parametrize(("named", "largest", "missed"), [(False, 10_000, 1_000), (True, 1_000_000, 10_000)])
def test_the_test_server_is_spared_the_largest_size(
    named: bool, largest: int, missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real MongoDB and the other stores are not."""
    monkeypatch.setattr("bench.plan.MongoDB.named", named)

    assert FULL.sizes_on("parley-mongodb")[-1] == largest
    assert FULL.missed_on("parley-mongodb") == missed
    assert FULL.sizes_on("parley-postgres")[-1] == 1_000_000


def test_a_line_has_the_sizes_at_which_the_operation_was_measured() -> None:
    """What failed at one size leaves a gap; what was never measured has no line."""
    results = measured("parley-full", send={10_000: 10.0, 100_000: 11.0}, inbox={100_000: 5.0})

    assert growth.lines(results, "parley-full") == {"send": {10_000: 10.0, 100_000: 11.0}, "inbox": {100_000: 5.0}}
    assert growth.lines(results, "parley-postgres") == {}
