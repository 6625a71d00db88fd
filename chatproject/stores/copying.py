"""Carries a store's rows into another one, while the first is in use; run again, it carries what has changed since.

Nothing is remembered beside the rows: what is to be done follows from what the target holds, so a copy may be killed at
any time and run again. Most tables are compared row by row. Messages are too many for that: within a chat they are
copied by `rev`, which grows with everything that happens to one, in windows that are a transaction each, so those up to
the highest `rev` in the target are there. A chat's own row tells its true counter only once its messages are there:
chats whose rows are equal have nothing left to copy, and with others only what is above it counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Max, QuerySet

from chatproject import db
from chatproject.stores.tables import CHATS, CONTENT_ACCESSES, MESSAGES, TABLES, USERS, Key, Row, Side, Table

BATCH = 2000
"""Rows in one transaction and in memory at once."""
COMPARED = tuple(table for table in TABLES if table not in (CHATS, MESSAGES, CONTENT_ACCESSES))
WIDENINGS = 5

_COUNTER, _LAST_SEQ = CHATS.place("counter"), CHATS.place("last_seq")
_CHAT, _REV = MESSAGES.place("chat_id"), MESSAGES.place("rev")


@dataclass(slots=True)
class Written:
    """What was written, or would be, in rows of each table."""

    added: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many rows that are."""
        return self.added.total() + self.changed.total() + self.removed.total()


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
    ) -> None:
        """`every_message` compares each message too, for a target that somebody has damaged."""
        self.source, self.target = source, target
        self.written = Written()
        self._dry_run, self._every_message = dry_run, every_message
        self._batch = batch
        self._progress = progress

    def run(self) -> Written:
        """Make the target like the source, but for users that are gone (see `remove_users`)."""
        for table in reversed(TABLES):
            if table is not USERS and (table is not MESSAGES or self._every_message):
                self._remove_gone(table)
        for table in COMPARED[:2]:
            self._compare(table)
        self._open_chats()
        for table in COMPARED[2:]:
            self._compare(table)
        self._copy_messages()
        if self._every_message:
            self._compare(MESSAGES)
        self._compare(CONTENT_ACCESSES)
        return self.written

    def remove_users(self) -> None:
        """Remove the users that are gone; last, when nothing refers to them any more, their rights neither."""
        self._remove_gone(USERS)

    # --- What is gone -------------------------------------------------------------------------------------------------

    def _remove_gone(self, table: Table) -> None:
        for keys in self.target.key_batches(table, self._batch):
            self._remove(table, self.source.missing(table, keys))

    def _remove(self, table: Table, keys: Sequence[Key]) -> None:
        """Remove rows and what belongs to them, and let go of them what only refers to them."""
        if not keys:
            return
        if not self._dry_run:
            for child in TABLES:
                for place, parent in child.parents.items():
                    if parent is table:
                        self._release(child, child.columns[place], keys)
            with db.atomic(using=self.target.alias):
                db.delete(table.model, keys, using=self.target.alias)
        self.written.removed[table.name] += len(keys)

    def _release(self, child: Table, column: str, keys: Sequence[Key]) -> None:
        referring = child.rows_of(self.target.alias).filter(**{f"{column}__in": list(keys)})
        if child.model._meta.get_field(column).null:
            referring.update(**{column: None})
            return
        while found := list(referring.values_list(child.key_column, flat=True)[: self._batch]):
            self._remove(child, found)

    # --- What is new or different -------------------------------------------------------------------------------------

    def _compare(self, table: Table) -> None:
        """Make the target's rows of a table like the source's."""
        for rows in self.source.batches(table, self._batch):
            self._put_beside(table, rows, self.target.between(table, rows))
            self._progress(len(rows))

    def _open_chats(self) -> None:
        """Add new chats, as if they had no messages yet; those that changed wait for theirs."""
        for rows in self.source.batches(CHATS, self._batch):
            missing = set(self.target.missing(CHATS, [CHATS.key(row) for row in rows]))
            self._write(CHATS, [_empty(row) for row in rows if CHATS.key(row) in missing], [])
            self._progress(len(rows))

    def _put(self, table: Table, rows: Sequence[Row]) -> None:
        """Write those of the rows that the target has not or not so."""
        self._put_beside(table, rows, self.target.held(table, [table.key(row) for row in rows]))

    def _put_beside(self, table: Table, rows: Sequence[Row], held: dict[Key, Row]) -> None:
        new = [row for row in rows if table.key(row) not in held]
        changed = [row for row in rows if held.get(table.key(row), row) != row]
        self._write(table, new, changed)

    def _write(self, table: Table, new: Sequence[Row], changed: Sequence[Row]) -> None:
        if not (new or changed):
            return
        self.written.added[table.name] += len(new)
        self.written.changed[table.name] += len(changed)
        if self._dry_run:
            return
        try:
            with db.atomic(using=self.target.alias):
                self._insert(table, new)
                self._update(table, changed)
        except IntegrityError:
            self._write_with_company(table, [*new, *changed])

    def _insert(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            db.load(table.model, rows, using=self.target.alias)

    def _update(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            others = [name for name in table.columns if name != table.key_column]
            values = [(table.key(row), *_without(row, table.key_place)) for row in rows]
            db.update_each(table.model, others, values, using=self.target.alias)

    # --- What cannot be written alone ---------------------------------------------------------------------------------

    def _write_with_company(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows together with those that they need, and those that hold a unique value which is theirs by now.

        Both come about while the source is in use: a message of somebody who has just registered, or a name that has
        passed from one person to another.
        """
        wanted = {table.key(row): row for row in rows}
        for _ in range(WIDENINGS):
            for place, parent in table.parents.items():
                wanted = self._with_parents(parent, place, wanted)
            for row in self._rivals(table, wanted.values()):
                wanted[table.key(row)] = row
            try:
                with db.atomic(using=self.target.alias):
                    db.delete(table.model, list(wanted), using=self.target.alias)
                    self._insert(table, list(wanted.values()))
            except IntegrityError as error:
                problem = error
            else:
                return
        raise problem

    def _with_parents(self, parent: Table, place: int, rows: dict[Key, Row]) -> dict[Key, Row]:
        """Copy the rows that these refer to; return those whose parent still is there."""
        needed = list({row[place] for row in rows.values() if row[place] is not None})
        missing = self.target.missing(parent, needed)
        found = self.source.held(parent, missing)
        self._write(parent, [_empty(row) if parent is CHATS else row for row in found.values()], [])
        gone = set(missing) - set(found)
        return {key: row for key, row in rows.items() if row[place] not in gone}

    def _rivals(self, table: Table, rows: Iterable[Row]) -> list[Row]:
        """Return, as they are in the source, the other rows that hold a unique value of these; remove those gone."""
        found: set[Key] = set()
        for columns in table.unique_together:
            places = [table.place(column) for column in columns]
            for row in rows:
                values = {column: row[place] for column, place in zip(columns, places, strict=True)}
                if None in values.values():
                    continue
                holder = table.rows_of(self.target.alias).filter(**values).exclude(pk=table.key(row))
                found.update(holder.values_list(table.key_column, flat=True))
        there = self.source.held(table, found)
        self._remove(table, [key for key in found if key not in there])
        return list(there.values())

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
                self._put(CHATS, group)

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
        self._write(MESSAGES, rows, [])
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
                self._put(MESSAGES, rows)
                self._progress(len(rows))

    def _mark(self, chat_id: UUID, floor: int, counter: int) -> int:
        """Return the highest `rev` that the target has of a chat, above the one up to which it is complete anyway."""
        parts = self.target.numbered(chat_id, floor, counter)
        return max(part.aggregate(mark=Max("rev"))["mark"] or floor for part in parts)

    def _count(self, query: QuerySet[Any]) -> None:
        """Count messages that would be copied; some of them may be there in an earlier form."""
        found = query.count()
        self.written.added[MESSAGES.name] += found
        self._progress(found)


def _empty(chat: Row) -> Row:
    """Return a chat's row as it was before its first message."""
    values = list(chat)
    values[_COUNTER] = values[_LAST_SEQ] = 0
    return tuple(values)


def _without(row: Row, place: int) -> Row:
    return row[:place] + row[place + 1 :]


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
