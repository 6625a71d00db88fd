"""Reads chats and messages for a person. A client's id is always resolved together with the right to see it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Literal
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet

from chatproject import db
from chatproject.errors import DomainError
from messaging import keys
from messaging.models import Chat, Departure, Membership, Message


class ChatNotFound(DomainError):
    """No such chat, or none that this person is a member of."""

    code = "chat_not_found"
    status = 404
    message = "There is no such chat."


class MessageNotFound(DomainError):
    """No such message in this chat."""

    code = "message_not_found"
    status = 404
    message = "There is no such message."


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some messages of a chat. `chat.counter` was read before the messages, so nothing up to it is missing."""

    chat: Chat
    memberships: list[Membership]
    messages: list[Message]
    has_more: bool


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where a chat stands. `marks` is the sum of the members' watermarks, which only grow: it tells of each change."""

    chat_id: UUID
    rev: int
    marks: int = 0
    members: list[UUID] = field(default_factory=list)


def chat_for_member(*, chat_id: UUID, user_id: UUID) -> Chat:
    """Return the chat. Raises `ChatNotFound`."""
    if not Membership.objects.filter(chat_id=chat_id, user_id=user_id).exists():
        raise ChatNotFound
    try:
        return Chat.objects.get(id=chat_id)
    except Chat.DoesNotExist:
        raise ChatNotFound from None


def membership(*, chat_id: UUID, user_id: UUID) -> Membership:
    """Return the person's membership. Raises `ChatNotFound`."""
    found = Membership.objects.filter(chat_id=chat_id, user_id=user_id).first()
    if found is None:
        raise ChatNotFound
    return found


def message_for_member(*, chat_id: UUID, message_id: UUID, user_id: UUID) -> Message:
    """Return a message of a chat that the person is in. Raises `ChatNotFound` or `MessageNotFound`."""
    chat_for_member(chat_id=chat_id, user_id=user_id)
    found = Message.objects.filter(id=message_id, chat_id=chat_id).first()
    if found is None:
        raise MessageNotFound
    return found


def memberships_of(*, chat_id: UUID) -> list[Membership]:
    """Return a chat's members with their users, in the order in which they joined."""
    return list(Membership.objects.filter(chat_id=chat_id).select_related("user").order_by("id"))


def watermarks_of(*, chat_id: UUID) -> list[Membership]:
    """Return a chat's members without their users: enough to tell what was read."""
    return list(Membership.objects.filter(chat_id=chat_id))


def memberships_of_chats(*, chat_ids: Iterable[UUID]) -> dict[UUID, list[Membership]]:
    """Return the members of many chats with their users, with one query."""
    found: dict[UUID, list[Membership]] = defaultdict(list)
    rows = Membership.objects.filter(chat_id__in=list(chat_ids))
    for one in rows.select_related("user").order_by("id"):
        found[one.chat_id].append(one)
    return found


def member_ids(*, chat_id: UUID, user_id: UUID) -> tuple[UUID, ...]:
    """Return the ids of a chat's members for one of them. Raises `ChatNotFound`."""
    ids = tuple(Membership.objects.filter(chat_id=chat_id).values_list("user_id", flat=True))
    if user_id not in ids:
        raise ChatNotFound
    return ids


def member_ids_of_chats(*, chat_ids: Iterable[UUID]) -> dict[UUID, tuple[UUID, ...]]:
    """Return the members' ids of many chats with one query."""
    found: dict[UUID, list[UUID]] = defaultdict(list)
    rows = Membership.objects.filter(chat_id__in=list(chat_ids)).values_list("chat_id", "user_id")
    for chat_id, user_id in rows:
        found[chat_id].append(user_id)
    return {chat_id: tuple(user_ids) for chat_id, user_ids in found.items()}


def member_counts(*, chat_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Return how many members each chat has, with one query."""
    rows = Membership.objects.filter(chat_id__in=list(chat_ids)).values_list("chat_id")
    return dict(rows.annotate(Count("id")))


def peer_ids_of(*, user_ids: Collection[UUID]) -> dict[UUID, tuple[UUID, ...]]:
    """Return who shares a chat with each of these people, the audience of their presence, with two queries."""
    own: dict[UUID, list[UUID]] = defaultdict(list)
    rows = Membership.objects.filter(user_id__in=list(user_ids)).values_list("user_id", "chat_id")
    for user_id, chat_id in rows:
        own[user_id].append(chat_id)
    members = member_ids_of_chats(chat_ids={chat_id for chat_ids in own.values() for chat_id in chat_ids})
    return {
        user_id: tuple({one for chat_id in chat_ids for one in members.get(chat_id, ())} - {user_id})
        for user_id, chat_ids in own.items()
    }


def revs(*, user_id: UUID) -> dict[UUID, int]:
    """Return the counter of every chat this person is in."""
    chat_ids = list(Membership.objects.filter(user_id=user_id).values_list("chat_id", flat=True))
    return dict(Chat.objects.filter(id__in=chat_ids).values_list("id", "counter"))


def standings_since(*, moment: datetime) -> list[Standing]:
    """Return where every chat stands that changed after the moment, by a number or by a receipt, whoever is in it."""
    marked = Membership.objects.filter(marked_at__gte=moment).values_list("chat_id", flat=True)
    chats = Chat.objects.filter(Q(changed_at__gte=moment) | Q(id__in=list(set(marked))))
    found = {chat_id: Standing(chat_id=chat_id, rev=rev) for chat_id, rev in chats.values_list("id", "counter")}
    rows = Membership.objects.filter(chat_id__in=list(found))
    for chat_id, user_id, delivered, read in rows.values_list("chat_id", "user_id", "delivered_seq", "read_seq"):
        found[chat_id].marks += delivered + read
        found[chat_id].members.append(user_id)
    return list(found.values())


def departures_since(*, moment: datetime) -> list[Departure]:
    """Return the memberships that ended after the moment, but for those of people who are members again."""
    gone = list(Departure.objects.filter(departed_at__gte=moment).order_by("departed_at"))
    members = member_ids_of_chats(chat_ids={one.chat_id for one in gone})
    return [one for one in gone if one.user_id not in members.get(one.chat_id, ())]


def history(*, chat_id: UUID, user_id: UUID, before: int | None, limit: int) -> Page:
    """Return the newest messages, or those below the seq `before`, sorted by seq. Raises `ChatNotFound`."""
    chat = chat_for_member(chat_id=chat_id, user_id=user_id)
    top = chat.last_seq + 1 if before is None else min(before, chat.last_seq + 1)
    found = _below(chat_id=chat_id, top=top, limit=limit + 1)
    return _page(chat, list(reversed(found[:limit])), has_more=len(found) > limit)


def _below(*, chat_id: UUID, top: int, limit: int) -> list[Message]:
    """Return up to `limit` messages below the seq `top`, newest first, through a window that widens when it is short.

    The window keeps the cost at the size of the page where a planner would otherwise sort the whole chat.
    """
    width = 2 * limit
    while True:
        bottom = max(0, top - width)
        rows = Message.objects.filter(chat_id=chat_id, seq__lt=top, seq__gte=bottom)
        found = list(rows.select_related("attachment").order_by("-seq")[:limit])
        if len(found) == limit or bottom == 0:
            return found
        width *= 8


def changes(*, chat_id: UUID, user_id: UUID, after: int, limit: int) -> Page:
    """Return what changed after the rev `after`, sorted by rev. Raises `ChatNotFound`."""
    chat = chat_for_member(chat_id=chat_id, user_id=user_id)
    found = _changed([(chat_id, after)], limit=limit + 1)
    return _page(chat, found[:limit], has_more=len(found) > limit)


def changes_of_chats(*, cursors: Mapping[UUID, int]) -> dict[UUID, list[Message]]:
    """Return what changed in each chat after its rev, sorted by rev. The caller has authorised.

    The number of queries does not depend on the number of chats.
    """
    keys.preload(cursors)
    found: dict[UUID, list[Message]] = defaultdict(list)
    for one in _changed(cursors.items()):
        found[one.chat_id].append(one)
    return found


def _changed(cursors: Collection[tuple[UUID, int]], *, limit: int | None = None) -> list[Message]:
    """Return up to `limit` messages of the chats with a rev above each one's, sorted by rev.

    An index of every message's rev would cost each send a page. Where a database can do without, what is as it was
    sent is found by its seq and only what was changed later by its rev; in this order, since a message that is changed
    between the two queries may well be found twice, but never be missed. No rev is below its seq; that it is not above
    either is said as `<=`, of which PostgreSQL expects many rows and reads them in their order, where it takes `=` for
    so rare that it sorts the whole chat.
    """
    if not cursors:
        return []
    if not db.indexes_parts():
        return list(_above("rev", cursors).order_by("rev")[:limit])
    sent = _above("seq", cursors, Q(rev__lte=F("seq"))).order_by("seq")[:limit]
    changed = _above("rev", cursors, Q(rev__gt=F("seq"))).order_by("rev")[:limit]
    found = {one.id: one for rows in (sent, changed) for one in rows}
    return sorted(found.values(), key=attrgetter("rev"))[:limit]


_ANY = Q()


def _above(
    number: Literal["seq", "rev"], cursors: Collection[tuple[UUID, int]], condition: Q = _ANY
) -> QuerySet[Message]:
    """Select the messages of each chat whose number is above the chat's and that meet the condition.

    SQLite uses an index of a part of the rows only where each alternative repeats the part's condition.
    """
    wanted = Q()
    for chat_id, cursor in cursors:
        wanted |= Q(**{"chat_id": chat_id, f"{number}__gt": cursor}) & condition
    return Message.objects.filter(wanted).select_related("attachment")


def _page(chat: Chat, messages: list[Message], *, has_more: bool) -> Page:
    keys.preload([chat.id])
    return Page(chat=chat, memberships=memberships_of(chat_id=chat.id), messages=messages, has_more=has_more)
