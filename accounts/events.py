"""What the services of people and sessions announce after the commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from chatproject.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """A session is over: its sockets get this and are closed. `recipients` is its one user."""

    name: ClassVar[str] = "session:end"
    session_id: UUID
    reason: str

    def data(self) -> dict[str, Any]:
        """Return `{reason}`, one of `EndReason`."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChosen(Event):
    """Somebody chose a status. It has no recipients: realtime works out who sees what of it."""

    name: ClassVar[str] = "user:status"
    user_id: UUID
    status: str

    def data(self) -> dict[str, Any]:
        """Return `{userId, status}`."""
        return {"userId": str(self.user_id), "status": self.status}
