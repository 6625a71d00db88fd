"""Reads a person's inbox: the list of their chats, newest activity first, with what is new in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q

from chatproject import ids
from chatproject.errors import DomainError
from messaging import keys, selectors
from messaging.models import Chat, Membership, Message, MessageType

UNREAD_CAP = 999
UNREAD_WINDOW = 2 * UNREAD_CAP
"""How many numbers below a chat's newest one are looked at when unread messages are counted."""


class InvalidCursor(DomainError):
    """A cursor that no page has given."""

    code = "invalid_cursor"
    message = "This cursor does not come from a page."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a page of the inbox ended. Chats that one batch wrote to have the same activity."""

    activity: UUID
    chat_id: UUID

    def __str__(self) -> str:
        return f"{self.activity}.{self.chat_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor that a client gave back. Raises `InvalidCursor`."""
        first, _, second = text.partition(".")
        activity, chat_id = ids.parse(first), ids.parse(second)
        if activity is None or chat_id is None:
            raise InvalidCursor
        return cls(activity=activity, chat_id=chat_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A chat as its member sees it in the list."""

    chat: Chat
    memberships: list[Membership]
    last_message: Message | None
    unread_count: int


def read(*, user_id: UUID, before: Cursor | None, limit: int) -> tuple[list[Entry], Cursor | None]:
    """Return the person's chats, newest activity first, and the cursor of the next page (None: that was all).

    The number of queries does not depend on the number of chats.
    """
    own = {one.chat_id: one for one in Membership.objects.filter(user_id=user_id)}
    rows = Chat.objects.filter(id__in=list(own))
    if before is not None:
        same_batch = Q(activity=before.activity, id__lt=before.chat_id)
        rows = rows.filter(Q(activity__lt=before.activity) | same_batch)
    chats = list(rows.order_by("-activity", "-id")[: limit + 1])
    last_chat = chats[limit - 1] if len(chats) > limit else None
    cursor = Cursor(activity=last_chat.activity, chat_id=last_chat.id) if last_chat else None
    chats = chats[:limit]
    keys.preload(chat.id for chat in chats)
    members = selectors.memberships_of_chats(chat_ids=[chat.id for chat in chats])
    last = _last_messages(chats)
    unread = _unread_counts(chats, own, user_id)
    entries = [
        Entry(
            chat=chat,
            memberships=members[chat.id],
            last_message=last.get(chat.id),
            unread_count=unread.get(chat.id, 0),
        )
        for chat in chats
    ]
    return entries, cursor


def entry_of(*, chat: Chat, user_id: UUID) -> Entry:
    """Return one chat as it stands in the person's inbox."""
    members = selectors.memberships_of(chat_id=chat.id)
    own = {one.chat_id: one for one in members if one.user_id == user_id}
    return Entry(
        chat=chat,
        memberships=members,
        last_message=_last_messages([chat]).get(chat.id),
        unread_count=_unread_counts([chat], own, user_id).get(chat.id, 0),
    )


def _last_messages(chats: Sequence[Chat]) -> dict[UUID, Message]:
    wanted = Q()
    for chat in chats:
        wanted |= Q(chat_id=chat.id, seq=chat.last_seq)
    if not wanted:
        return {}
    return {one.chat_id: one for one in Message.objects.filter(wanted).select_related("attachment")}


def _unread_counts(chats: Sequence[Chat], own: dict[UUID, Membership], user_id: UUID) -> dict[UUID, int]:
    """Count what others wrote above the read mark, among the chat's newest numbers: the cost has a bound."""
    wanted = Q()
    for chat in chats:
        floor = max(own[chat.id].read_seq, chat.last_seq - UNREAD_WINDOW)
        if chat.last_seq > floor:
            wanted |= Q(chat_id=chat.id, seq__gt=floor)
    if not wanted:
        return {}
    rows = Message.objects.filter(wanted, deleted_at=None).exclude(sender_id=user_id)
    rows = rows.exclude(type=MessageType.SYSTEM)
    found = rows.values("chat_id").annotate(unread=Count("id"))
    return {row["chat_id"]: min(UNREAD_CAP, row["unread"]) for row in found}
