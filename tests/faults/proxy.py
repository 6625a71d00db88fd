"""A TCP proxy that fails on command: it stands in front of Redis, and as a load balancer in front of two Daphnes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from itertools import count
from types import TracebackType
from typing import Self

from tests.live.server import LOOPBACK

CHUNK = 64 * 1024
TURNS_TO_OPEN = 5
"""Turns of the loop from a connection's acceptance to `_accept`, and two more."""


class Way(Enum):
    """What the proxy does with connections."""

    FORWARD = auto()
    REFUSE = auto()
    """Nobody listens: connecting fails at once. Open connections go on."""
    BLACK_HOLE = auto()
    """Connections open and stay silent, for ever: what was open now is dead even after the proxy forwards again."""


class FaultProxy:
    """Forwards each connection to the next upstream port in turn that takes it; as a context manager it runs.

    `delay` is how many seconds each chunk waits on its way.
    """

    def __init__(self, *upstreams: int) -> None:
        self.upstreams = upstreams
        self.way = Way.FORWARD
        self.delay = 0.0
        self.port = 0
        self._turn = count()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for HTTP, without a trailing slash."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def ws_url(self) -> str:
        """The address of Parley's socket."""
        return f"ws://{LOOPBACK}:{self.port}/ws"

    @property
    def redis_url(self) -> str:
        """The address for `REDIS_URL`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.turn(Way.REFUSE)
        for _ in range(TURNS_TO_OPEN):  # what was accepted just now is a socket that is nobody's yet
            await asyncio.sleep(0)
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets

    async def turn(self, way: Way) -> None:
        """Go on in this way."""
        if way is Way.REFUSE:
            self._stop_listening()
        elif self.way is Way.REFUSE:
            await self._listen()
        self.way = way
        if way is Way.BLACK_HOLE:
            for task in self._tasks:
                task.cancel()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, backlog=1_000)
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        if self.way is Way.BLACK_HOLE:
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await self._connect()
        if upstream is None:
            self._drop(writer)
            return
        self._open.add(upstream[1])
        there = asyncio.ensure_future(self._pump(reader, upstream[1]))
        back = asyncio.ensure_future(self._pump(upstream[0], writer))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # a black hole: whoever waits here waits for ever
            for pump in (there, back):
                pump.cancel()
            raise
        # One side has ended: what the other had still to say has been written, so both may go.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(there, back), timeout=1)
        self._drop(writer)
        self._drop(upstream[1])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self.upstreams:
            port = self.upstreams[next(self._turn) % len(self.upstreams)]
            with suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, port)
        return None

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.transport.abort() if self.way is Way.REFUSE else writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
