"""What is measured: each function takes a running stack, lets the load generator work, and returns a record (JSON)."""

from __future__ import annotations

from typing import Any

from bench import load
from bench.stacks.base import People, Stack
from bench.stacks.parley import Parley

CONTENT_LENGTH = 100
PAGE = 50
LARGEST_PAGE = 100
"""What a client asks for that has much to catch up with."""
CURSOR = 0
"""What the clients of the storm hold: nothing of what is in their chat."""

Record = dict[str, Any]


class CpuWatch:
    """Takes the CPU time of a stack's processes at the edges of the measured time."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._edges: dict[str, dict[str, float]] = {}

    def __call__(self, event: str) -> None:
        if event in ("measuring", "measured"):
            self._edges[event] = self._stack.cpu_seconds()

    @property
    def used(self) -> dict[str, float]:
        """CPU seconds by process."""
        before, after = self._edges["measuring"], self._edges["measured"]
        return {role: after[role] - before[role] for role in after}


def _job(mode: str, stack: Stack, people: People, **more: Any) -> load.Job:
    return {
        "mode": mode,
        "dialect": stack.dialect,
        **stack.address,
        "accounts": people.accounts,
        "chats": people.chats,
        "peers": people.peers,
        "contentLength": CONTENT_LENGTH,
        **more,
    }


def traffic(
    stack: Stack, people: People, *, in_flight: int = 1, rate: float = 0, warmup: float, seconds: float
) -> Record:
    """Messages between pairs, in a closed loop or at a `rate`.

    Adds `serverCpu` (share of a core by process) and `cpuPer1000` (CPU seconds of the whole server side for a thousand
    messages) to the load generator's result. Raises `load.LoadFailedError` when anything was lost, refused, doubled or
    astray: such a figure would compare nothing.
    """
    watch = CpuWatch(stack)
    job = _job("traffic", stack, people, inFlight=in_flight, rate=rate, warmup=warmup, seconds=seconds)
    result = load.run(job, watch)
    if result["trouble"] or result["counts"]["lost"]:
        raise load.LoadFailedError(f"{result['trouble']} {result['counts']}")
    if not (result["messages"] and result["ack"]["count"] and result["delivery"]["count"]):
        raise load.LoadFailedError("nothing was finished in the measured time")
    return {
        **result,
        "serverCpu": {role: used / result["seconds"] for role, used in watch.used.items()},
        "cpuPer1000": sum(watch.used.values()) / result["messages"] * 1000,
    }


def fan_out(stack: Stack, people: People, *, in_flight: int, warmup: float, seconds: float) -> Record:
    """Messages into a group of all `people`, all connected, `in_flight` of them under way at a time."""
    watch = CpuWatch(stack)
    result = load.run(_job("fanout", stack, people, inFlight=in_flight, warmup=warmup, seconds=seconds), watch)
    if result["counts"]["late"] or result["counts"]["closed"] or result["counts"]["refused"]:
        raise load.LoadFailedError(str(result["counts"]))
    return {**result, "serverCpu": {role: used / result["seconds"] for role, used in watch.used.items()}}


def idle(stack: Stack, people: People, *, warm: int, settle: float, seconds: float) -> Record:
    """Sockets that stay open through heartbeats: adds `kibPerSocket`, the growth of the server's memory for each."""
    memory: dict[str, dict[str, int]] = {}

    def look(event: str) -> None:
        memory[event] = stack.resident_kib()

    result = load.run(_job("idle", stack, people, warm=warm, settle=settle, seconds=seconds), look)
    if result["closed"]:
        raise load.LoadFailedError(f"{result['closed']} idle sockets were closed")
    grown = {role: memory["held"][role] - memory["warm"][role] for role in memory["held"]}
    return {
        **result,
        "kibPerSocket": grown["server"] / result["sockets"],
        "redisKibPerSocket": grown.get("redis", 0) / result["sockets"],
        "serverKib": memory["held"]["server"],
    }


def storm(stack: Stack, people: People, *, missed: int, away: float) -> Record:
    """All clients come back at once with cursors; each has missed `missed` messages."""
    result = load.run(_job("storm", stack, people, cursor=CURSOR, away=away))
    return {**result, "expected": missed * len(people.accounts)}


def pages(stack: Stack, people: People, *, small: int, large: int, warmup: int, rounds: int) -> Record:
    """A message sent and a page read by REST in a long chat and in a short one."""
    requests = []
    for size, place in (("large", large), ("small", small)):
        chat, token = people.chats[place], people.accounts[place]["token"]
        read = {"name": f"read-{size}", "method": "GET", "path": f"/chat/{chat}?limit={PAGE}", "status": 200}
        send = {"name": f"send-{size}", "method": "POST", "path": "/chat/message", "status": 201, "chatId": chat}
        requests += [{**read, "token": token}, {**send, "token": token}]
    return load.run(_job("rest", stack, people, requests=requests, warmup=warmup, rounds=rounds))


def requests_at(stack: Parley, people: People, *, size: int, warmup: int, rounds: int, seconds: float) -> Record:
    """What one request costs in an installation of `Parley.grow`: a send, two pages, the inbox.

    There are `rounds` of them, or as many as begin within `seconds`.
    """
    chat, token = people.chats[0], people.accounts[0]["token"]
    page = f"/chat/{chat}?limit={PAGE}"
    requests: list[dict[str, Any]] = [
        {"name": "send", "method": "POST", "path": "/chat/message", "status": 201, "chatId": chat},
        {"name": "newest", "path": page},
        {"name": "deep", "path": f"{page}&before={size // 10}"},
        {"name": "inbox", "path": "/chat"},
    ]
    requests = [{**one, "token": token} for one in requests]
    return load.run(_job("rest", stack, people, requests=requests, warmup=warmup, rounds=rounds, seconds=seconds))


def resync(stack: Parley, people: People, *, missed: int, rounds: int, seconds: float) -> Record:
    """How long it takes one person to come back to the long chat of `Parley.grow` after `missed` messages."""
    sizes = {"missed": missed, "page": LARGEST_PAGE, "newest": PAGE}
    return load.run(_job("resync", stack, people, **sizes, warmup=1, rounds=rounds, seconds=seconds))


def batches(stack: Parley, people: People, *, count: int) -> Record:
    """What a transaction of the store costs in an installation of `Parley.grow`."""
    return {"latencies": {"batch": stack.store_batches(people, count=count)}}
