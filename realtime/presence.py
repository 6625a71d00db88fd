"""Shows who is there: a person shows their chosen status while any of their sockets lives, and offline otherwise."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from django.conf import settings
from django.utils import timezone
from redis.exceptions import RedisError

from accounts import presence as shown
from accounts import selectors as people
from accounts.models import Status
from chatproject.events import publish
from chatproject.ids import uuid7
from messaging.selectors import peer_ids
from realtime.events import StatusChanged
from realtime.leases import MemoryLeases, RedisLeases

log = structlog.get_logger("parley.presence")

RELOAD_GRACE = 2.0
"""Seconds between the last socket's end and offline: a page that reloads does not flicker."""

RETRY_SECONDS = 5.0
"""Seconds after which a Redis that was away is asked again."""

CHOICE = "choice"
"""The holder of the lease that a choice by REST takes for somebody without a socket."""

T = TypeVar("T")
InDatabase = Callable[..., Awaitable[Any]]


class Presence:
    """This process's part in presence. `in_database` runs a function in a database thread.

    `is_here` tells whether a person has a socket in this process. What is shown follows from that and the leases alone,
    for one change of a person after the other, so that comings and goings that cross cannot end in the wrong state.
    """

    def __init__(
        self, *, leases: MemoryLeases | RedisLeases, in_database: InDatabase, is_here: Callable[[UUID], bool]
    ) -> None:
        self._leases = leases
        self._in_database = in_database
        self._is_here = is_here
        self._holder = uuid7().hex
        self._redis_away_until = 0.0
        self._ttl: timedelta = settings.PARLEY_PRESENCE_TTL
        self._leaving: dict[UUID, asyncio.TimerHandle] = {}
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, user_id: UUID) -> None:
        """Show somebody whose first socket has come."""
        if leaving := self._leaving.pop(user_id, None):
            leaving.cancel()
        await self._settle(user_id)

    def disconnected(self, user_id: UUID) -> None:
        """Take note that somebody's last socket here has gone; they may be back in a moment."""
        loop = asyncio.get_running_loop()
        self._leaving[user_id] = loop.call_later(RELOAD_GRACE, self._leave, user_id, context=contextvars.Context())

    async def chosen(self, user_id: UUID) -> None:
        """Show a status that was chosen; the choice is a sign of life, with or without a socket."""
        await self._settle(user_id, choice=True)

    async def beat(self, user_ids: Collection[UUID]) -> None:
        """Renew the people with a socket here, and put right what is shown of those who came or went unseen."""
        present = list(user_ids)
        if present:
            ttl = self._ttl.total_seconds()
            await self._with_leases(lambda leases: leases.renew(present, holder=self._holder, ttl=ttl))
        for user_id in await self._in_database(_renew_in_database, present):
            await self._settle_safely(user_id)

    async def stop(self) -> None:
        """Drop what waits and close the connections; leases end by their time."""
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if isinstance(self._leases, RedisLeases):
            await self._leases.close()

    def _leave(self, user_id: UUID) -> None:
        del self._leaving[user_id]
        task = asyncio.ensure_future(self._settle_safely(user_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle_safely(self, user_id: UUID) -> None:
        try:
            await self._settle(user_id)
        except Exception:  # the boundary of background work: the next beat puts it right
            log.exception("presence.failed", user_id=str(user_id))

    async def _settle(self, user_id: UUID, *, choice: bool = False) -> None:
        """Bring the person's lease and what is shown in line with whether they are there."""
        async with self._locks.setdefault(user_id, asyncio.Lock()):
            present = self._is_here(user_id)
            ttl = self._ttl.total_seconds()
            if present:
                await self._with_leases(lambda leases: leases.renew([user_id], holder=self._holder, ttl=ttl))
                await self._with_leases(lambda leases: leases.release(user_id, holder=CHOICE))
            else:
                await self._with_leases(lambda leases: leases.release(user_id, holder=self._holder))
                present = bool(await self._with_leases(lambda leases: leases.is_held(user_id)))
                if choice and not present:
                    await self._with_leases(lambda leases: leases.renew([user_id], holder=CHOICE, ttl=ttl))
                    present = True
            await self._in_database(_show, user_id, present=present, told_to_self=choice)

    async def _with_leases(self, call: Callable[[MemoryLeases | RedisLeases], Awaitable[T]]) -> T | None:
        """Ask for leases. With Redis away presence is what the database says, by `lastSeen` and its TTL.

        A Redis that hangs costs a time-out, and a person's first socket waits for it; so for a while nobody else asks.
        """
        if time.monotonic() < self._redis_away_until:
            return None
        try:
            return await call(self._leases)
        except RedisError as error:
            self._redis_away_until = time.monotonic() + RETRY_SECONDS
            log.warning("presence.redis_away", error=type(error).__name__)
            return None


def _show(user_id: UUID, *, present: bool, told_to_self: bool = False) -> None:
    """Record what the person shows now, and tell those who share a chat when it differs from before.

    A choice is told to the person's own devices as well; that one of them has come or gone is no news to them. Somebody
    who was deactivated is shown as offline for the last time.
    """
    now = timezone.now()
    try:
        user = people.get_user(user_id=user_id)
    except people.UserNotFound:
        status, changed = Status.OFFLINE, True
    else:
        status = Status(user.chosen_status) if present else Status.OFFLINE
        changed = user.presence(now) != status or user.status != status
    shown.record(user_id=user_id, status=status, now=now)
    if changed:
        recipients = peer_ids(user_id=user_id)
        if told_to_self:
            recipients += (user_id,)
        publish(StatusChanged(recipients=recipients, user_id=user_id, status=str(status), last_seen=now))


def _renew_in_database(user_ids: Collection[UUID]) -> set[UUID]:
    """Keep the people who are here from lapsing; return those of whom something else is shown than what is so."""
    shown.renew(user_ids=user_ids, now=timezone.now())
    return {*shown.hidden_user_ids(user_ids=user_ids), *shown.lapsed_user_ids()}
