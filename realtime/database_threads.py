"""The threads of the real-time side that use the database: one that writes and some that read."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from django.db import connections

from chatproject import db
from chatproject.db import pool
from chatproject.errors import Unavailable

T = TypeVar("T")

READERS = 4
CLOSING_SECONDS = 2.0


class DatabaseThreads:
    """Each of them keeps its connection. They belong to the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="parley-writer", initializer=pool.leave)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="parley-reader", initializer=pool.leave)

    def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
        """Run a function in a thread that reads, with the caller's context variables.

        Raises `Unavailable` when the threads have ended, for those who come in the last moment of the process.
        """
        context = contextvars.copy_context()
        call = functools.partial(context.run, _guarded, function, *args, **kwargs)
        try:
            return self._loop.run_in_executor(self._readers, call)
        except RuntimeError:
            raise Unavailable from None

    async def close(self) -> None:
        """End the threads, each of which closes its connection."""
        for executor, threads in ((self.writer, 1), (self._readers, READERS)):
            close = functools.partial(_close_connections, threading.Barrier(threads))
            await asyncio.gather(*(self._loop.run_in_executor(executor, close) for _ in range(threads)))
            executor.shutdown()


def _guarded(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call; a connection that broke is replaced at the next call."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        db.discard_broken_connection(error)
        raise


def _close_connections(all_threads: threading.Barrier) -> None:
    """Close this thread's connections, once in each thread: nobody finishes before the others have begun."""
    with suppress(threading.BrokenBarrierError):
        all_threads.wait(CLOSING_SECONDS)
    connections.close_all()
