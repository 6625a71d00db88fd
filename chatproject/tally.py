"""Counts calls in this process's memory, in fixed windows, and takes in what the other processes have counted.

To count takes a microsecond and waits for nothing. What is shared, and how often, is the matter of `realtime.exchange`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from zlib import crc32

MOST_COUNTS = 100_000
"""Counts that are kept, some 30 MB; the oldest ones give way."""
FEWEST_COUNTS = 1_000


@dataclass(slots=True)
class _Count:
    """What is known of a subject in the window that `ends` then: of all processes, and what only this one knows."""

    ends: int
    total: int = 0
    unshared: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What was counted here for `name` since it was told the last time, in the window that `ends` then."""

    name: str
    ends: int
    calls: int


class Tally:
    """Counts by name; any thread may count."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._counts: dict[str, _Count] = {}
        self._swept_at = FEWEST_COUNTS

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, name: str, *, limit: int, period: int) -> float | None:
        """Count a call. At the limit it is not counted, and the seconds are returned until the window of `period` ends.

        Windows of a name are the same in all processes; those of different names end at different moments.
        """
        now = time.time()
        with self._lock:
            found = self._counts.get(name)
            if found is None or not found.ends - period <= now < found.ends:
                found = self._begin(name, now, period)
            if found.total >= limit:
                return found.ends - now
            found.total += 1
            found.unshared += 1
        return None

    def take(self) -> list[Share]:
        """Return what the other processes do not know yet, and take it for told."""
        now = time.time()
        with self._lock:
            told = [(name, count) for name, count in self._counts.items() if count.unshared and count.ends > now]
            shares = [Share(name, count.ends, count.unshared) for name, count in told]
            for _, count in told:
                count.unshared = 0
        return shares

    def give_back(self, shares: Iterable[Share]) -> None:
        """Take note that these were not told after all."""
        with self._lock:
            for share in shares:
                if count := self._current(share):
                    count.unshared += share.calls

    def learn(self, totals: Mapping[Share, int]) -> None:
        """Take in what all processes together have counted, what was shared included."""
        with self._lock:
            for share, total in totals.items():
                if count := self._current(share):
                    count.total = total + count.unshared

    def _current(self, share: Share) -> _Count | None:
        count = self._counts.get(share.name)
        return count if count is not None and count.ends == share.ends else None

    def _begin(self, name: str, now: float, period: int) -> _Count:
        if len(self._counts) >= self._swept_at:
            self._sweep(now)
        begun = int(now) - int(now) % period + crc32(name.encode()) % period
        self._counts.pop(name, None)  # so that it is the youngest of all
        count = self._counts[name] = _Count(begun if begun > now else begun + period)
        return count

    def _sweep(self, now: float) -> None:
        """Drop what has ended, and the oldest tenth where that is not enough."""
        self._counts = {name: count for name, count in self._counts.items() if count.ends > now}
        for name in list(self._counts)[: MOST_COUNTS // 10 if len(self._counts) >= MOST_COUNTS else 0]:
            del self._counts[name]
        self._swept_at = min(MOST_COUNTS, max(FEWEST_COUNTS, 2 * len(self._counts)))
