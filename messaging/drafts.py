"""A message before it is stored: what every door hands to `services.store`, checked without the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from chatproject.errors import InvalidInput
from chatproject.ids import uuid7
from messaging.models import MessageType

CONTENT_BYTES = 16 * 1024
SENDABLE = frozenset({MessageType.TEXT.value, MessageType.IMAGE.value, MessageType.FILE.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What somebody wants to say, and where: `chat_id`, or `receiver_id` alone for the direct chat with that person.

    `origin` names the socket it came from, which gets the ack and so needs no event. `message_id` is what its message
    will be called, however often it takes to store it: a message of that id is this very draft's.
    """

    sender_id: UUID
    content: str
    type: str = MessageType.TEXT
    chat_id: UUID | None = None
    receiver_id: UUID | None = None
    client_id: UUID = field(default_factory=uuid7)
    message_id: UUID = field(default_factory=uuid7)
    attachment_id: UUID | None = None
    origin: str | None = None


def check(draft: Draft) -> Draft:
    """Return the draft of a client. Raises `InvalidInput` naming each field at fault."""
    problems: dict[str, list[tuple[str, str]]] = {}
    if (draft.chat_id is None) == (draft.receiver_id is None):
        problems["chatId"] = [("exactly_one", "Give either chatId or receiverId.")]
    if draft.receiver_id == draft.sender_id:
        problems["receiverId"] = [("self", "You cannot write to yourself.")]
    if draft.type not in SENDABLE:
        problems["type"] = [("invalid_choice", "The type is text, image or file.")]
    if draft.attachment_id is not None and draft.type == MessageType.TEXT:
        problems["attachmentId"] = [("invalid", "A text message carries no attachment.")]
    may_be_empty = draft.attachment_id is not None
    if problem := content_problem(draft.content, may_be_empty=may_be_empty):
        problems["content"] = [problem]
    if problems:
        raise InvalidInput(fields=problems)
    return draft


def check_content(content: str, *, may_be_empty: bool = False) -> None:
    """Check an edited content. Raises `InvalidInput`."""
    if problem := content_problem(content, may_be_empty=may_be_empty):
        raise InvalidInput(fields={"content": [problem]})


def content_problem(content: str, *, may_be_empty: bool) -> tuple[str, str] | None:
    """Return `(code, message)` of what is wrong with a content, or None. It is never trimmed or normalised."""
    if not may_be_empty and not content.strip():
        return "blank", "The content is empty."
    if "\0" in content:
        return "null_characters_not_allowed", "The content holds a NUL character."
    try:
        size = len(content.encode("utf-8"))
    except UnicodeEncodeError:
        return "surrogate_characters_not_allowed", "The content holds half of a surrogate pair."
    if size > CONTENT_BYTES:
        return "max_length", f"The content is {size} bytes long; {CONTENT_BYTES} are allowed."
    return None
