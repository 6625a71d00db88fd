"""Two people who write to each other while somebody else misbehaves: they must not notice."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.live.clients import Account, Talker, register
from tests.live.server import Daphne

PAUSE = 0.1
"""Seconds between an answer and the next message: the witness is there to notice, not to load the server."""
LONGEST = 5.0
"""Seconds that a message may take on a machine that runs several suites: beyond that the server stood still."""


class Witness:
    """As a context manager it sends, receives and counts; at the end each message was acked and received, in order."""

    _people: ClassVar[dict[Path, tuple[Account, Account]]] = {}
    """By the data directory of their server: they sign up once, which takes longer than many messages."""

    def __init__(self, server: Daphne, *, pause: float = PAUSE) -> None:
        self.server = server
        self.pause = pause
        self.delays: list[float] = []
        self.acked: list[int] = []
        self.received: list[int] = []
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        home = self.server.data_dir
        if home not in self._people:
            self._people[home] = await register(self.server, "witness"), await register(self.server, "listener")
        one, other = self._people[home]
        self.speaker = await self._stack.enter_async_context(Talker(self.server, one))
        self.listener = await self._stack.enter_async_context(Talker(self.server, other))
        self._task = asyncio.ensure_future(self._talk())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        try:
            if error is not None:
                self._task.cancel()
            else:
                await self._task
                self._judge()
        finally:
            await self._stack.aclose()

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 messages were sent, stored, acked and received."""
        return sorted(self.delays)[int(len(self.delays) * 0.99)]

    async def _talk(self) -> None:
        for number in count():
            if self._over.is_set() and number:
                return
            started = time.monotonic()
            message = await self.speaker.say(f"message {number}", receiverId=self.listener.account.id)
            self.acked.append(message["seq"])
            heard = await self.listener.event("message:receive", id=message["id"])
            self.received.append(heard["seq"])
            self.delays.append(time.monotonic() - started)
            await asyncio.sleep(self.pause)

    def _judge(self) -> None:
        median = sorted(self.delays)[len(self.delays) // 2]
        print(  # noqa: T201  the figure is for who reads the run; only a standstill fails it
            f"\nwitness: {len(self.acked)} messages, median {median * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms, "
            f"longest {max(self.delays) * 1000:.1f} ms"
        )
        assert self.acked == self.received == list(range(self.acked[0], self.acked[0] + len(self.acked)))
        assert max(self.delays) < LONGEST
