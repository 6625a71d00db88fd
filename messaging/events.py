"""What services announce after the commit: one frozen dataclass for each event that clients can get from a chat.

Every event of a chat carries `chatId` and `rev`, so that a client sees at once when it has missed something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from chatproject.events import Event, publish
from messaging.representation import MessageDocument, builtins_of

__all__ = [
    "ChatRemoved",
    "MessageDeleted",
    "MessageDelivered",
    "MessageEvent",
    "MessageRead",
    "MessageReceived",
    "MessageUpdated",
    "publish",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEvent(Event):
    """A message in the state it has now. `body` is its document; `origin` the socket that needs no copy."""

    message_id: UUID
    body: MessageDocument
    origin: str | None = None

    def data(self) -> dict[str, Any]:
        """Return the message document."""
        return builtins_of(self.body)

    def encodable(self) -> MessageDocument:
        """Return the same, as it is encoded quickest."""
        return self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(MessageEvent):
    """A new message."""

    name: ClassVar[str] = "message:receive"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageUpdated(MessageEvent):
    """A message whose content was edited."""

    name: ClassVar[str] = "message:update"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDeleted(MessageEvent):
    """A message that was deleted: its tombstone."""

    name: ClassVar[str] = "message:delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Event):
    """Somebody's watermarks in a chat after one of them grew."""

    chat_id: UUID
    rev: int
    user_id: UUID
    delivered_seq: int
    read_seq: int

    def data(self) -> dict[str, Any]:
        """Return `{chatId, rev, userId, deliveredSeq, readSeq}`."""
        return {
            "chatId": str(self.chat_id),
            "rev": self.rev,
            "userId": str(self.user_id),
            "deliveredSeq": self.delivered_seq,
            "readSeq": self.read_seq,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRead(Receipt):
    """Somebody has read up to `read_seq`."""

    name: ClassVar[str] = "message:read"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDelivered(Receipt):
    """Somebody's device has got everything up to `delivered_seq`."""

    name: ClassVar[str] = "message:delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRemoved(Event):
    """The recipients are no longer members, or the chat is gone."""

    name: ClassVar[str] = "chat:removed"
    chat_id: UUID
    rev: int

    def data(self) -> dict[str, Any]:
        """Return `{chatId, rev}`."""
        return {"chatId": str(self.chat_id), "rev": self.rev}
