"""The events that only sockets know: they are told to those who are there and stored nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from chatproject.events import Event
from chatproject.times import rfc3339_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged(Event):
    """What a person shows has changed; for those who share a chat with them, and their own devices."""

    name: ClassVar[str] = "user:status"
    user_id: UUID
    status: str
    last_seen: datetime | None

    def data(self) -> dict[str, Any]:
        """Return `{userId, status, lastSeen}`."""
        return {"userId": str(self.user_id), "status": self.status, "lastSeen": rfc3339_or_none(self.last_seen)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TypingChanged(Event):
    """Somebody began or stopped typing; for the chat's other members. `expires_in` is in seconds."""

    name: ClassVar[str] = "user:typing"
    chat_id: UUID
    rev: int
    user_id: UUID
    typing: bool
    expires_in: int

    def data(self) -> dict[str, Any]:
        """Return `{chatId, rev, userId, typing, expiresIn}`."""
        return {
            "chatId": str(self.chat_id),
            "rev": self.rev,
            "userId": str(self.user_id),
            "typing": self.typing,
            "expiresIn": self.expires_in,
        }
