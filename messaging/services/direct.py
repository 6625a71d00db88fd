"""Finds or opens the one direct chat of two people."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from accounts import selectors as people
from chatproject.errors import DomainError
from messaging import keys
from messaging.models import Chat, ChatKind, Membership, Role


class PersonNotFound(DomainError):
    """The person addressed does not exist or has left."""

    code = "user_not_found"
    status = 404
    message = "There is no such user."


def direct_key(one: UUID, other: UUID) -> str:
    """Return the unique key of two people's direct chat, whoever asks."""
    return ":".join(sorted((str(one), str(other))))


def find(pairs: Iterable[tuple[UUID, UUID]]) -> dict[str, UUID]:
    """Return the chats that are there, by their key."""
    wanted = {direct_key(*pair) for pair in pairs}
    if not wanted:
        return {}
    rows = Chat.objects.filter(direct_key__in=wanted).values_list("direct_key", "id")
    return {str(key): chat_id for key, chat_id in rows}


def open_chats(pairs: Iterable[tuple[UUID, UUID]]) -> dict[str, UUID]:
    """Open the direct chats of these pairs, in the open transaction. Pairs with an unknown person are left out.

    A unique violation means that somebody else opened one first: the transaction is to be run again.
    """
    wanted = {direct_key(*pair): pair for pair in pairs}
    known = {user.id for user in people.active_users(ids={one for pair in wanted.values() for one in pair})}
    chats = [
        Chat(kind=ChatKind.DIRECT, direct_key=key, created_by_id=pair[0])
        for key, pair in wanted.items()
        if known.issuperset(pair)
    ]
    Chat.objects.bulk_create(chats)
    keys.create(chat.id for chat in chats)
    Membership.objects.bulk_create(
        Membership(chat_id=chat.id, user_id=user_id, role=Role.MEMBER)
        for chat in chats
        for user_id in wanted[str(chat.direct_key)]
    )
    return {str(chat.direct_key): chat.id for chat in chats}
