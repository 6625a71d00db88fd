"""Keeps what people show in the database, so that every door answers the same, also after a process was killed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.models import Status, User
from chatproject import db

CHUNK = 500
LAPSED_AT_ONCE = 500
SHOWN_AT_ONCE = 2_000


@db.transactional()
def record(*, user_ids: Collection[UUID], status: Status | str, now: datetime, changed: bool = True) -> None:
    """Note what people show from now (aware) on, and whether it is something else than before."""
    times = {"last_seen": now, "shown_at": now} if changed else {"last_seen": now}
    for chunk in _chunks(sorted(user_ids)):
        User.objects.filter(pk__in=chunk).update(status=status, **times)


def shown_since(*, moment: datetime) -> list[User]:
    """Return some of those who show something else than before the moment (aware)."""
    return list(User.objects.filter(shown_at__gte=moment).order_by("-shown_at")[:SHOWN_AT_ONCE])


def renew(*, user_ids: Collection[UUID], now: datetime) -> None:
    """Note that these people are still there at `now` (aware); those who show offline stay as they are.

    In chunks with transactions of their own, in the order of the ids, so that two writers cannot wait for each other.
    """
    for chunk in _chunks(sorted(user_ids)):
        _renew(chunk, now)


@db.transactional()
def _renew(user_ids: list[UUID], now: datetime) -> None:
    User.objects.filter(pk__in=user_ids).exclude(status=Status.OFFLINE).update(last_seen=now)


def hidden_user_ids(*, user_ids: Collection[UUID]) -> list[UUID]:
    """Return those of the people who are stored as offline although they chose to show something else."""
    return [
        user_id
        for chunk in _chunks(sorted(user_ids))
        for user_id in User.objects.filter(pk__in=chunk, status=Status.OFFLINE)
        .exclude(chosen_status=Status.OFFLINE)
        .values_list("pk", flat=True)
    ]


def lapsed_user_ids() -> list[UUID]:
    """Return some of those who are stored as there although nobody has renewed them within the TTL.

    A time in the future is none: see `User.presence`.
    """
    now, ttl = timezone.now(), settings.PARLEY_PRESENCE_TTL
    lapsed = Q(last_seen__lt=now - ttl) | Q(last_seen__gt=now + ttl)
    rows = User.objects.filter(lapsed, status__in=[Status.ONLINE, Status.AWAY])
    return list(rows.values_list("pk", flat=True)[:LAPSED_AT_ONCE])


def _chunks(ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
