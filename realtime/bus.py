"""Carries parcels to the other processes: one publish for everything that gathered while the last one was under way.

The channel layer is a hint and may drop: who misses something learns it from the numbers. So a full queue or a Redis
that is away costs other processes' sockets some seconds, and never a message.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from chatproject.ids import uuid7
from realtime.parcels import Parcel, decode, encode

log = structlog.get_logger("parley.bus")

GROUP = "parley.bus"
QUEUE_LIMIT = 20_000
PUBLISH_LIMIT = 1_000
RETRY_SECONDS = 1.0
PUBLISH_SECONDS = 2.0
"""How long Redis may take for a publish: without an end, one that hangs would hold everything behind it."""
PROBE_SECONDS = 3.0
DEAF_SECONDS = 4.0
"""After how long our own message should have come back to us."""
FORGET_SECONDS = 600.0
"""After how long a process that is heard no more is forgotten."""
UNREADABLE_SECONDS = 0.01


class Bus:
    """This process's line to the others. `receive` gets their parcels; `recovered` is told when some were lost.

    Each process numbers what it publishes and speaks at least every `PROBE_SECONDS`, so that the others see what the
    layer dropped, be it over a full queue or a Redis that was away, without anybody having been told of an error. And
    it listens for its own messages: where they do not come back, those of the others do not come either.
    """

    def __init__(self, *, receive: Callable[[Sequence[Parcel]], None], recovered: Callable[[], None]) -> None:
        self._receive = receive
        self._recovered = recovered
        self._layer: Any = get_channel_layer()
        self._process = uuid7().hex
        self._number = 0
        self._heard: dict[str, tuple[int, float]] = {}
        self._waiting: deque[Parcel] = deque()
        self._probe_is_due = False
        self._sender: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._broken = False
        self._unheard_since: float | None = None
        """When the oldest of our own messages was published that has not come back to us yet."""

    def start(self) -> None:
        """Begin to listen and to be heard."""
        self._listener = asyncio.ensure_future(self._listen())
        self._tasks = [asyncio.ensure_future(self._probe())]

    async def stop(self) -> None:
        """Send what waits, then stop listening."""
        tasks = [self._listener, *self._tasks, *([self._sender] if self._sender else [])]
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=RETRY_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Send parcels to the other processes, soon."""
        if len(self._waiting) + len(parcels) > QUEUE_LIMIT:
            self._fail("bus.overflow", dropped=len(self._waiting))
            self._waiting.clear()
            self._number += 1
        self._waiting.extend(parcels)
        self._wake()

    def _wake(self) -> None:
        if self._sender is None:
            # In a context of its own: its log lines must not carry the names of one socket's frame.
            loop = asyncio.get_running_loop()
            self._sender = loop.create_task(self._send(), context=contextvars.Context())

    async def _send(self) -> None:
        try:
            while self._waiting or self._probe_is_due:
                self._probe_is_due = False
                count = min(len(self._waiting), PUBLISH_LIMIT)
                payload = encode([self._waiting.popleft() for _ in range(count)])
                self._number += 1
                self._unheard_since = self._unheard_since or time.monotonic()
                message = {
                    "type": "bus.parcels",
                    "process": self._process,
                    "number": self._number,
                    "payload": payload,
                }
                try:
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        await self._layer.group_send(GROUP, message)
                except Exception as error:  # noqa: BLE001  whatever the layer raises: it is a hint
                    self._unheard_since = None
                    self._fail("bus.publish_failed", dropped=count, error=type(error).__name__)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self._succeed()
        finally:
            self._sender = None

    async def _probe(self) -> None:
        while True:
            self._probe_is_due = True
            self._wake()
            await asyncio.sleep(PROBE_SECONDS)
            if time.monotonic() - (self._unheard_since or math.inf) > DEAF_SECONDS:
                await self._listen_anew()
            oldest = time.monotonic() - FORGET_SECONDS
            self._heard = {process: heard for process, heard in self._heard.items() if heard[1] > oldest}

    async def _listen(self) -> None:
        channel = None
        while True:
            try:
                channel = channel or await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
                while True:
                    self._take(await self._layer.receive(channel))
            except (OSError, RedisError) as error:
                self._fail("bus.receive_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # somebody else's message, with another key or format: the next one may be ours
                log.exception("bus.unreadable")
                await asyncio.sleep(UNREADABLE_SECONDS)

    async def _listen_anew(self) -> None:
        """Leave a subscription on which not even our own messages come: its connection died without a word."""
        log.warning("bus.deaf")
        self._unheard_since = None
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        await self._layer.flush()
        self._listener = asyncio.ensure_future(self._listen())

    def _take(self, message: dict[str, Any]) -> None:
        process, number = message["process"], message["number"]
        if process == self._process:
            self._unheard_since = None
            return
        parcels = decode(message["payload"])
        last, _ = self._heard.get(process, (number - 1, 0.0))
        self._heard[process] = (number, time.monotonic())
        self._receive(parcels)
        if number > last + 1:
            log.warning("bus.gap", process=process, missed=number - last - 1)
            self._recovered()

    def _fail(self, event: str, **details: Any) -> None:
        if not self._broken:
            log.warning(event, **details)
        self._broken = True

    def _succeed(self) -> None:
        if self._broken:
            self._broken = False
            log.info("bus.recovered")
            self._recovered()
