"""One live socket: who it belongs to, and how the server speaks to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any
from uuid import UUID

from chatproject.errors import DomainError
from chatproject.ids import uuid7
from realtime.frames import FrameId, ack_frame, error_frame, event_frame
from realtime.outbox import Outbox, Send


class CloseCode(IntEnum):
    """Why the server closes a socket (RFC 6455, section 7.4.2: 4000 to 4999 are for applications)."""

    RESTARTING = 1012
    UNAVAILABLE = 1013
    UNAUTHENTICATED = 4401
    ORIGIN_NOT_ALLOWED = 4403
    NOT_FOUND = 4404
    SLOW_CONSUMER = 4408
    TOO_MANY_CONNECTIONS = 4409
    FLOOD = 4429


class Socket:
    """A person's connection. All of its methods belong to the event loop's thread.

    `busy` while a frame is being answered; the next one waits for it. `pending_sends` counts its messages on their way
    to the database.
    """

    __slots__ = (
        "__weakref__",
        "busy",
        "closing",
        "expires_at",
        "id",
        "outbox",
        "pending_sends",
        "session_id",
        "user_id",
    )

    def __init__(
        self,
        *,
        user_id: UUID,
        session_id: UUID,
        expires_at: datetime,
        send: Send,
        backlog: Callable[[], int] = lambda: 0,
        write: Callable[[str], None] | None = None,
    ) -> None:
        """`expires_at` is the end of the access token that opened the socket; `backlog` and `write` see `Outbox`."""
        self.id = str(uuid7())
        self.user_id = user_id
        self.session_id = session_id
        self.expires_at = expires_at
        self.closing: CloseCode | None = None
        self.pending_sends = 0
        self.busy = False
        self.outbox = Outbox(send, overflow=self._overflow, backlog=backlog, write=write)

    @property
    def expires_in(self) -> int:
        """How many seconds the access token still holds; 0 once it has run out."""
        return max(0, int((self.expires_at - datetime.now(UTC)).total_seconds()))

    def push(self, text: str) -> None:
        """Send a finished frame."""
        self.outbox.push(text)

    def push_event(self, name: str, data: Any) -> None:
        """Send an event to this socket alone."""
        self.outbox.push(event_frame(name, data))

    def ack(self, frame_id: FrameId | None, data: Any) -> None:
        """Acknowledge a frame; one without an id gets nothing."""
        if frame_id is not None:
            self.outbox.push(ack_frame(frame_id, data))

    def fail(self, frame_id: FrameId | None, error: DomainError) -> None:
        """Tell the client what was wrong with its frame."""
        self.outbox.push(error_frame(frame_id, error))

    def close(self, code: CloseCode) -> None:
        """Close with a named code, once."""
        if self.closing is None:
            self.closing = code
            self.outbox.close(code, code.name.lower())

    def _overflow(self) -> None:
        """The peer does not read: what it missed it will get by its cursors when it comes back."""
        if self.closing is None:
            self.closing = CloseCode.SLOW_CONSUMER
            self.outbox.cut(self.closing, self.closing.name.lower())
