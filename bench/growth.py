"""What grows with the installation: the operations that are measured at each size, and how much more they take."""

from __future__ import annotations

from bench.results import Results

SCENARIO = "size"

OPERATIONS = {
    "send": "`POST /chat/message`",
    "batch": "the store, a batch of 64",
    "newest": "the newest page of 50",
    "deep": "a page of 50 deep in the past",
    "inbox": "`GET /chat`, first page",
    "pages": "resync by REST",
    "socket": "resync by socket",
}
"""By the name that a record gives its latencies."""


def sizes(results: Results, variant: str | None = None) -> list[int]:
    """Return the sizes that were measured, on one store or on any."""
    found = (one for one in results.records if one["scenario"] == SCENARIO and "failed" not in one)
    return sorted({one["size"] for one in found if variant in (None, one["variant"])})


def latency(results: Results, variant: str, size: int, operation: str, part: str = "p50") -> float | None:
    """Return milliseconds, or None when that was not measured."""
    for one in results.find(SCENARIO, variant, size=size):
        if operation in one["latencies"]:
            return float(one["latencies"][operation][part])
    return None


def growth(results: Results, variant: str, operation: str) -> float | None:
    """Return how many times as long an operation takes at a store's largest size as at its smallest, by medians."""
    measured = sizes(results, variant)
    if len(measured) < 2:
        return None
    small, large = (latency(results, variant, size, operation) for size in (measured[0], measured[-1]))
    return large / small if small and large else None


def lines(results: Results, variant: str) -> dict[str, dict[int, float]]:
    """Return the medians of each operation that was measured on a store, by size."""
    found: dict[str, dict[int, float]] = {}
    for operation in OPERATIONS:
        by_size = {size: latency(results, variant, size, operation) for size in sizes(results, variant)}
        points = {size: took for size, took in by_size.items() if took is not None}
        if points:
            found[operation] = points
    return found
