"""Moves the watermarks of what a member's devices have got and what the member has read. They only grow."""

from __future__ import annotations

from uuid import UUID

from chatproject import db
from messaging.events import MessageDelivered, MessageRead, publish
from messaging.models import Chat, Membership
from messaging.selectors import chat_for_member, member_ids, membership
from messaging.services import numbers


@db.transactional()
def mark_read(*, chat_id: UUID, user_id: UUID, seq: int) -> Membership:
    """Record that everything up to `seq` was read, and so delivered. Raises `ChatNotFound`."""
    chat = chat_for_member(chat_id=chat_id, user_id=user_id)
    seq = min(seq, chat.counter)
    grown = _grow(chat_id=chat_id, user_id=user_id, field="read_seq", seq=seq)
    _grow(chat_id=chat_id, user_id=user_id, field="delivered_seq", seq=seq)
    return _settle(chat, user_id, MessageRead if grown else None)


@db.transactional()
def mark_delivered(*, chat_id: UUID, user_id: UUID, seq: int) -> Membership:
    """Record that a device of the member holds everything up to `seq`. Raises `ChatNotFound`."""
    chat = chat_for_member(chat_id=chat_id, user_id=user_id)
    grown = _grow(chat_id=chat_id, user_id=user_id, field="delivered_seq", seq=min(seq, chat.counter))
    return _settle(chat, user_id, MessageDelivered if grown else None)


def _grow(*, chat_id: UUID, user_id: UUID, field: str, seq: int) -> bool:
    """Raise one watermark; one statement, so that two devices cannot lower each other's."""
    rows = Membership.objects.filter(chat_id=chat_id, user_id=user_id, **{f"{field}__lt": seq})
    return rows.update(**{field: seq}, marked_at=numbers.now()) > 0


def _settle(chat: Chat, user_id: UUID, event: type[MessageRead | MessageDelivered] | None) -> Membership:
    """Return the membership as it is now, and tell the chat when it has changed."""
    current = membership(chat_id=chat.id, user_id=user_id)
    if event is not None:
        publish(
            event(
                recipients=member_ids(chat_id=chat.id, user_id=user_id),
                chat_id=chat.id,
                rev=chat.counter,
                user_id=user_id,
                delivered_seq=current.delivered_seq,
                read_seq=current.read_seq,
            )
        )
    return current
