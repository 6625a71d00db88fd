"""Lets several act at the same moment, or somebody else act in the middle of a transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections
from django.db.models.signals import ModelSignal

HELD_UP = 1.0
"""Seconds after which somebody who is not through yet is taken for held up."""


def in_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run the jobs at the same moment, each in a thread with a connection of its own."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


class Meanwhile:
    """A deed that the first call does, in a thread and with a connection of its own; later calls do nothing."""

    def __init__(self, deed: Callable[[], Any]) -> None:
        self._deed = deed
        self._called = threading.Lock()
        self._pool = ThreadPoolExecutor(1)
        self._done: Future[Any] | None = None

    def __call__(self, *_: object, **__: object) -> None:
        """Do it, as far as the caller's transaction lets it."""
        if self._called.acquire(blocking=False):
            self._done = self._pool.submit(self._run)
            wait([self._done], timeout=HELD_UP)

    def _run(self) -> Any:
        try:
            return self._deed()
        finally:
            connection.close()

    def result(self) -> Any:
        """Return what came of it, or raise that. Fails when it was never called."""
        assert self._done is not None
        return self._done.result()

    def end(self) -> None:
        """Wait for its thread."""
        self._pool.shutdown()


@contextmanager
def meanwhile(deed: Callable[[], Any], *, at: ModelSignal, of: type[Any]) -> Iterator[Meanwhile]:
    """Do the deed when the signal is first sent for the model."""
    one = Meanwhile(deed)
    at.connect(one, sender=of, weak=False)
    try:
        yield one
    finally:
        at.disconnect(one, sender=of)
        one.end()
