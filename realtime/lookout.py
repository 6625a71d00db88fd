"""Looks now and then whether the sockets here have missed something: an event is a hint, and may be lost on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from accounts import selectors as people
from accounts.models import EndReason
from realtime import reminders
from realtime.catalogue import Told
from realtime.frames import event_frame
from realtime.hub import Hub
from realtime.parcels import Parcel, pack
from realtime.sockets import CloseCode, Socket

RECOVERY_DELAY = 0.2
"""Seconds in which losses gather before sockets are shown where their chats stand: each look asks the database."""
SYNC_OVERLAP = timedelta(seconds=10)
"""How far a look at moved chats reaches back behind the one before: commits and clocks are not in step."""
STATUS_OVERLAP = timedelta(minutes=10)
"""How far back statuses are said again once events were lost: the line may have been down for some time."""


class Lookout:
    """Asks the database on behalf of a hub's sockets."""

    def __init__(
        self,
        *,
        hub: Hub,
        in_database: Callable[..., Awaitable[Any]],
        background: Callable[[Awaitable[None]], None],
    ) -> None:
        """`in_database` runs a function in a database thread, `background` something beside."""
        self._hub = hub
        self._in_database = in_database
        self._background = background
        self._looked_at = datetime.now(UTC)
        self._look_is_due = False

    def events_were_lost(self) -> None:
        """Show every socket soon where its chats stand, and what people show."""
        if not self._look_is_due:
            self._look_is_due = True
            self._background(self._look_soon())

    async def _look_soon(self) -> None:
        await asyncio.sleep(RECOVERY_DELAY)
        await self.look()

    async def look(self) -> None:
        """Send `sync {chatId, rev, marks}` for the chats that moved since the last look, and say departures again."""
        events_were_lost, self._look_is_due = self._look_is_due, False
        now = datetime.now(UTC)
        if not self._hub.user_ids:
            self._looked_at = now
            return
        # A clock that was set back must not put the beginning into the future.
        since = min(self._looked_at, now) - SYNC_OVERLAP
        standings = await self._in_database(lambda: list(reminders.standings(since)))
        departures = await self._in_database(reminders.departures, since)
        self._looked_at = now
        for members, standing in standings:
            self._hub.deliver(Parcel(recipients=tuple(members), text=event_frame(Told.SYNC, standing)))
        for departure in departures:
            self._hub.deliver(pack(departure))
        if events_were_lost:
            await self._show_again(now - STATUS_OVERLAP)

    async def _show_again(self, since: datetime) -> None:
        """Say again what people show who have changed it since: no number tells a client that it has missed that."""
        for event in await self._in_database(reminders.statuses, since):
            self._hub.deliver(pack(event))
            await asyncio.sleep(0)  # many people with many peers must not hold up everybody else

    async def check_sessions(self) -> None:
        """Close the sockets whose token has run out or whose session has ended without an event reaching us."""
        now = datetime.now(UTC)
        _end((one for one in self._hub.all_sockets() if one.expires_at <= now), EndReason.EXPIRED)
        session_ids = list(self._hub.session_ids)
        if session_ids:
            live = await self._in_database(people.live_session_ids, session_ids=session_ids)
            for session_id in set(session_ids) - live:
                _end(self._hub.sockets_of_session(session_id), EndReason.REVOKED)


def _end(sockets: Iterable[Socket], reason: EndReason) -> None:
    for socket in sockets:
        socket.push_event(Told.SESSION_END, {"reason": str(reason)})
        socket.close(CloseCode.UNAUTHENTICATED)
