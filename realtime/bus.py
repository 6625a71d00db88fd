"""Carries parcels to the other processes: one publish for everything that gathered while the last one was under way.

The channel layer is a hint and may drop: who misses something learns it from the numbers. So a full queue or a Redis
that is away costs other processes' sockets some seconds, and never a message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from channels.layers import get_channel_layer

from chatproject.ids import uuid7
from realtime.parcels import Parcel, decode, encode

log = structlog.get_logger("parley.bus")

GROUP = "parley.bus"
QUEUE_LIMIT = 20_000
PUBLISH_LIMIT = 1_000
RETRY_SECONDS = 1.0


class Bus:
    """This process's line to the others. `receive` gets their parcels; `recovered` is told when a gap has ended."""

    def __init__(self, *, receive: Callable[[Sequence[Parcel]], None], recovered: Callable[[], None]) -> None:
        self._receive = receive
        self._recovered = recovered
        self._layer: Any = get_channel_layer()
        self._process = uuid7().hex
        self._waiting: deque[Parcel] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._receiver: asyncio.Task[None] | None = None
        self._broken = False

    def start(self) -> None:
        """Begin to listen."""
        self._receiver = asyncio.ensure_future(self._listen())

    async def stop(self) -> None:
        """Send what waits, then stop listening."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=RETRY_SECONDS)
        for task in (self._sender, self._receiver):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (self._sender, self._receiver) if task), return_exceptions=True)

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Send parcels to the other processes, soon."""
        if len(self._waiting) + len(parcels) > QUEUE_LIMIT:
            self._fail("bus.overflow", dropped=len(self._waiting))
            self._waiting.clear()
        self._waiting.extend(parcels)
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), PUBLISH_LIMIT)
                payload = encode([self._waiting.popleft() for _ in range(count)])
                try:
                    message = {"type": "bus.parcels", "process": self._process, "payload": payload}
                    await self._layer.group_send(GROUP, message)
                except Exception as error:  # noqa: BLE001  whatever the layer raises: it is a hint
                    self._fail("bus.publish_failed", dropped=count, error=type(error).__name__)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self._succeed()
        finally:
            self._sender = None

    async def _listen(self) -> None:
        while True:
            try:
                channel = await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
                while True:
                    self._take(await self._layer.receive(channel))
            except Exception as error:  # noqa: BLE001  whatever the layer raises: it is a hint
                self._fail("bus.receive_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("process") == self._process:
            return
        try:
            parcels = decode(message["payload"])
        except (KeyError, msgspec.DecodeError):
            log.exception("bus.unreadable")
            return
        self._receive(parcels)

    def _fail(self, event: str, **details: Any) -> None:
        if not self._broken:
            log.warning(event, **details)
        self._broken = True

    def _succeed(self) -> None:
        if self._broken:
            self._broken = False
            log.info("bus.recovered")
            self._recovered()
