"""Shows who is there: a person shows their chosen status while any of their sockets lives, and offline otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

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

InDatabase = Callable[..., Awaitable[Any]]


class Presence:
    """This process's part in presence. `in_database` runs a function in a database thread."""

    def __init__(self, *, leases: MemoryLeases | RedisLeases, in_database: InDatabase) -> None:
        self._leases = leases
        self._in_database = in_database
        self._holder = uuid7().hex
        self._ttl: timedelta = settings.PARLEY_PRESENCE_TTL
        self._leaving: dict[UUID, asyncio.Task[None]] = {}

    async def connected(self, user_id: UUID) -> None:
        """Show somebody whose first socket has come."""
        if leaving := self._leaving.pop(user_id, None):
            leaving.cancel()
        await self._renew([user_id], holder=self._holder)
        await self._in_database(_show, user_id, present=True)

    def disconnected(self, user_id: UUID) -> None:
        """Take note that somebody's last socket here has gone; they may be back in a moment."""
        task = asyncio.ensure_future(self._leave(user_id))
        self._leaving[user_id] = task
        task.add_done_callback(lambda done: self._forget(user_id, done))

    async def chosen(self, user_id: UUID) -> None:
        """Show a status that was chosen; the choice is a sign of life, with or without a socket."""
        await self._renew([user_id], holder="choice")
        await self._in_database(_show, user_id, present=True, told_to_self=True)

    async def beat(self, user_ids: Collection[UUID]) -> None:
        """Renew the people with a socket here, and show those as offline whose leases have run out anywhere."""
        present = list(user_ids)
        await self._renew(present, holder=self._holder)
        await self._in_database(_renew_in_database, present)
        for user_id in await self._in_database(shown.lapsed_user_ids):
            await self._in_database(_show, user_id, present=await self._is_held(user_id))

    async def stop(self) -> None:
        """Drop what waits and close the connections; leases end by their time."""
        for task in list(self._leaving.values()):
            task.cancel()
        if isinstance(self._leases, RedisLeases):
            await self._leases.close()

    async def _leave(self, user_id: UUID) -> None:
        await asyncio.sleep(RELOAD_GRACE)
        try:
            await self._leases.release(user_id, holder=self._holder)
        except RedisError as error:
            log.warning("presence.redis_away", error=type(error).__name__)
        await self._in_database(_show, user_id, present=await self._is_held(user_id))

    def _forget(self, user_id: UUID, done: asyncio.Task[None]) -> None:
        if self._leaving.get(user_id) is done:
            del self._leaving[user_id]
        if not done.cancelled() and (error := done.exception()):
            log.error("presence.leave_failed", exc_info=error)

    async def _renew(self, user_ids: Collection[UUID], *, holder: str) -> None:
        """Renew leases. With Redis away presence is what the database says, by `lastSeen` and its TTL."""
        if not user_ids:
            return
        try:
            await self._leases.renew(user_ids, holder=holder, ttl=self._ttl.total_seconds())
        except RedisError as error:
            log.warning("presence.redis_away", error=type(error).__name__)

    async def _is_held(self, user_id: UUID) -> bool:
        try:
            return await self._leases.is_held(user_id)
        except RedisError as error:
            log.warning("presence.redis_away", error=type(error).__name__)
            return False


def _show(user_id: UUID, *, present: bool, told_to_self: bool = False) -> None:
    """Record what the person shows now, and tell those who share a chat when it differs from before.

    A choice is told to the person's own devices as well; that one of them has come or gone is no news to them.
    """
    now = timezone.now()
    user = people.get_user(user_id=user_id)
    status = user.chosen_status if present else Status.OFFLINE
    changed = user.presence(now) != status or user.status != status
    shown.record(user_id=user_id, status=status, now=now)
    if changed:
        recipients = peer_ids(user_id=user_id)
        if told_to_self:
            recipients += (user_id,)
        publish(StatusChanged(recipients=recipients, user_id=user_id, status=str(status), last_seen=now))


def _renew_in_database(user_ids: Collection[UUID]) -> None:
    """Keep the people who are shown from lapsing."""
    shown.renew(user_ids=user_ids, now=timezone.now())
