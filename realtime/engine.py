"""Wires the real-time parts of one process together and owns their threads and timers.

It starts with the first connection that the ASGI server hands over, because only then is there an event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from accounts import selectors as people
from accounts.models import EndReason
from chatproject import db, limits
from chatproject.errors import DomainError, Unavailable, log_failure
from chatproject.events import set_publisher
from chatproject.ids import uuid7
from messaging.drafts import Draft
from messaging.services import Stored
from messaging.submission import set_writer
from realtime import reminders
from realtime.batcher import Batcher, Result
from realtime.bus import Bus
from realtime.catalogue import Told
from realtime.exchange import EXCHANGE_SECONDS, Exchange
from realtime.farewell import send_away
from realtime.folding import LogFolder
from realtime.frames import event_frame
from realtime.hub import Hub
from realtime.leases import make_leases
from realtime.parcels import Parcel, pack
from realtime.presence import Presence
from realtime.publisher import publisher_to
from realtime.sockets import CloseCode, Socket
from realtime.typists import TypingBoard

log = structlog.get_logger("parley.engine")

T = TypeVar("T")

READERS = 4
HEARTBEAT = 15.0
"""Seconds between two renewals of presence, and between two looks at which chats moved and whose presence has lapsed:
with its TTL of 40 s everybody has heard of a killed process's people after 60 s."""
LEASE_CHECK = 3.0
"""Seconds between two looks at whether Redis still has this process's leases."""
RECOVERY_DELAY = 0.2
"""Seconds in which losses gather before sockets are shown where their chats stand: each look asks the database."""
SESSION_CHECK = 3.0
"""Seconds between two looks at whether open sockets' sessions still live; a revocation is told at once besides."""
SYNC_OVERLAP = timedelta(seconds=10)
"""How far a look at moved chats reaches back behind the one before: commits and clocks are not in step."""
STATUS_OVERLAP = timedelta(minutes=10)
"""How far back statuses are said again once events were lost: the line may have been down for some time."""
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
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="parley-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="parley-reader")
        process = uuid7().hex
        self.leases = make_leases()
        self.bus = Bus(
            process=process,
            leases=self.leases,
            receive=self._receive,
            recovered=self._recovered,
            is_here=self._is_here,
        )
        self.batcher = Batcher(executor=self._writer, deliver=self._deliver, forward=self._forward)
        self.presence = Presence(
            process=process, leases=self.leases, in_database=self.in_database, is_here=self._is_here
        )
        self.typists = TypingBoard(in_database=self.in_database, tell=lambda event: self._spread([pack(event)]))
        self._looked_at = datetime.now(UTC)
        self._look_is_due = False
        set_publisher(publisher_to(self._deliver_soon))
        set_writer(self.submit_from_thread)
        self.exchange = Exchange(limits.tally, settings.PARLEY_REDIS)
        self.bus.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self.background(self._check_leases())
        self._every(LEASE_CHECK, self._check_leases)
        self._every(HEARTBEAT, self._beat_and_look)
        self._every(SESSION_CHECK, self._check_sessions)
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
        for executor, threads in ((self._writer, 1), (self._readers, READERS)):
            close = functools.partial(_close_connections, threading.Barrier(threads))
            await asyncio.gather(*(self.loop.run_in_executor(executor, close) for _ in range(threads)))
            executor.shutdown()
        self._folder.stop()

    async def _wait_for_sockets(self) -> None:
        """Give clients a moment to answer the close."""
        deadline = time.monotonic() + CLOSING_SECONDS
        while len(self.hub) and time.monotonic() < deadline:  # noqa: ASYNC110  once in a life, not worth an event
            await asyncio.sleep(0.02)

    # --- Work in threads ----------------------------------------------------------------------------------------------

    def in_database(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
        """Run a function that uses the database, in a thread that keeps its connection.

        Raises `Unavailable` when the threads have ended, for those who come in the last moment of the process.
        """
        assert self.loop is not None  # noqa: S101
        context = contextvars.copy_context()
        call = functools.partial(context.run, _guarded, function, *args, **kwargs)
        try:
            return self.loop.run_in_executor(self._readers, call)
        except RuntimeError:
            raise Unavailable from None

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

    def _recovered(self) -> None:
        """Events were lost while the bus was away: show every socket where its chats stand."""
        if not self._look_is_due:
            self._look_is_due = True
            self.background(self._look_soon())

    async def _look_soon(self) -> None:
        await asyncio.sleep(RECOVERY_DELAY)
        await self._look_at_chats()

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
            await self._look_at_chats()

    async def _beat(self) -> None:
        """Renew presence."""
        await self.presence.beat(self.hub.user_ids)

    async def _check_leases(self) -> None:
        """Take the leases anew if Redis has lost them: meanwhile nothing was routed to this process."""
        if await self.presence.restore(self.hub.user_ids):
            self._recovered()

    async def _look_at_chats(self) -> None:
        """Send `sync {chatId, rev, marks}` for the chats that moved since the last look, and say departures again."""
        events_were_lost, self._look_is_due = self._look_is_due, False
        now = datetime.now(UTC)
        if not self.hub.user_ids:
            self._looked_at = now
            return
        # A clock that was set back must not put the beginning into the future.
        since = min(self._looked_at, now) - SYNC_OVERLAP
        standings = await self.in_database(lambda: list(reminders.standings(since)))
        departures = await self.in_database(reminders.departures, since)
        self._looked_at = now
        for members, standing in standings:
            self.hub.deliver(Parcel(recipients=tuple(members), text=event_frame(Told.SYNC, standing)))
        for departure in departures:
            self.hub.deliver(pack(departure))
        if events_were_lost:
            await self._show_again(now - STATUS_OVERLAP)

    async def _show_again(self, since: datetime) -> None:
        """Say again what people show who have changed it since: no number tells a client that it has missed that."""
        for event in await self.in_database(reminders.statuses, since):
            self.hub.deliver(pack(event))
            await asyncio.sleep(0)  # many people with many peers must not hold up everybody else

    async def _check_sessions(self) -> None:
        """Close the sockets whose token has run out or whose session has ended without an event reaching us."""
        now = datetime.now(UTC)
        self._end((one for one in self.hub.all_sockets() if one.expires_at <= now), EndReason.EXPIRED)
        session_ids = list(self.hub.session_ids)
        if session_ids:
            live = await self.in_database(people.live_session_ids, session_ids=session_ids)
            for session_id in set(session_ids) - live:
                self._end(self.hub.sockets_of_session(session_id), EndReason.REVOKED)

    @staticmethod
    def _end(sockets: Iterable[Socket], reason: EndReason) -> None:
        for socket in sockets:
            socket.push_event(Told.SESSION_END, {"reason": str(reason)})
            socket.close(CloseCode.UNAUTHENTICATED)


def _guarded(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run in a database thread; a connection that broke is replaced at the next call."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        db.discard_broken_connection(error)
        raise


def _close_connections(all_threads: threading.Barrier) -> None:
    """Close a pool thread's connections, once in each thread: nobody finishes before the others have begun."""
    with suppress(threading.BrokenBarrierError):
        all_threads.wait(CLOSING_SECONDS)
    connections.close_all()


engine = Engine()
"""This process's engine."""
