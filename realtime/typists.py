"""Tells a chat's members who is typing. Nothing is stored; each sign of typing expires by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from chatproject.events import Event
from messaging.selectors import chat_for_member, member_ids
from realtime.events import TypingChanged

EXPIRES_IN = 6
"""Seconds after which somebody who has not typed on is shown as having stopped."""


class TypingBoard:
    """Who is typing where, among this process's people. `tell` takes events to sockets at once: nothing is stored."""

    def __init__(self, *, in_database: Callable[..., Awaitable[Any]], tell: Callable[[Event], None]) -> None:
        self._in_database = in_database
        self._tell = tell
        self._active: dict[tuple[UUID, UUID], tuple[asyncio.TimerHandle, TypingChanged]] = {}

    async def change(self, *, chat_id: UUID, user_id: UUID, typing: bool) -> None:
        """Announce that a member types, or no longer does. Raises `ChatNotFound`."""
        event = await self._in_database(_event, chat_id, user_id, typing=typing)
        was_active = self._cancel(chat_id, user_id)
        if typing:
            timer = asyncio.get_running_loop().call_later(EXPIRES_IN, self.stop, chat_id, user_id)
            self._active[chat_id, user_id] = (timer, event)
        if typing or was_active:
            self._tell(event)

    def stop(self, chat_id: UUID, user_id: UUID) -> None:
        """Announce that somebody has stopped, if they were typing."""
        if event := self._cancel(chat_id, user_id):
            self._tell(replace(event, typing=False))

    def stop_everywhere(self, user_id: UUID) -> None:
        """Announce that somebody has stopped in every chat: their last socket is gone."""
        for chat_id, one in [key for key in self._active if key[1] == user_id]:
            self.stop(chat_id, one)

    def clear(self) -> None:
        """Drop every timer."""
        for timer, _ in self._active.values():
            timer.cancel()
        self._active.clear()

    def _cancel(self, chat_id: UUID, user_id: UUID) -> TypingChanged | None:
        timer, event = self._active.pop((chat_id, user_id), (None, None))
        if timer is not None:
            timer.cancel()
        return event


def _event(chat_id: UUID, user_id: UUID, *, typing: bool) -> TypingChanged:
    """Look up who is to be told, for a member alone."""
    chat = chat_for_member(chat_id=chat_id, user_id=user_id)
    others = tuple(one for one in member_ids(chat_id=chat_id, user_id=user_id) if one != user_id)
    return TypingChanged(
        recipients=others, chat_id=chat_id, rev=chat.counter, user_id=user_id, typing=typing, expires_in=EXPIRES_IN
    )
