"""Compares two stores row by row, and asks of the copy what a service will ask of it: its numbers and its keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Count, Max

from chatproject.stores.tables import CHAT_KEYS, CHATS, MESSAGES, TABLES, Key, Row, Side, Table
from messaging import keys
from messaging.crypto import DecryptionError, UnknownMasterKey, WrappedKey

BATCH = 2000
NAMED = 5
"""How many rows a report names of each kind."""


@dataclass(slots=True)
class Comparison:
    """A table on both sides: how many rows, a digest of all columns in the order of the keys, and what differs."""

    table: Table
    source_count: int = 0
    target_count: int = 0
    source_digest: str = ""
    target_digest: str = ""
    problems: int = 0
    named: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.problems and self.source_digest == self.target_digest

    def note(self, what: str, key: Key) -> None:
        """Count a difference, and name the first few."""
        self.problems += 1
        if len(self.named) < NAMED:
            self.named.append(f"{key} {what}")


@dataclass(slots=True)
class Verdict:
    """What a verification has found."""

    tables: list[Comparison] = field(default_factory=list)
    chats: int = 0
    wrong_numbers: list[str] = field(default_factory=list)
    keys: int = 0
    wrong_keys: list[str] = field(default_factory=list)
    rights_differ: bool = False

    @property
    def good(self) -> bool:
        """Whether the copy may take the place of its source."""
        problems = self.wrong_numbers or self.wrong_keys or self.rights_differ
        return not problems and all(one.equal for one in self.tables)


def verify(source: Side, target: Side, *, progress: Callable[[int], object] = lambda rows: None) -> Verdict:
    """Compare every row; `progress` gets the sizes of what has been compared. Memory is bounded by the batch."""
    verdict = Verdict()
    for table in TABLES:
        verdict.tables.append(_compare(table, source, target, progress))
    for rows in target.batches(CHATS, BATCH):
        verdict.chats += len(rows)
        verdict.wrong_numbers += _wrong_numbers([CHATS.key(row) for row in rows], source, target)
    for rows in target.batches(CHAT_KEYS, BATCH):
        verdict.keys += len(rows)
        verdict.wrong_keys += [problem for row in rows if (problem := _wrong_key(row))]
    return verdict


def _compare(table: Table, source: Side, target: Side, progress: Callable[[int], object]) -> Comparison:
    found = Comparison(table)
    ours, theirs = hashlib.sha256(), hashlib.sha256()
    for rows in source.batches(table, BATCH):
        held = target.between(table, rows)
        found.source_count += len(rows)
        for row in rows:
            packed = _packed(row)
            ours.update(packed)
            other = held.get(table.key(row))
            if other == row:
                theirs.update(packed)
            elif other is None:
                found.note("is missing", table.key(row))
            else:
                theirs.update(_packed(other))
                found.note(f"differs in {', '.join(_differing(table, row, other))}", table.key(row))
        progress(len(rows))
    found.source_digest, found.target_digest = ours.hexdigest(), theirs.hexdigest()
    found.target_count = table.count(target.alias)
    if found.target_count != found.source_count:
        _note_extra(found, source, target)
    return found


def _note_extra(found: Comparison, source: Side, target: Side) -> None:
    for some in target.key_batches(found.table, BATCH):
        for key in source.missing(found.table, some):
            found.note("is not in the source", key)


def _differing(table: Table, row: Row, other: Row) -> list[str]:
    return [column for column, one, two in zip(table.columns, row, other, strict=True) if one != two]


def _packed(row: Row) -> bytes:
    """Return the row's values as bytes, the same for the same values whichever store they come from."""
    return msgspec.msgpack.encode([bytes(value) if isinstance(value, bytes) else value for value in row])


def _wrong_numbers(chat_ids: Sequence[UUID], source: Side, target: Side) -> list[str]:
    """Compare how many messages each chat has, its last `seq` and its last `rev`, as the databases count them."""
    ours, theirs = (_numbers(side, chat_ids) for side in (source, target))
    return [
        f"{chat_id}: {ours.get(chat_id)} in the source, {theirs.get(chat_id)} in the target (messages, seq, rev)"
        for chat_id in chat_ids
        if ours.get(chat_id) != theirs.get(chat_id)
    ]


def _numbers(side: Side, chat_ids: Sequence[UUID]) -> dict[UUID, tuple[Any, ...]]:
    rows = MESSAGES.rows_of(side.alias).filter(chat_id__in=chat_ids).order_by().values_list("chat_id")
    return {row[0]: row[1:] for row in rows.annotate(Count("pk"), Max("seq"), Max("rev"))}


def _wrong_key(row: Row) -> str | None:
    """Unwrap a chat's data key with the configured master keys; tell what is wrong with it."""
    chat_id, master_key_id, wrapped = (row[CHAT_KEYS.place(name)] for name in ("chat_id", "master_key_id", "wrapped"))
    try:
        keys.master_keys().unwrap(WrappedKey(master_key_id, wrapped))
    except UnknownMasterKey:
        return f"chat {chat_id}: its master key {master_key_id!r} is not in PARLEY_MASTER_KEYS"
    except DecryptionError:
        return f"chat {chat_id}: its key does not unwrap with the master key {master_key_id!r}"
    return None
