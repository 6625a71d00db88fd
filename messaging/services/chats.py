"""Opens chats and changes their titles, members and roles.

Each change of a group is told by a `system` message in the chat's own line of numbers, so a resync brings it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from accounts import selectors as people
from chatproject import db
from chatproject.errors import DomainError, InvalidInput
from messaging import attachments, keys, rosters
from messaging.drafts import Draft
from messaging.events import ChatRemoved, publish
from messaging.models import Chat, ChatKind, Departure, Membership, MessageType, Role
from messaging.selectors import ChatNotFound, chat_for_member, member_ids, membership
from messaging.services import direct, numbers
from messaging.services.storing import store

MEMBERS_LIMIT = 2_000
TITLE_LENGTH = 100
DEPARTURES_KEPT = timedelta(hours=1)
MANAGERS = frozenset({Role.OWNER.value, Role.ADMIN.value})


class RoleRequired(DomainError):
    """The member's role does not allow this."""

    code = "role_required"
    status = 403
    message = "Your role in this chat does not allow this."


class DirectChatFixed(DomainError):
    """A direct chat has its two people and no title, for ever."""

    code = "direct_chat_fixed"
    status = 409
    message = "A direct chat cannot be changed."


class LastOwner(DomainError):
    """A group keeps at least one owner as long as it has members."""

    code = "last_owner"
    status = 409
    message = "Make somebody else owner first."


@db.transactional(retry_conflicts=True)
def create_chat(*, creator_id: UUID, participant_ids: Sequence[UUID], title: str | None) -> tuple[Chat, bool]:
    """Open a chat and return it with whether it is new. One participant and no title: the direct chat of the two.

    Raises `InvalidInput` or `PersonNotFound`.
    """
    others = [one for one in dict.fromkeys(participant_ids) if one != creator_id]
    if not others:
        raise InvalidInput.of("participantIds", "Name somebody other than yourself.", code="self")
    if title is None and len(others) == 1:
        return _direct_chat(creator_id, others[0])
    _check_title(title)
    _check_people(others, already=1)
    chat = Chat(kind=ChatKind.GROUP, created_by_id=creator_id, title=title)
    keys.create([chat.id])  # first: saving the title needs the key
    chat.save(force_insert=True)
    Membership.objects.bulk_create(
        Membership(chat_id=chat.id, user_id=one, role=Role.OWNER if one == creator_id else Role.MEMBER)
        for one in (creator_id, *others)
    )
    _tell(chat.id, creator_id, "created", title=title)
    return Chat.objects.get(id=chat.id), True


def _direct_chat(one: UUID, other: UUID) -> tuple[Chat, bool]:
    found = direct.find([(one, other)])
    created = not found
    if created:
        found = direct.open_chats([(one, other)])
    if not found:
        raise direct.PersonNotFound
    return Chat.objects.get(id__in=found.values()), created


@db.transactional()
def rename_chat(*, chat_id: UUID, user_id: UUID, title: str) -> Chat:
    """Give a group another title. Raises `ChatNotFound`, `DirectChatFixed`, `RoleRequired` or `InvalidInput`."""
    chat = _managed_group(chat_id=chat_id, user_id=user_id, roles=MANAGERS)
    _check_title(title)
    chat.title = title
    chat.save(update_fields=["title"])
    _tell(chat_id, user_id, "renamed", title=title)
    return Chat.objects.get(id=chat_id)


@db.transactional(retry_conflicts=True)
def add_members(*, chat_id: UUID, user_id: UUID, new_ids: Sequence[UUID]) -> Chat:
    """Add people to a group; those who are in it stay as they are.

    Raises `ChatNotFound`, `DirectChatFixed`, `RoleRequired`, `PersonNotFound` or `InvalidInput`.
    """
    chat = _managed_group(chat_id=chat_id, user_id=user_id, roles=MANAGERS)
    present = member_ids(chat_id=chat_id, user_id=user_id)
    added = [one for one in dict.fromkeys(new_ids) if one not in present]
    _check_people(added, already=len(present))
    Membership.objects.bulk_create(
        # What was said before is history, not unread.
        Membership(chat_id=chat_id, user_id=one, delivered_seq=chat.counter, read_seq=chat.counter)
        for one in added
    )
    rosters.renew(chat_id)  # bulk_create tells nobody
    _tell(chat_id, user_id, "added", about=added)
    return Chat.objects.get(id=chat_id)


@db.transactional()
def change_role(*, chat_id: UUID, user_id: UUID, member_id: UUID, role: str) -> Chat:
    """Give a member another role; owners may. Raises as `rename_chat`, `PersonNotFound` and `LastOwner`."""
    _managed_group(chat_id=chat_id, user_id=user_id, roles={Role.OWNER.value})
    member = _member(chat_id, member_id)
    if member.role != role:
        if member.role == Role.OWNER:
            _keep_an_owner(chat_id, without=member_id)
        Membership.objects.filter(id=member.id).update(role=role)
        _tell(chat_id, user_id, "role", about=[member_id], role=role)
    return Chat.objects.get(id=chat_id)


@db.transactional()
def remove_member(*, chat_id: UUID, user_id: UUID, member_id: UUID) -> None:
    """Remove somebody from a group, or leave it. The last one to leave takes the chat with them.

    Raises `ChatNotFound`, `DirectChatFixed`, `RoleRequired`, `PersonNotFound` or `LastOwner`.
    """
    leaving = user_id == member_id
    chat = _managed_group(chat_id=chat_id, user_id=user_id, roles=None if leaving else MANAGERS)
    member = _member(chat_id, member_id)
    present = member_ids(chat_id=chat_id, user_id=user_id)
    if leaving and len(present) == 1:
        _erase(chat, present)
        return
    if not leaving and member.role != Role.MEMBER:
        _managed_group(chat_id=chat_id, user_id=user_id, roles={Role.OWNER.value})
    if member.role == Role.OWNER:
        _keep_an_owner(chat_id, without=member_id)
    _tell(chat_id, user_id, "left" if leaving else "removed", about=[member_id])
    Membership.objects.filter(id=member.id).delete()
    rev = Chat.objects.values_list("counter", flat=True).get(id=chat_id)
    _tell_departed(chat_id, (member_id,), rev)


@db.transactional()
def delete_chat(*, chat_id: UUID, user_id: UUID) -> None:
    """Erase a group with its key, for everybody. Raises `ChatNotFound`, `DirectChatFixed` or `RoleRequired`."""
    chat = _managed_group(chat_id=chat_id, user_id=user_id, roles={Role.OWNER.value})
    _erase(chat, member_ids(chat_id=chat_id, user_id=user_id))


def _erase(chat: Chat, members: Iterable[UUID]) -> None:
    chat_id, rev = chat.id, chat.counter
    attachments.delete_files(chat_id)
    # First and in one statement: a chat's own deletion would take one for each hundred of them.
    db.delete(Membership, list(Membership.objects.filter(chat_id=chat_id).values_list("pk", flat=True)))
    chat.delete()
    db.on_commit(lambda: keys.forget(chat_id))
    _tell_departed(chat_id, tuple(members), rev)


def _tell_departed(chat_id: UUID, user_ids: tuple[UUID, ...], rev: int) -> None:
    """Tell people that they are members no longer, and keep it for a while in case that this is lost."""
    moment = numbers.now()
    Departure.objects.filter(departed_at__lt=moment - DEPARTURES_KEPT).delete()
    Departure.objects.bulk_create(
        Departure(chat_id=chat_id, user_id=one, rev=rev, departed_at=moment) for one in user_ids
    )
    publish(ChatRemoved(recipients=user_ids, chat_id=chat_id, rev=rev))


def _managed_group(*, chat_id: UUID, user_id: UUID, roles: Iterable[str] | None) -> Chat:
    """Return the group in which the person has one of the roles (None: any), kept as it is from here on."""
    db.lock(Chat.objects.filter(id=chat_id))
    chat = chat_for_member(chat_id=chat_id, user_id=user_id)
    if chat.kind == ChatKind.DIRECT:
        raise DirectChatFixed
    if roles is not None and membership(chat_id=chat_id, user_id=user_id).role not in roles:
        raise RoleRequired
    return chat


def _member(chat_id: UUID, member_id: UUID) -> Membership:
    try:
        return membership(chat_id=chat_id, user_id=member_id)
    except ChatNotFound:
        raise direct.PersonNotFound from None


def _keep_an_owner(chat_id: UUID, *, without: UUID) -> None:
    owners = Membership.objects.filter(chat_id=chat_id, role=Role.OWNER).exclude(user_id=without)
    if not owners.exists():
        raise LastOwner


def _check_people(ids: Sequence[UUID], *, already: int) -> None:
    if already + len(ids) > MEMBERS_LIMIT:
        raise InvalidInput.of("participantIds", f"A group has at most {MEMBERS_LIMIT} members.", code="max_length")
    if len(people.active_users(ids=ids)) != len(ids):
        raise direct.PersonNotFound


def _check_title(title: str | None) -> None:
    if title is not None and (not title.strip() or len(title) > TITLE_LENGTH):
        raise InvalidInput.of("title", f"A title has 1 to {TITLE_LENGTH} characters.")


def _tell(
    chat_id: UUID,
    actor_id: UUID,
    action: str,
    *,
    about: Sequence[UUID | None] = (None,),
    title: str | None = None,
    role: str | None = None,
) -> None:
    """Store a change's system messages, one for each person it is about; their sender is the one who made it."""
    drafts = []
    for one in about:
        told = {"action": action, "userId": str(one) if one else None, "title": title, "role": role}
        content = json.dumps(told, ensure_ascii=False)
        drafts.append(Draft(sender_id=actor_id, chat_id=chat_id, type=MessageType.SYSTEM, content=content))
    for outcome in store(drafts):
        if isinstance(outcome, DomainError):
            raise outcome
