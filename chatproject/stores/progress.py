"""Shows how far a long command is: a bar with rate and time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Self, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]

LINE_SECONDS = 5.0


class Progress:
    """Counts towards a total; `advance` is cheap to call often."""

    def __init__(self, what: str, total: int, *, unit: str = "rows", stream: TextIO | None = None) -> None:
        self._what, self._unit = what, unit
        self.total = max(total, 0)
        self.done = 0
        self._stream = stream or sys.stderr
        self._began = self._said = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=self.total, desc=what, unit=f" {unit}", unit_scale=True, file=self._stream, dynamic_ncols=True
            )

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.done / max(self.seconds, 1e-6)

    def advance(self, count: int) -> None:
        """Count on."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self._stream.write(f"{self._line()}\n")
            self._stream.flush()

    def _line(self) -> str:
        share = 100 * self.done // self.total if self.total else 100
        left = max(self.total - self.done, 0) / max(self.rate, 1e-6)
        return (
            f"{self._what}: {self.done:,} of {self.total:,} {self._unit} ({min(share, 100)} %), {self.rate:,.0f}/s, "
            f"{_duration(left)} left"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
