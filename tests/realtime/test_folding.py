"""The thread that folds SQLite's log: it stands back, goes on after an error, and ends when it is told to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from chatproject import db
from realtime import folding
from realtime.folding import NICENESS, LogFolder

PATIENCE = 5.0

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(db.vendor() != "sqlite", reason="no other store has a log that somebody must fold"),
]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold without waiting."""
    monkeypatch.setattr(folding, "EVERY", 0.001)


def folded_by(monkeypatch: pytest.MonkeyPatch, step: Callable[[int], None], *, times: int) -> None:
    """Run a folder until it has folded so often; `step` is called within each fold, with its number."""
    numbers = iter(range(1, 1_000_000))
    enough = threading.Event()
    fold = db.fold_log

    def counted() -> None:
        number = next(numbers)
        if number >= times:
            enough.set()
        step(number)
        fold()

    monkeypatch.setattr(db, "fold_log", counted)
    folder = LogFolder()
    folder.start()
    assert enough.wait(PATIENCE)
    folder.stop()
    assert not [one for one in threading.enumerate() if one.name == "parley-folder"]


def test_it_stands_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its priority is below that of the threads that carry messages; theirs stays as it was."""
    seen: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, 0)

    folded_by(monkeypatch, lambda _: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())), times=1)

    assert seen[0] == (NICENESS if sys.platform == "linux" else before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_an_error_does_not_end_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, and the next fold comes."""

    def break_once(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError

    folded_by(monkeypatch, break_once, times=3)

    assert "folding.failed" in caplog.text


def test_stop_before_start() -> None:
    """A folder that never began can be stopped."""
    LogFolder().stop()
