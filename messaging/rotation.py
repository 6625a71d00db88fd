"""Moves the chats' data keys from older master keys to the current one, while the service runs.

Only `chat_keys` is rewritten: the data keys stay the same, so no message is touched (NIST SP 800-57 Part 1, 5.3.6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Count, QuerySet

from chatproject import db
from messaging.crypto import DecryptionError, UnknownMasterKey, WrappedKey
from messaging.keys import master_keys
from messaging.models import ChatKey

BATCH = 500


@dataclass(slots=True)
class Rotated:
    """What a rotation did, counted in data keys."""

    rewrapped: int = 0
    overtaken: int = 0
    """Destroyed or rewrapped by somebody else in between, and left as they are."""
    unknown: Counter[str] = field(default_factory=Counter)
    """How many are wrapped by each master key that is not configured."""
    damaged: list[UUID] = field(default_factory=list)
    """The chats whose wrapped key was altered."""


@dataclass(frozen=True, slots=True)
class _Rewrapped:
    chat_id: UUID
    old: WrappedKey
    new: WrappedKey


def outstanding() -> int:
    """Return how many data keys are not wrapped by the current master key."""
    return _outstanding().count()


def wrapped_by() -> dict[str, int]:
    """Return how many data keys each master key wraps, with the configured ones that wrap none."""
    counts = dict.fromkeys(master_keys(), 0)
    for row in ChatKey.objects.values("master_key_id").annotate(keys=Count("pk")):
        counts[row["master_key_id"]] = row["keys"]
    return counts


def rotate(
    *, batch_size: int = BATCH, dry_run: bool = False, progress: Callable[[int], object] = lambda count: None
) -> Rotated:
    """Rewrap every data key that another master key than the current one wraps; `progress` gets each batch's size.

    Each batch is one transaction, and each row changes only if it still is as it was read, so a key that was destroyed
    meanwhile stays destroyed. Stopped at any point, it has lost nothing: run it again for the rest. A dry run unwraps
    everything and writes nothing.
    """
    rotated = Rotated()
    after: UUID | None = None
    while rows := _batch(after, batch_size):
        rewrapped = [one for row in rows if (one := _rewrap(row, rotated))]
        changed = len(rewrapped) if dry_run else _store(rewrapped)
        rotated.rewrapped += changed
        rotated.overtaken += len(rewrapped) - changed
        after = rows[-1].chat_id
        progress(len(rows))
    return rotated


def _outstanding() -> QuerySet[ChatKey]:
    return ChatKey.objects.exclude(master_key_id=master_keys().current_id)


def _batch(after: UUID | None, size: int) -> Sequence[ChatKey]:
    rows = _outstanding().order_by("chat_id")
    if after is not None:
        rows = rows.filter(chat_id__gt=after)
    return list(rows[:size])


def _rewrap(row: ChatKey, rotated: Rotated) -> _Rewrapped | None:
    """Wrap one data key anew, in memory; a key that does not unwrap is noted."""
    old = WrappedKey(row.master_key_id, bytes(row.wrapped))
    try:
        return _Rewrapped(row.chat_id, old, master_keys().rewrap(old))
    except UnknownMasterKey:
        rotated.unknown[row.master_key_id] += 1
    except DecryptionError:
        rotated.damaged.append(row.chat_id)
    return None


@db.transactional()
def _store(rewrapped: Sequence[_Rewrapped]) -> int:
    """Write a batch in one transaction and return how many rows were still as they had been read."""
    return sum(_replace(one) for one in rewrapped)


def _replace(one: _Rewrapped) -> int:
    """Compare and set one row."""
    unchanged = ChatKey.objects.filter(
        chat_id=one.chat_id, master_key_id=one.old.master_key_id, wrapped=one.old.wrapped
    )
    return unchanged.update(master_key_id=one.new.master_key_id, wrapped=one.new.wrapped)
