"""Hands out a chat's numbers: the one place that moves its counter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from chatproject import db
from chatproject.ids import uuid7
from messaging.models import Chat


def now() -> datetime:
    """Return the current time in whole milliseconds, the finest that every store keeps."""
    moment = timezone.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Numbering(NamedTuple):
    """What the writer of messages has to know of a chat."""

    kind: str
    counter: int
    roster: UUID


def read(chat_ids: Collection[UUID]) -> dict[UUID, Numbering]:
    """Return where the chats stand, which stays so until the open transaction ends."""
    rows = db.read(Chat, Numbering._fields, chat_ids, lock=True)
    return {chat_id: Numbering(*rest) for chat_id, *rest in rows}


def take_for_messages(chats: Mapping[UUID, Numbering], wanted: Mapping[UUID, int], *, moment: datetime) -> None:
    """Take the next `wanted[chat]` numbers for new messages, of chats that were `read` in this transaction.

    The rows are kept until the transaction ends, so numbers are dense and commits follow their order.
    """
    activity = uuid7()
    rows = []
    for chat_id in sorted(wanted):
        counter = chats[chat_id].counter + wanted[chat_id]
        rows.append((chat_id, counter, counter, activity, moment))
    db.update_each(Chat, ("counter", "last_seq", "activity", "changed_at"), rows)


def take_for_change(chat_id: UUID) -> int:
    """Take one number for a change to a message that is there already, and return it."""
    Chat.objects.filter(id=chat_id).update(counter=F("counter") + 1, changed_at=now())
    return Chat.objects.values_list("counter", flat=True).get(id=chat_id)
