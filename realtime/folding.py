"""Folds SQLite's write-ahead log into the database, in a thread that stands back for those that carry messages."""

from __future__ import annotations

import os
import sys
import threading

import structlog
from django.db import connection

from chatproject import db

log = structlog.get_logger("parley.folding")

EVERY = 0.1
"""Seconds between two foldings: the more pages at a time, the longer a commit waits for the disk behind them."""
NICENESS = 10
"""Some tens of milliseconds of writing must not stand in a message's way; a busy core still gives it a tenth."""


class LogFolder:
    """A thread with a connection of its own; without SQLite there is nothing to fold, and no thread."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="parley-folder", daemon=True)

    def start(self) -> None:
        """Begin to fold."""
        if db.keeps_a_log():
            self._thread.start()

    def stop(self) -> None:
        """Finish the fold that is under way."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere a priority is that of the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            while not self._ended.wait(EVERY):
                try:
                    db.fold_log()
                except Exception:  # the boundary of this thread: the log is folded at the next time, or by a writer
                    log.exception("folding.failed")
        finally:
            connection.close()
