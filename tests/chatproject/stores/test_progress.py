"""Progress is a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import io
import os
import pty
import re
import termios
import time
from contextlib import suppress

import pytest

from chatproject.stores import progress
from chatproject.stores.progress import Progress


def _until_closed(terminal: int) -> str:
    """Read what was written to the other side, which is closed."""
    parts = []
    with suppress(OSError):  # EIO: that was all
        while part := os.read(terminal, 4096):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def test_a_terminal_gets_a_bar() -> None:
    """It draws the share, the rate and the time left."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with os.fdopen(theirs, "w") as terminal, Progress("Copying", 1000, stream=terminal) as shown:
        for _ in range(4):
            time.sleep(0.12)
            shown.advance(200)

    drawn = _until_closed(ours)

    assert re.search(r"Copying: +80%.*800/1\.00k .*<00:0\d, .*rows/s", drawn), drawn
    assert "\r" in drawn


def test_a_log_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, without control characters."""
    log = io.StringIO()
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("Copying", 1000, stream=log) as shown:
        now += 4
        shown.advance(200)
        now += 6
        shown.advance(300)

    assert log.getvalue() == "Copying: 500 of 1,000 rows (50 %), 50/s, 0:10 left\n"
