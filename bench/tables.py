"""What the sections of the report are made of: names of variants, tables, rows of measured traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.marks import per_second
from bench.results import Record, Results, Spread

NAMES = {
    "parley": "Parley",
    "express": "(a) Express + Socket.IO",
    "channels": "(b) textbook Channels",
    "prosody": "(c) Prosody",
    "uvicorn": "Parley on uvicorn",
    "granian": "Parley on granian",
}

PICTURES = {"speed": "speed.svg", "latency": "latency.svg", "sizes": "sizes.svg"}

STORES = {"full": "FULL", "normal": "NORMAL", "postgres": "PostgreSQL", "mongodb": "MongoDB's protocol"}
"""The second half of a variant's name: how durable it is, or Parley's store."""


def label(variant: str) -> str:
    family, _, store = variant.partition("-")
    return f"{NAMES[family]}, {STORES[store]}" if store else NAMES[family]


def store_label(variant: str) -> str:
    """Return a store's name where nothing but Parley is compared."""
    return {"parley-full": "SQLite, FULL"}.get(variant) or STORES[variant.partition("-")[2]]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def spread(found: Spread | None, form: str = "{:,.0f}") -> str:
    if found is None:
        return ""
    low, middle, high = (form.format(value) for value in (found.low, found.median, found.high))
    return middle if low == high else f"{middle} ({low} to {high})"


def percentiles(results: Results, part: str, scenario: str, variant: str, **names: int) -> str:
    """Return the medians over the rounds of p50, p95 and p99."""
    found = [results.spread(lambda one, p=p: one[part][p], scenario, variant, **names) for p in ("p50", "p95", "p99")]
    return " / ".join(f"{one.median:.1f}" for one in found if one)


def row(results: Results, scenario: str, variant: str, **names: int) -> tuple[str, ...] | None:
    speed = results.spread(per_second, scenario, variant, **names)
    if speed is None:
        return None

    def one(value: Callable[[Record], float], form: str) -> str:
        found = results.spread(value, scenario, variant, **names)
        return form.format(found.median) if found else ""

    return (
        label(variant),
        spread(speed),
        percentiles(results, "ack", scenario, variant, **names),
        percentiles(results, "delivery", scenario, variant, **names),
        one(lambda r: r["cpuPer1000"], "{:.3f}"),
        one(lambda r: sum(r["serverCpu"].values()), "{:.0%}"),
        one(lambda r: r["loadCpu"], "{:.0%}"),
    )


COLUMNS = (
    "",
    "messages per second",
    "ack p50 / p95 / p99 ms",
    "delivery p50 / p95 / p99 ms",
    "CPU s per 1,000, server side",
    "server's core in use",
    "load's core in use",
)
