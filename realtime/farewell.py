"""Sends every socket away before its process ends, each with a moment of its own at which to come back."""

from __future__ import annotations

import random
from collections.abc import Collection

from realtime.catalogue import Told
from realtime.sockets import CloseCode, Socket

SHORTEST_SPREAD_MS = 3_000
LONGEST_SPREAD_MS = 60_000
RETURNS_PER_SECOND = 500
"""Clients of one ended process that come back in a second, at the most on the average: each one syncs."""


def spread_ms(sockets: int) -> int:
    """Return over how many milliseconds so many clients are to come back."""
    return min(LONGEST_SPREAD_MS, max(SHORTEST_SPREAD_MS, 1_000 * sockets // RETURNS_PER_SECOND))


def send_away(sockets: Collection[Socket]) -> None:
    """Tell each socket when to come back, and close it with 1012 (RFC 6455, section 7.2.3 on random delays)."""
    spread = spread_ms(len(sockets))
    for socket in sockets:
        socket.push_event(Told.RESTARTING, {"reconnectInMs": random.randint(0, spread)})  # noqa: S311
        socket.close(CloseCode.RESTARTING)
