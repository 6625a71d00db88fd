"""The way of a frame out to one socket: written at once while the server takes it, queued within bounds otherwise.

Under Daphne frames go straight to the wire (`realtime.daphne_wire`), which has its own bounds. Another ASGI server may
suspend `send` until its peer reads (uvicorn, granian); it is served without a task for each frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from functools import partial
from types import coroutine
from typing import Any

import structlog

log = structlog.get_logger("parley.socket")

QUEUED_FRAMES = 64
DRAINED_BYTES = 128 * 1024
"""What may still wait for the peer when `drained` returns."""
POLL_SECONDS = 0.02

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Outbox:
    """Sends frames in order. `overflow` is called once when more than `QUEUED_FRAMES` wait for the peer to read.

    `backlog` tells how many bytes a server holds that takes every frame at once. Where the server has a `write` of its
    own, texts go there, and `send` is for the close alone.
    """

    __slots__ = ("_backlog", "_closed", "_overflow", "_queue", "_send", "_writer", "push")

    def __init__(
        self,
        send: Send,
        *,
        overflow: Callable[[], None],
        backlog: Callable[[], int] = lambda: 0,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._send = send
        self._overflow = overflow
        self._backlog = backlog
        self.push: Callable[[str], None] = write or self._push
        """Send a text frame, now or as soon as the ones before it are gone."""
        self._queue: deque[MutableMapping[str, Any]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    def _push(self, text: str) -> None:
        self._put({"type": "websocket.send", "text": text})

    def close(self, code: int, reason: str = "") -> None:
        """Send the close frame after what is queued; nothing goes out behind it. A full queue is not waited for."""
        if len(self._queue) >= QUEUED_FRAMES:
            self.cut(code, reason)
        elif not self._closed:
            self._put({"type": "websocket.close", "code": int(code), "reason": reason})
            self._shut()

    def cut(self, code: int, reason: str = "") -> None:
        """Send the close frame ahead of what is queued, which the peer will not read."""
        if not self._closed:
            self.abandon()
            message = {"type": "websocket.close", "code": int(code), "reason": reason}
            self._writer = asyncio.ensure_future(self._send_last(message))

    async def drained(self) -> None:
        """Wait until the peer has taken what was sent, but for a rest: a long answer goes out at the peer's pace."""
        while not self._closed and (self._writer is not None or self._backlog() > DRAINED_BYTES):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    def abandon(self) -> None:
        """Forget what is queued: the peer is gone."""
        self._shut()
        self._queue.clear()
        if self._writer is not None:
            self._writer.cancel()

    def _shut(self) -> None:
        self._closed, self.push = True, _nowhere

    def _put(self, message: MutableMapping[str, Any]) -> None:
        if self._closed:
            return
        if self._writer is None:
            self._start(message)
        elif len(self._queue) < QUEUED_FRAMES:
            self._queue.append(message)
        else:
            self._queue.clear()
            self._overflow()

    def _start(self, message: MutableMapping[str, Any]) -> None:
        """Run `send` up to where it would wait; only then does it need a task."""
        # Not its `send`: a server's own awaitable (granian's) may have none.
        sending = self._send(message).__await__()
        try:
            waits_for = next(sending)
        except StopIteration:
            return
        except OSError:  # the peer is gone; its disconnect message follows
            self._shut()
            return
        except Exception:  # the socket boundary: one broken socket must not keep others from their events
            log.exception("socket.send_failed")
            self._shut()
            return
        self._writer = asyncio.ensure_future(self._drain(_resume(sending, waits_for)))

    async def _drain(self, sending: Awaitable[None]) -> None:
        try:
            await sending
            while self._queue:
                await self._send(self._queue.popleft())
        except OSError:
            self._shut()
        except Exception:  # the socket boundary, as above
            log.exception("socket.send_failed")
            self._shut()
        finally:
            self._writer = None

    async def _send_last(self, message: MutableMapping[str, Any]) -> None:
        try:
            await self._send(message)
        except Exception:  # noqa: BLE001  the peer did not read: that it has gone by now is no news
            log.debug("socket.close_failed")


def _nowhere(text: str) -> None:
    """Take what comes behind the end."""


@coroutine
def _resume(sending: Generator[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that was started by hand and waits for `waits_for`."""
    while True:
        step: Callable[[], Any] = partial(next, sending)
        try:
            yield waits_for
        except BaseException as error:  # handed on to the coroutine, as `await` would
            if not hasattr(sending, "throw"):
                raise
            step = partial(sending.throw, error)
        try:
            waits_for = step()
        except StopIteration:
            return
