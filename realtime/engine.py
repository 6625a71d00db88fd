"""Wires the real-time parts of one process together and owns their timers.

It starts with the first connection that the ASGI server hands over, because only then is there an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chatproject import db, limits
from chatproject.errors import DomainError, Unavailable, log_failure
from chatproject.events import set_publisher
from chatproject.ids import uuid7
from messaging.drafts import Draft
from messaging.services import Stored
from messaging.submission import set_writer
from realtime.batcher import Batcher, Result
from realtime.bus import Bus
from realtime.database_threads import DatabaseThreads
from realtime.exchange import EXCHANGE_SECONDS, Exchange
from realtime.farewell import send_away
from realtime.folding import LogFolder
from realtime.hub import Hub
from realtime.leases import make_leases
from realtime.lookout import Lookout
from realtime.parcels import Parcel, pack
from realtime.presence import Presence
from realtime.publisher import publisher_to
from realtime.sockets import CloseCode, Socket
from realtime.typists import TypingBoard

log = structlog.get_logger("parley.engine")

T = TypeVar("T")

HEARTBEAT = 15.0
"""Seconds between two renewals of presence, and between two looks at which chats moved and whose presence has lapsed:
with its TTL of 40 s everybody has heard of a killed process's people after 60 s."""
LEASE_CHECK = 3.0
"""Seconds between two looks at whether Redis still has this process's leases."""
SESSION_CHECK = 3.0
"""Seconds between two looks at whether open sockets' sessions still live; a revocation is told at once besides."""
SUBMIT_SECONDS = 30
CLOSING_SECONDS = 2.0


class Engine:
    """One process's real-time side."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ending = False

    def start(self) -> None:
        """Begin on the running loop; a second call does nothing, also once it has stopped."""
        loop = asyncio.get_running_loop()
        if self.loop is loop:
            return
        self.loop, self.ending = loop, False
        self.hub = Hub()
        self._threads = DatabaseThreads()
        self.lookout = Lookout(hub=self.hub, in_database=self.in_database, background=self.background)
        process = uuid7().hex
        self.leases = make_leases()
        self.bus = Bus(
            process=process,
            leases=self.leases,
            receive=self._receive,
            recovered=self.lookout.events_were_lost,
            is_here=self._is_here,
        )
        self.batcher = Batcher(executor=self._threads.writer, deliver=self._deliver, forward=self._forward)
        self.presence = Presence(
            process=process, leases=self.leases, in_database=self.in_database, is_here=self._is_here
        )
        self.typists = TypingBoard(in_database=self.in_database, tell=lambda event: self._spread([pack(event)]))
        set_publisher(publisher_to(self._deliver_soon))
        set_writer(self.submit_from_thread)
        self.exchange = Exchange(limits.tally, settings.PARLEY_REDIS)
        self.bus.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self.background(self._check_leases())
        self._every(LEASE_CHECK, self._check_leases)
        self._every(HEARTBEAT, self._beat_and_look)
        self._every(SESSION_CHECK, self.lookout.check_sessions)
        self._every(db.freezing.LOOK_SECONDS, self._look_whether_frozen)
        self._folder = LogFolder()
        self._folder.start()
        if settings.PARLEY_REDIS:
            self._every(EXCHANGE_SECONDS, self.exchange.run)

    async def stop(self) -> None:
        """Finish what is under way, send every socket away and give everything back.

        A socket that is just being opened is sent away as it joins.
        """
        if self.loop is None or self.ending:
            return
        await self.batcher.drain()
        self.ending = True
        send_away(self.hub.all_sockets())
        await self._wait_for_sockets()
        await self.batcher.close()
        set_writer(None)
        set_publisher(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.typists.clear()
        await self.presence.stop()
        await self.bus.stop()
        await self.leases.close()
        await self.exchange.close()
        await self._threads.close()
        self._folder.stop()

    async def _wait_for_sockets(self) -> None:
        """Give clients a moment to answer the close."""
        deadline = time.monotonic() + CLOSING_SECONDS
        while len(self.hub) and time.monotonic() < deadline:  # noqa: ASYNC110  once in a life, not worth an event
            await asyncio.sleep(0.02)

    # --- Work in threads ----------------------------------------------------------------------------------------------

    def in_database(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
        """Run a function that uses the database, in a thread that keeps its connection. Raises `Unavailable`."""
        return self._threads.run(function, *args, **kwargs)

    def submit_from_thread(self, draft: Draft) -> Stored:
        """Store a draft of the REST door through the batcher. Raises its `DomainError`; called in a worker thread."""
        assert self.loop is not None  # noqa: S101
        answer: Future[Stored] = Future()

        def reply(result: Result) -> None:
            if isinstance(result.outcome, DomainError):
                answer.set_exception(result.outcome)
            else:
                answer.set_result(result.outcome)

        def submit() -> None:
            try:
                self.batcher.submit(draft, reply)
            except DomainError as error:
                answer.set_exception(error)

        self.loop.call_soon_threadsafe(submit)
        try:
            return answer.result(timeout=SUBMIT_SECONDS)
        except TimeoutError:
            raise Unavailable from None

    # --- The way of events --------------------------------------------------------------------------------------------

    def _deliver_soon(self, parcels: Sequence[Parcel]) -> None:
        """Take parcels from whatever thread published them to the loop."""
        assert self.loop is not None  # noqa: S101
        self.loop.call_soon_threadsafe(self._spread, parcels)

    def _spread(self, parcels: Sequence[Parcel]) -> None:
        """Give parcels to the sockets here, then to the other processes."""
        self._receive(parcels)
        self._forward(parcels)
        for parcel in parcels:
            if parcel.chosen_by is not None:
                self.background(self.presence.chosen(parcel.chosen_by))

    def _forward(self, parcels: Sequence[Parcel]) -> None:
        """Send what somebody is to be told to the other processes."""
        told = [parcel for parcel in parcels if parcel.recipients]
        if told:
            self.bus.send(told)

    def _receive(self, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            self._deliver(parcel)

    def _deliver(self, parcel: Parcel) -> None:
        """Write a parcel to the sockets here, and end the sockets of a session that has ended."""
        if parcel.ended_session is None:
            self.hub.deliver(parcel)
        else:
            for socket in self.hub.sockets_of_session(parcel.ended_session):
                socket.push(parcel.text)
                socket.close(CloseCode.UNAUTHENTICATED)

    def _is_here(self, user_id: UUID) -> bool:
        return user_id in self.hub.user_ids

    # --- Sockets ------------------------------------------------------------------------------------------------------

    async def join(self, socket: Socket) -> None:
        """Take a socket in and show its person."""
        first = self.hub.add(socket)
        if self.ending:
            send_away([socket])
            return
        try:
            await self.presence.connected(socket.user_id, first=first)
        except Exception as error:  # noqa: BLE001  no reason to lose the socket; the next beat puts it right
            log_failure(log, "presence.failed", error, user_id=str(socket.user_id))

    def leave(self, socket: Socket) -> None:
        """Let a socket go, whatever ended it."""
        socket.outbox.abandon()
        if self.hub.discard(socket):
            self.typists.stop_everywhere(socket.user_id)
            if not self.ending:  # leases end by their time; whoever comes back meanwhile was never away
                self.presence.disconnected(socket.user_id)

    # --- Timers -------------------------------------------------------------------------------------------------------

    def background(self, work: Awaitable[None]) -> None:
        """Run something beside; its failure is logged and goes no further."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  the boundary of background work
                log_failure(log, "engine.background_failed", error)

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        async def repeat() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await work()
                except Exception as error:  # noqa: BLE001  the boundary of a timer: the next turn comes all the same
                    log_failure(log, "engine.timer_failed", error, timer=getattr(work, "__name__", ""))

        task = asyncio.ensure_future(repeat())
        self._tasks.add(task)

    async def _look_whether_frozen(self) -> None:
        """Keep the writers from having to ask; while the database is away they hear of that from itself."""
        with suppress(DatabaseError, InterfaceError):
            await self.in_database(db.freezing.look)

    async def _beat_and_look(self) -> None:
        """In this order: what was not routed here for want of a lease is found by the look after its renewal."""
        try:
            await self._beat()
        finally:
            await self.lookout.look()

    async def _beat(self) -> None:
        """Renew presence."""
        await self.presence.beat(self.hub.user_ids)

    async def _check_leases(self) -> None:
        """Take the leases anew if Redis has lost them: meanwhile nothing was routed to this process."""
        if await self.presence.restore(self.hub.user_ids):
            self.lookout.events_were_lost()


engine = Engine()
"""This process's engine."""
