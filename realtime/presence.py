"""Shows who is there: a person shows their chosen status while any of their sockets lives, and offline otherwise.

Comings and goings are settled as messages are stored: while some are being written, the next ones gather. So thousands
of clients that come back at once cost some transactions, not some thousands.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.utils import timezone

from accounts import presence as shown
from accounts import selectors as people
from accounts.models import Status
from chatproject import db
from chatproject.errors import log_failure
from chatproject.events import publish
from chatproject.redis_clients import AWAY
from messaging.selectors import peer_ids_of
from realtime.events import StatusChanged
from realtime.leases import CHOICE, Leases

log = structlog.get_logger("parley.presence")

RELOAD_GRACE = 2.0
"""Seconds between the last socket's end and offline: a page that reloads does not flicker."""

SETTLED_AT_ONCE = 500

T = TypeVar("T")
InDatabase = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Somebody who may show something else now. `chosen`: by their own choice, which their own devices are told."""

    user_id: UUID
    present: bool
    chosen: bool = False


@dataclass(slots=True)
class _Due:
    """Somebody who is to be settled, and who waits for it."""

    chosen: bool = False
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Presence:
    """This process's part in presence. `in_database` runs a function in a database thread.

    `is_here` tells whether a person has a socket in this process. What is shown follows from that and the leases alone,
    for one batch of people after the other, so that comings and goings that cross cannot end in the wrong state.
    """

    def __init__(
        self, *, process: str, leases: Leases, in_database: InDatabase, is_here: Callable[[UUID], bool]
    ) -> None:
        self._leases = leases
        self._in_database = in_database
        self._is_here = is_here
        self._holder = process
        self._ttl: timedelta = settings.PARLEY_PRESENCE_TTL
        self._leaving: dict[UUID, asyncio.TimerHandle] = {}
        self._due: dict[UUID, _Due] = {}
        self._settling: Mapping[UUID, _Due] = {}
        self._worker: asyncio.Task[None] | None = None
        self._has_leases = False
        self._redis_is_away = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, user_id: UUID, *, first: bool) -> None:
        """Show somebody whose first socket has come; for a further one, wait until the first one's lease is taken."""
        if first:
            if leaving := self._leaving.pop(user_id, None):
                leaving.cancel()
            await self._settle(user_id)
        elif settling := self._due.get(user_id) or self._settling.get(user_id):
            await asyncio.wait([settling.done])

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
        await self._with_leases(lambda: self._renew(present))
        wrong = await self._in_database(_renew_in_database, present)
        await asyncio.gather(*(self._settle_safely(user_id) for user_id in wrong))

    async def restore(self, user_ids: Collection[UUID]) -> bool:
        """Renew the leases at once if Redis has lost them or was away, and tell whether that was so."""
        was_away, had_leases = self._redis_is_away, self._has_leases
        try:
            if await self._leases.is_marked(holder=self._holder) and not was_away:
                return False
            await self._renew(list(user_ids))
        except AWAY as error:
            self._note_away(error)
            return False
        self._redis_is_away = False
        return had_leases or was_away

    async def _renew(self, user_ids: Collection[UUID]) -> None:
        ttl = self._ttl.total_seconds()
        await self._leases.renew(user_ids, holder=self._holder, ttl=ttl)
        await self._leases.mark(holder=self._holder, ttl=ttl)
        self._has_leases = True

    async def stop(self) -> None:
        """Drop what waits; leases end by their time."""
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()
        tasks = [*self._tasks, *([self._worker] if self._worker else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, user_id: UUID) -> None:
        del self._leaving[user_id]
        task = asyncio.ensure_future(self._settle_safely(user_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle_safely(self, user_id: UUID) -> None:
        try:
            await self._settle(user_id)
        except Exception as error:  # noqa: BLE001  the boundary of background work: the next beat puts it right
            log_failure(log, "presence.failed", error, user_id=str(user_id))

    async def _settle(self, user_id: UUID, *, choice: bool = False) -> None:
        """Bring the person's lease and what is shown in line with whether they are there."""
        due = self._due.setdefault(user_id, _Due())
        due.chosen |= choice
        if self._worker is None:
            loop = asyncio.get_running_loop()
            self._worker = loop.create_task(self._work(), context=contextvars.Context())
        await asyncio.shield(due.done)

    async def _work(self) -> None:
        try:
            while self._due:
                batch = dict(islice(self._due.items(), SETTLED_AT_ONCE))
                for user_id in batch:
                    del self._due[user_id]
                self._settling = batch
                try:
                    failures = await self._settle_all(batch)
                except Exception as error:  # noqa: BLE001  whoever waits for it has it raised
                    failures = dict.fromkeys(batch, error)
                for user_id, due in batch.items():
                    _finish(due.done, failures.get(user_id))
        finally:
            for due in (*self._settling.values(), *self._due.values()):
                due.done.cancel()
            self._due, self._settling, self._worker = {}, {}, None

    async def _settle_all(self, batch: Mapping[UUID, _Due]) -> dict[UUID, Exception]:
        """Settle some people, and return what went wrong with whom."""
        ttl = self._ttl.total_seconds()
        here = [user_id for user_id in batch if self._is_here(user_id)]
        away = [user_id for user_id in batch if user_id not in set(here)]
        present = set(here)
        if here:
            await self._with_leases(lambda: self._leases.renew(here, holder=self._holder, ttl=ttl))
            await self._with_leases(lambda: self._leases.release(here, holder=CHOICE))
        if away:
            await self._with_leases(lambda: self._leases.release(away, holder=self._holder))
            held = await self._with_leases(lambda: self._leases.holders(away)) or {}
            present.update(user_id for user_id in away if held.get(user_id))
            choosing = [user_id for user_id in away if batch[user_id].chosen and user_id not in present]
            if choosing:
                await self._with_leases(lambda: self._leases.renew(choosing, holder=CHOICE, ttl=ttl))
                present.update(choosing)
        changes = [
            Change(user_id=user_id, present=user_id in present, chosen=due.chosen) for user_id, due in batch.items()
        ]
        failures: dict[UUID, Exception] = await self._in_database(_show_all, changes)
        return failures

    async def _with_leases(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Ask for leases. With Redis away presence is what the database says, by `lastSeen` and its TTL.

        A Redis that hangs costs a time-out, and a person's first socket waits for it; so until the next look at the
        leases (`restore`) nobody else asks.
        """
        if self._redis_is_away:
            return None
        try:
            return await call()
        except AWAY as error:
            self._note_away(error)
            return None

    def _note_away(self, error: Exception) -> None:
        if not self._redis_is_away:
            log.warning("presence.redis_away", error=type(error).__name__)
        self._redis_is_away = True


def _finish(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
        done.exception()  # whoever waited may be gone by now


def _show_all(changes: Sequence[Change]) -> dict[UUID, Exception]:
    """Show all changes in one transaction; when that fails, each on its own. Return what went wrong with whom."""
    try:
        _show(changes)
    except Exception as error:  # noqa: BLE001  the boundary of the database thread: it is raised where it is waited for
        db.discard_broken_connection(error)
        if len(changes) == 1:
            return {changes[0].user_id: error}
        return {user_id: failure for one in changes for user_id, failure in _show_all([one]).items()}
    return {}


@db.transactional()
def _show(changes: Sequence[Change]) -> None:
    """Record what people show now, and tell those who share a chat with them when it differs from before.

    A choice is told to the person's own devices as well; that one of them has come or gone is no news to them. Somebody
    who was deactivated is shown as offline for the last time.
    """
    now = timezone.now()
    users = {user.pk: user for user in people.active_users(ids=[change.user_id for change in changes])}
    alike: dict[tuple[str, bool], list[UUID]] = defaultdict(list)
    told: list[tuple[Change, str]] = []
    for change in changes:
        user = users.get(change.user_id)
        status = str(user.chosen_status) if user is not None and change.present else str(Status.OFFLINE)
        changed = user is None or user.presence(now) != status or user.status != status
        alike[status, changed].append(change.user_id)
        if changed:
            told.append((change, status))
    for (status, changed), user_ids in sorted(alike.items()):
        shown.record(user_ids=user_ids, status=status, now=now, changed=changed)
    publish(*_announcements(told, now))


def _announcements(told: Sequence[tuple[Change, str]], now: datetime) -> list[StatusChanged]:
    peers = peer_ids_of(user_ids=[change.user_id for change, _ in told]) if told else {}
    return [
        StatusChanged(
            recipients=peers.get(change.user_id, ()) + ((change.user_id,) if change.chosen else ()),
            user_id=change.user_id,
            status=status,
            last_seen=now,
        )
        for change, status in told
    ]


def _renew_in_database(user_ids: Collection[UUID]) -> set[UUID]:
    """Keep the people who are here from lapsing; return those of whom something else is shown than what is so."""
    shown.renew(user_ids=user_ids, now=timezone.now())
    return {*shown.hidden_user_ids(user_ids=user_ids), *shown.lapsed_user_ids()}
