"""Measures messages between pairs of people: in a closed loop, or at a given rate."""

from __future__ import annotations

from typing import Any

from bench import load
from bench.stacks.base import People, Stack

CONTENT_LENGTH = 100


def measure(
    stack: Stack, people: People, *, in_flight: int, warmup: float, seconds: float, rate: float = 0
) -> dict[str, Any]:
    """Run one measurement against a running stack.

    Returns the load generator's result with `serverCpu` (the share of a core of each process) and `cpuPer1000`
    (CPU seconds of the whole server side for a thousand messages). Raises `load.LoadFailedError` when anything was
    lost, refused or doubled: such a figure would compare nothing.
    """
    before: dict[str, float] = {}
    after: dict[str, float] = {}

    def look(event: str) -> None:
        if event == "measuring":
            before.update(stack.cpu_seconds())
        elif event == "measured":
            after.update(stack.cpu_seconds())

    job = {
        "mode": "traffic",
        "dialect": stack.dialect,
        **stack.address,
        "accounts": people.accounts,
        "chats": people.chats,
        "peers": people.peers,
        "contentLength": CONTENT_LENGTH,
        "inFlight": in_flight,
        "rate": rate,
        "warmup": warmup,
        "seconds": seconds,
    }
    result = load.run(job, look)
    if result["trouble"]:
        raise load.LoadFailedError(f"{result['trouble']} {result['counts']}")
    used = {role: after[role] - before[role] for role in after}
    return {
        **result,
        "serverCpu": {role: value / result["seconds"] for role, value in used.items()},
        "cpuPer1000": sum(used.values()) / max(result["messages"], 1) * 1000,
    }
