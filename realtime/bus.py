"""Carries parcels to the processes that hold their recipients: at once all that gathered during the last publish.

The channel layer is a hint and may drop, and so may the leases that tell who is where: who misses something learns it
from the numbers. A full queue or a Redis that is away costs other processes' sockets some seconds, and never a message.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import structlog
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from realtime.directory import by_process, lookup_pays, recipients_of
from realtime.layer import send_each
from realtime.leases import Leases
from realtime.parcels import Parcel, decode, encode
from realtime.streams import EVERYBODY, Heard, Sent

log = structlog.get_logger("parley.bus")

GROUP = "parley.bus"
"""The group of the channel layer that all processes listen to; each listens to one of its own as well."""
QUEUE_LIMIT = 20_000
PUBLISH_LIMIT = 1_000
RETRY_SECONDS = 1.0
LOOKUP_SECONDS = 1.0
"""How long Redis may take to tell who is where."""
BLIND_SECONDS = 5.0
"""For how long batches are broadcast when it did not."""
PUBLISH_SECONDS = 2.0
"""How long Redis may take for a publish: without an end, one that hangs would hold everything behind it."""
PROBE_SECONDS = 3.0
DEAF_SECONDS = 4.0
"""After how long our own word to everybody should have come back to us."""
ALIVE_SECONDS = 10.0
"""How long a process that was heard is taken for alive: three probes."""
UNREADABLE_SECONDS = 0.01


def group_of(target: str) -> str:
    """Return the group that a process, or everybody, listens to."""
    return GROUP if target == EVERYBODY else f"{GROUP}.{target}"


class Bus:
    """This process's line to the others. `receive` gets their parcels; `recovered` is told when some were lost.

    Each process numbers what it publishes and speaks at least every `PROBE_SECONDS`, so that the others see what the
    layer dropped, be it over a full queue or a Redis that was away, without anybody having been told of an error.
    """

    def __init__(
        self,
        *,
        process: str,
        leases: Leases,
        receive: Callable[[Sequence[Parcel]], None],
        recovered: Callable[[], None],
        is_here: Callable[[UUID], bool],
    ) -> None:
        """`process` is this process's name, which holds its leases; `is_here` tells of a socket in this process."""
        self._process = process
        self._leases = leases
        self._receive = receive
        self._recovered = recovered
        self._is_here = is_here
        self._layer: Any = get_channel_layer()
        self._sent = Sent()
        self._heard = Heard(process=process)
        self._heard_itself_at = -math.inf
        self._listening_since = math.inf
        """When our own word first came back to us on the present subscription."""
        self._unheard_since: float | None = None
        """When the oldest of our own words to everybody was published that has not come back to us yet."""
        self._is_alone = False
        self._blind_until = 0.0
        self._waiting: deque[Parcel] = deque()
        self._probe_is_due = False
        self._sender: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._broken = False

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
        """Send parcels to the other processes that have somebody of their recipients, soon."""
        if self._is_alone:
            # Counted, so that a process that was there after all notices.
            self._sent.next(EVERYBODY)
            return
        if len(self._waiting) + len(parcels) > QUEUE_LIMIT:
            self._fail("bus.overflow", dropped=len(self._waiting))
            self._waiting.clear()
            self._sent.next(EVERYBODY)
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
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), PUBLISH_LIMIT))]
                batches = await self._address(batch) if batch else {}
                if self._probe_is_due:
                    batches.setdefault(EVERYBODY, [])
                # All numbers are taken before the first publish, so that one that fails leaves a gap wherever it hurts.
                letters = {group_of(target): self._letter(target, parcels) for target, parcels in batches.items()}
                try:
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        await send_each(self._layer, letters)
                except Exception as error:  # noqa: BLE001  whatever the layer raises: it is a hint
                    self._unheard_since = None
                    self._fail("bus.publish_failed", dropped=len(batch), error=type(error).__name__)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self._succeed()
        finally:
            self._sender = None

    async def _address(self, batch: list[Parcel]) -> dict[str, list[Parcel]]:
        """Return what goes where: to everybody, or to the processes that the leases name."""
        people = recipients_of(batch)
        # Before the first probes are heard, somebody must be taken to be there.
        others = self._heard.living(within=ALIVE_SECONDS) or 1
        can_look = time.monotonic() >= self._blind_until
        elsewhere = len(people) - sum(map(self._is_here, people))
        if can_look and lookup_pays(parcels=len(batch), recipients=len(people), elsewhere=elsewhere, others=others):
            try:
                async with asyncio.timeout(LOOKUP_SECONDS):
                    return by_process(batch, await self._leases.holders(people), sender=self._process)
            except Exception as error:  # noqa: BLE001  whatever it was: a broadcast is right at any time
                log.warning("bus.lookup_failed", error=type(error).__name__)
                self._blind_until = time.monotonic() + BLIND_SECONDS
        return {EVERYBODY: batch}

    def _letter(self, target: str, parcels: Sequence[Parcel]) -> dict[str, Any]:
        """Return a numbered message of the channel layer, which is a probe as well when one is due."""
        letter: dict[str, Any] = {
            "type": "bus.parcels",
            "process": self._process,
            "direct": target != EVERYBODY,
            "number": self._sent.next(target),
            "payload": encode(parcels),
        }
        if target == EVERYBODY:
            self._unheard_since = self._unheard_since or time.monotonic()
            if self._probe_is_due:
                self._probe_is_due = False
                letter["last"] = self._sent.last()
        return letter

    async def _probe(self) -> None:
        while True:
            self._probe_is_due = True
            self._wake()
            await asyncio.sleep(PROBE_SECONDS)
            if time.monotonic() - (self._unheard_since or math.inf) > DEAF_SECONDS:
                await self._listen_anew()
            self._sent.forget()
            self._heard.forget()
            # Who does not hear itself is deaf, and cannot tell whether it is alone; and others need a moment to answer.
            now = time.monotonic()
            listens = now - self._heard_itself_at < ALIVE_SECONDS and now - self._listening_since > PROBE_SECONDS / 2
            self._is_alone = listens and not self._heard.living(within=ALIVE_SECONDS)

    async def _listen(self) -> None:
        channel = None
        while True:
            try:
                channel = channel or await self._layer.new_channel()
                for target in (self._process, EVERYBODY):
                    await self._layer.group_add(group_of(target), channel)
                while True:
                    self._take(await self._layer.receive(channel))
            except (OSError, RedisError) as error:
                self._fail("bus.receive_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # somebody else's message, with another key or format: the next one may be ours
                log.exception("bus.unreadable")
                await asyncio.sleep(UNREADABLE_SECONDS)

    async def _listen_anew(self) -> None:
        """Leave a subscription on which not even our own words come: its connection died without a sign."""
        log.warning("bus.deaf")
        self._unheard_since, self._listening_since = None, math.inf
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        await self._layer.flush()
        self._listener = asyncio.ensure_future(self._listen())

    def _take(self, message: dict[str, Any]) -> None:
        process, number, direct = message["process"], message["number"], message["direct"]
        if process == self._process:
            self._heard_itself_at, self._unheard_since = time.monotonic(), None
            self._listening_since = min(self._listening_since, self._heard_itself_at)
            return
        parcels = decode(message["payload"])
        is_new = process not in self._heard
        missed = self._heard.note(process, number, direct=direct, last=message.get("last"))
        self._is_alone = False
        if is_new:
            self._probe_is_due = True  # a newcomer learns at once who is there
            self._wake()
        self._receive(parcels)
        if missed:
            if not is_new:
                log.warning("bus.gap", process=process, missed=missed)
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
