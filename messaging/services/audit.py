"""Lets an administrator read the content of one message, and keeps a record of it that comes first."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.contrib.auth import get_user_model

from chatproject import db
from chatproject.errors import DomainError
from messaging.fields import Unreadable
from messaging.models import ContentAccess, Message
from messaging.selectors import MessageNotFound

log = structlog.get_logger("parley.audit")

PERMISSION = "messaging.read_content"


class ReadingNotAllowed(DomainError):
    """The administrator lacks the permission to read content."""

    code = "permission_denied"
    status = 403
    message = "Reading content is a permission of its own, which you do not have."


class ContentUnreadable(DomainError):
    """The stored content failed its integrity check, or its key is gone."""

    code = "content_unreadable"
    status = 409
    message = "The content cannot be decrypted: it was altered, or its key is gone."


def read_content(*, administrator_id: UUID, message_id: UUID) -> str:
    """Return a message's content (empty once deleted), after a `ContentAccess` and a log line have been written.

    The attempt is recorded even when the content turns out to be unreadable. Raises `ReadingNotAllowed`,
    `MessageNotFound` or `ContentUnreadable`.
    """
    administrator = get_user_model().objects.filter(pk=administrator_id, is_active=True).first()
    if administrator is None or not administrator.has_perm(PERMISSION):
        log.warning("content.refused", administrator_id=str(administrator_id), message_id=str(message_id))
        raise ReadingNotAllowed
    message = _record(administrator_id, message_id)
    log.warning(
        "content.read",
        administrator_id=str(administrator_id),
        message_id=str(message_id),
        chat_id=str(message.chat_id),
    )
    try:
        return message.content or ""
    except Unreadable:
        raise ContentUnreadable from None


@db.transactional()
def _record(administrator_id: UUID, message_id: UUID) -> Message:
    """Store the record in a transaction of its own, so that no failure to decrypt takes it back."""
    message = Message.objects.filter(pk=message_id).first()
    if message is None:
        raise MessageNotFound
    ContentAccess.objects.create(administrator_id=administrator_id, message_id=message_id, chat_id=message.chat_id)
    return message
