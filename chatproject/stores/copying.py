"""Carries a store's rows into another one, while the first is in use; run again, it carries what has changed since.

Nothing is remembered beside the rows: what is to be done follows from what the target holds, so a copy may be killed at
any time and run again. Most tables are compared row by row. Messages are too many for that: within a chat they are
copied by `rev`, which grows with everything that happens to one, in windows that are a transaction each, so those up to
the highest `rev` in the target are there. A chat's own row tells its true counter only once its messages are there:
chats whose rows are equal have nothing left to copy, and with others only what is above it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Max, QuerySet

from chatproject.stores.claims import Hold
from chatproject.stores.tables import CHATS, CONTENT_ACCESSES, MESSAGES, TABLES, USERS, Key, Row, Side, Table
from chatproject.stores.writing import Writer, Written, empty

BATCH = 2000
"""Rows in one transaction and in memory at once."""
COMPARED = tuple(table for table in TABLES if table not in (CHATS, MESSAGES, CONTENT_ACCESSES))

_COUNTER = CHATS.place("counter")
_CHAT, _REV = MESSAGES.place("chat_id"), MESSAGES.place("rev")


def outstanding(source: Side, target: Side) -> int:
    """Estimate how many rows `Copy.run` will pass."""
    compared = sum(table.count(source.alias) for table in TABLES if table is not MESSAGES)
    return compared + max(MESSAGES.count(source.alias) - MESSAGES.count(target.alias), 0)


class Copy:
    """One pass."""

    def __init__(
        self,
        source: Side,
        target: Side,
        *,
        dry_run: bool = False,
        every_message: bool = False,
        batch: int = BATCH,
        progress: Callable[[int], object] = lambda rows: None,
        hold: Hold,
    ) -> None:
        """`every_message` compares each message too, for a target that somebody has damaged.

        `hold` is called in each transaction, and may raise: see `chatproject.stores.claims`.
        """
        self.source, self.target = source, target
        self._writer = Writer(source, target, batch=batch, dry_run=dry_run, hold=hold)
        self._dry_run, self._every_message = dry_run, every_message
        self._batch = batch
        self._progress = progress

    def run(self) -> Written:
        """Make the target like the source, but for users that are gone (see `remove_users`)."""
        for table in reversed(TABLES):
            if table is not USERS and (table is not MESSAGES or self._every_message):
                self._writer.remove_gone(table)
        for table in COMPARED[:2]:
            self._compare(table)
        self._open_chats()
        for table in COMPARED[2:]:
            self._compare(table)
        self._copy_messages()
        if self._every_message:
            self._compare(MESSAGES)
        self._compare(CONTENT_ACCESSES)
        return self._writer.written

    def remove_users(self) -> None:
        """Remove the users that are gone; last, when nothing refers to them any more, their rights neither."""
        self._writer.remove_gone(USERS)

    # --- Small tables -------------------------------------------------------------------------------------------------

    def _compare(self, table: Table) -> None:
        """Make the target's rows of a table like the source's."""
        for rows in self.source.batches(table, self._batch):
            self._writer.put_beside(table, rows, self.target.between(table, rows))
            self._progress(len(rows))

    def _open_chats(self) -> None:
        """Add new chats, as if they had no messages yet; those that changed wait for theirs."""
        for rows in self.source.batches(CHATS, self._batch):
            missing = set(self.target.missing(CHATS, [CHATS.key(row) for row in rows]))
            self._writer.write(CHATS, [empty(row) for row in rows if CHATS.key(row) in missing], [])
            self._progress(len(rows))

    # --- Messages -----------------------------------------------------------------------------------------------------

    def _copy_messages(self) -> None:
        """Copy the messages of all chats whose rows differ, then those rows."""
        for rows in self.source.batches(CHATS, self._batch):
            held = self.target.held(CHATS, [CHATS.key(row) for row in rows])
            moved = [row for row in rows if held.get(CHATS.key(row)) != row]
            floors = self._floors(moved, held)
            for group in _groups(moved, floors, self._batch):
                if len(group) == 1:
                    self._copy_since(group[0], floors.get(CHATS.key(group[0]), 0))
                else:
                    self._copy_all_of(group)
                self._writer.put(CHATS, group)

    def _floors(self, chats: Sequence[Row], held: dict[Key, Row]) -> dict[Key, int]:
        """Return the number up to which each chat of which the target has something is complete: that of its row.

        A chat that has messages beside a row without a number is one whose first copy was interrupted.
        """
        floors = {key: row[_COUNTER] for chat in chats if (row := held.get(key := CHATS.key(chat)))}
        unfinished = [key for key, counter in floors.items() if not counter]
        messages = MESSAGES.rows_of(self.target.alias).filter(chat_id__in=unfinished)
        begun = set(messages.order_by().values_list("chat_id", flat=True).distinct())
        return {key: counter for key, counter in floors.items() if counter or key in begun}

    def _copy_all_of(self, chats: Sequence[Row]) -> None:
        """Copy chats of which the target has no message yet, together."""
        counters = {CHATS.key(row): row[_COUNTER] for row in chats if row[_COUNTER]}
        if not counters:
            return
        query = MESSAGES.rows_of(self.source.alias).filter(chat_id__in=list(counters))
        if self._dry_run:
            self._count(query)
            return
        rows = [row for row in self.source.rows(MESSAGES, query) if row[_REV] <= counters[row[_CHAT]]]
        self._writer.write(MESSAGES, rows, [])
        self._progress(len(rows))

    def _copy_since(self, chat: Row, floor: int) -> None:
        """Copy what has happened in one chat since a `rev`, up to where its row says that it is."""
        chat_id, counter = CHATS.key(chat), chat[_COUNTER]
        if self._dry_run:
            for part in self.source.numbered(chat_id, floor, counter):
                self._count(part)
            return
        for after in range(self._mark(chat_id, floor, counter), counter, self._batch):
            parts = self.source.numbered(chat_id, after, min(after + self._batch, counter))
            if rows := [row for part in parts for row in self.source.rows(MESSAGES, part)]:
                self._writer.put(MESSAGES, rows)
                self._progress(len(rows))

    def _mark(self, chat_id: UUID, floor: int, counter: int) -> int:
        """Return the highest `rev` that the target has of a chat, above the one up to which it is complete anyway."""
        parts = self.target.numbered(chat_id, floor, counter)
        return max(part.aggregate(mark=Max("rev"))["mark"] or floor for part in parts)

    def _count(self, query: QuerySet[Any]) -> None:
        """Count messages that would be copied; some of them may be there in an earlier form."""
        found = query.count()
        self._writer.written.added[MESSAGES.name] += found
        self._progress(found)


def _groups(chats: Iterable[Row], begun: Collection[Key], size: int) -> Iterator[list[Row]]:
    """Yield chats with about `size` numbers to copy together: small ones in numbers, large and begun ones alone."""
    group: list[Row] = []
    held = 0
    for chat in chats:
        todo = chat[_COUNTER]
        if CHATS.key(chat) in begun or todo > size:
            yield [chat]
            continue
        if held + todo > size:
            yield group
            group, held = [], 0
        group.append(chat)
        held += todo
    if group:
        yield group
