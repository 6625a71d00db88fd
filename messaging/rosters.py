"""Remembers who is in which chat, so that a message into a group of a thousand reads no thousand rows.

A chat's row names its present roster. What is remembered stands under the chat and that name, and every change of the
members gives a new name in its own transaction: what is found under a name that the row holds is never out of date,
whoever made the change and in whichever process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from chatproject.ids import uuid7
from messaging.models import Chat, Membership

REMEMBERED_MEMBERS = 200_000
"""Members of all remembered rosters together (about 30 MB)."""


@dataclass(frozen=True, slots=True)
class Roster:
    """The members of one chat under one name of its roster."""

    members: tuple[UUID, ...]
    _lookup: frozenset[UUID] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lookup", frozenset(self.members))

    def __contains__(self, user_id: UUID) -> bool:
        return user_id in self._lookup

    def other_than(self, user_id: UUID) -> UUID | None:
        """Return the first member who is somebody else."""
        for one in self.members:
            if one is not user_id and one != user_id:
                return one
        return None


class _Memory:
    """The rosters used last."""

    def __init__(self) -> None:
        self._rosters: OrderedDict[tuple[UUID, UUID], Roster] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[UUID, UUID]) -> Roster | None:
        with self._lock:
            found = self._rosters.get(key)
            if found is not None:
                self._rosters.move_to_end(key)
            return found

    def put(self, key: tuple[UUID, UUID], roster: Roster) -> None:
        with self._lock:
            if key not in self._rosters:
                self._size += len(roster.members)
            self._rosters[key] = roster
            while self._size > REMEMBERED_MEMBERS and len(self._rosters) > 1:
                _, dropped = self._rosters.popitem(last=False)
                self._size -= len(dropped.members)


_memory = _Memory()


def of_chats(names: Iterable[tuple[UUID, UUID]]) -> dict[UUID, Roster]:
    """Return the roster of each chat for `(chat id, name)`, what is not remembered with one query.

    The caller has read the names in the open transaction and keeps the chats' rows as they are (`db.read`), so that
    name and members belong together.
    """
    found: dict[UUID, Roster] = {}
    missing: dict[UUID, tuple[UUID, UUID]] = {}
    for key in names:
        roster = _memory.get(key)
        if roster is None:
            missing[key[0]] = key
        else:
            found[key[0]] = roster
    if missing:
        members: dict[UUID, list[UUID]] = defaultdict(list)
        rows = Membership.objects.filter(chat_id__in=list(missing)).order_by("id")
        for chat_id, user_id in rows.values_list("chat_id", "user_id"):
            members[chat_id].append(user_id)
        for chat_id, key in missing.items():
            found[chat_id] = Roster(tuple(members[chat_id]))
            _memory.put(key, found[chat_id])
    return found


def renew(chat_id: UUID) -> None:
    """Give a chat's roster a new name, in the transaction that changes its members and before anything reads them."""
    Chat.objects.filter(id=chat_id).update(roster=uuid7())


@receiver([post_save, post_delete], sender=Membership)
def _membership_changed(instance: Membership, **details: Any) -> None:
    """Follow changes row by row, whoever makes them: a service, the admin, or the deletion of a person."""
    if not isinstance(details.get("origin"), Chat):  # a chat that goes takes its memberships with it
        renew(instance.chat_id)
