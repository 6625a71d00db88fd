"""Turns chats and messages into the JSON that every door sends: the one place that knows the field names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec
import structlog

from accounts.models import User
from accounts.representation import user_body
from chatproject.times import rfc3339, rfc3339_or_none
from messaging.attachments import attachment_body
from messaging.fields import Unreadable
from messaging.inbox import Entry
from messaging.models import Chat, Membership, Message, MessageType
from messaging.selectors import Page

log = structlog.get_logger("parley.messaging")


class ReadMarks:
    """Answers whether a message was read by everybody it was sent to, from the members' watermarks."""

    def __init__(self, memberships: Iterable[Membership]) -> None:
        self._marks = sorted((membership.read_seq, membership.user_id) for membership in memberships)

    def read_by_others(self, message: Message) -> bool:
        """Tell whether every member but the sender has read it; false where there is nobody else."""
        for read_seq, user_id in self._marks:
            if user_id != message.sender_id:
                return read_seq >= message.seq
        return False


NOBODY_READ = ReadMarks(())


class MessageDocument(msgspec.Struct, frozen=True, rename="camel"):
    """The message document of docs/protocol.md, field by field. Encoded as JSON as it is; ids become text there."""

    id: UUID
    chat_id: UUID
    sender_id: UUID
    receiver_id: UUID | None
    content: str | None
    type: str
    timestamp: str
    read: bool
    seq: int
    rev: int
    client_id: UUID
    edited_at: str | None
    deleted_at: str | None
    attachment: dict[str, Any] | None
    system: dict[str, Any] | None
    unreadable: bool


def message_document(message: Message, marks: ReadMarks = NOBODY_READ) -> MessageDocument:
    """Return a message as every door shows it. A tampered content is told by `unreadable`, never raised."""
    content, system, unreadable = _content(message)
    attachment = message.attachment if message.attachment_id else None
    return MessageDocument(
        message.id,
        message.chat_id,
        message.sender_id,
        message.receiver_id,
        content,
        message.type,
        rfc3339(message.timestamp),
        marks.read_by_others(message),
        message.seq,
        message.rev,
        message.client_id,
        rfc3339_or_none(message.edited_at),
        rfc3339_or_none(message.deleted_at),
        attachment_body(attachment) if attachment else None,
        system,
        unreadable,
    )


def message_body(message: Message, marks: ReadMarks = NOBODY_READ) -> dict[str, Any]:
    """Return the message document as plain JSON-ready values."""
    return builtins_of(message_document(message, marks))


def builtins_of(document: MessageDocument) -> dict[str, Any]:
    """Return a document as plain JSON-ready values."""
    return cast("dict[str, Any]", msgspec.to_builtins(document))


def _content(message: Message) -> tuple[str | None, dict[str, Any] | None, bool]:
    """Return `(content, system, unreadable)`."""
    try:
        content = message.content
    except Unreadable as error:
        log.error("message.unreadable", message_id=str(message.id), chat_id=str(message.chat_id), reason=str(error))
        return None, None, True
    if message.type == MessageType.SYSTEM:
        return "", json.loads(content or "{}"), False
    return content, None, False


def member_body(membership: Membership, user: User, *, viewer_id: UUID) -> dict[str, Any]:
    """Return the member document, with the person in it."""
    return {
        "userId": str(membership.user_id),
        "role": str(membership.role),
        "deliveredSeq": membership.delivered_seq,
        "readSeq": membership.read_seq,
        "joinedAt": rfc3339(membership.joined_at),
        "user": user_body(user, viewer_id=viewer_id),
    }


def receipt_body(membership: Membership) -> dict[str, Any]:
    """Return one member's watermarks."""
    return {
        "chatId": str(membership.chat_id),
        "userId": str(membership.user_id),
        "deliveredSeq": membership.delivered_seq,
        "readSeq": membership.read_seq,
    }


def chat_body(chat: Chat, memberships: Sequence[Membership], *, viewer_id: UUID) -> dict[str, Any]:
    """Return the chat document. The memberships come with their users."""
    return {
        "id": str(chat.id),
        "kind": str(chat.kind),
        "title": _title(chat),
        "createdAt": rfc3339(chat.created_at),
        "rev": chat.counter,
        "members": [member_body(one, one.user, viewer_id=viewer_id) for one in memberships],
    }


def _title(chat: Chat) -> str | None:
    try:
        title: str | None = chat.title
    except Unreadable as error:
        log.error("chat.unreadable_title", chat_id=str(chat.id), reason=str(error))
        return None
    return title


def inbox_entry_body(entry: Entry, *, viewer_id: UUID) -> dict[str, Any]:
    """Return the chat document with its last message and the viewer's unread count."""
    body = chat_body(entry.chat, entry.memberships, viewer_id=viewer_id)
    last = entry.last_message
    body["lastMessage"] = message_body(last, ReadMarks(entry.memberships)) if last else None
    body["unreadCount"] = entry.unread_count
    return body


def page_body(page: Page, *, viewer_id: UUID) -> dict[str, Any]:
    """Return `{chat, messages, hasMore, rev}`."""
    marks = ReadMarks(page.memberships)
    return {
        "chat": chat_body(page.chat, page.memberships, viewer_id=viewer_id),
        "messages": [message_body(message, marks) for message in page.messages],
        "hasMore": page.has_more,
        "rev": page.chat.counter,
    }
