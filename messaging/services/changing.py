"""Edits and deletes messages: the message keeps its seq and takes the chat's next number as its rev."""

from __future__ import annotations

from uuid import UUID

from chatproject import db
from chatproject.errors import DomainError
from messaging import attachments
from messaging.drafts import check_content
from messaging.events import MessageDeleted, MessageEvent, MessageUpdated, publish
from messaging.models import Chat, Message, MessageType
from messaging.representation import ReadMarks, message_document
from messaging.selectors import MessageNotFound, message_for_member, watermarks_of
from messaging.services import numbers


class NotMessageSender(DomainError):
    """Only the one who wrote a message may change it."""

    code = "not_message_sender"
    status = 403
    message = "Only its sender may change a message."


class MessageIsDeleted(DomainError):
    """A deleted message cannot be edited."""

    code = "message_deleted"
    status = 409
    message = "This message was deleted."


@db.transactional()
def edit_message(*, chat_id: UUID, message_id: UUID, user_id: UUID, content: str) -> Message:
    """Replace the content of one's own message.

    Raises `InvalidInput`, `ChatNotFound`, `MessageNotFound`, `NotMessageSender` or `MessageIsDeleted`.
    """
    message = _own_message(chat_id=chat_id, message_id=message_id, user_id=user_id)
    if message.deleted_at is not None:
        raise MessageIsDeleted
    check_content(content, may_be_empty=message.attachment_id is not None)
    message.content = content
    message.edited_at = numbers.now()
    _save(message, "content", "edited_at")
    _announce(MessageUpdated, message)
    return message


@db.transactional()
def delete_message(*, chat_id: UUID, message_id: UUID, user_id: UUID) -> Message:
    """Delete one's own message; its content and attachment are gone, its place remains. Twice is as good as once.

    Raises `ChatNotFound`, `MessageNotFound` or `NotMessageSender`.
    """
    message = _own_message(chat_id=chat_id, message_id=message_id, user_id=user_id)
    if message.deleted_at is not None:
        return message
    attachment_id = message.attachment_id
    message.content = ""
    message.attachment = None
    message.deleted_at = numbers.now()
    _save(message, "content", "attachment", "deleted_at")
    if attachment_id is not None:
        attachments.delete(attachment_id=attachment_id)
    _announce(MessageDeleted, message)
    return message


def _own_message(*, chat_id: UUID, message_id: UUID, user_id: UUID) -> Message:
    db.lock(Chat.objects.filter(id=chat_id))
    message = message_for_member(chat_id=chat_id, message_id=message_id, user_id=user_id)
    if message.type == MessageType.SYSTEM:
        raise MessageNotFound
    if message.sender_id != user_id:
        raise NotMessageSender
    return message


def _save(message: Message, *fields: str) -> None:
    message.rev = numbers.take_for_change(message.chat_id)
    message.save(update_fields=[*fields, "rev"])


def _announce(kind: type[MessageEvent], message: Message) -> None:
    members = watermarks_of(chat_id=message.chat_id)
    publish(
        kind(
            recipients=tuple(member.user_id for member in members),
            message_id=message.id,
            body=message_document(message, ReadMarks(members)),
        )
    )
