"""What a run consists of: the variants, the loads, how long and how often."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run's sizes; seconds where nothing else is said."""

    rounds: int
    loads: tuple[tuple[int, int], ...]
    """Sockets, and messages in flight of each."""
    warmup: float
    """Long enough for connections to settle, and for a process to find that it is alone on its Redis."""
    seconds: float
    extras: bool
    """Whether everything besides the closed loop is measured: rate, idle sockets, fan-out, REST, storm."""

    people: int = 1000
    rate_sockets: int = 100
    idle_sockets: int = 2000
    idle_warm: int = 100
    idle_seconds: float = 45
    """Two heartbeats of Parley's, one of Socket.IO's."""
    group: int = 1000
    group_in_flight: tuple[int, ...] = (1, 4)
    large_chat: int = 1_000_000
    small_chat: int = 1_000
    page_rounds: int = 300
    storm_clients: int = 3000
    storm_missed: int = 5

    def with_rounds(self, rounds: int) -> Plan:
        return replace(self, rounds=rounds)


QUICK = Plan(rounds=1, loads=((100, 1), (100, 4), (1000, 1)), warmup=5, seconds=4, extras=False)
FULL = Plan(rounds=3, loads=((100, 1), (100, 4), (1000, 1), (1000, 4)), warmup=4, seconds=4, extras=True)
