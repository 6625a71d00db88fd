"""Writes rows into the target of a copy, with what the database wants there first, and takes out what is gone.

While the source is in use its rows are read at different moments, so that some do not fit together: a message of
somebody who has just registered, or a name that has passed from one person to another. The database says so, and such
rows are written together with their company.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from django.db import IntegrityError

from chatproject import db
from chatproject.stores.claims import Hold, held
from chatproject.stores.tables import CHATS, TABLES, Key, Row, Side, Table

WIDENINGS = 5

_COUNTER, _LAST_SEQ = CHATS.place("counter"), CHATS.place("last_seq")


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


class Writer:
    """Writes into a target; every one of its transactions begins with `hold`, which may forbid it."""

    def __init__(self, source: Side, target: Side, *, batch: int, dry_run: bool = False, hold: Hold) -> None:
        self.source, self.target = source, target
        self.written = Written()
        self.dry_run = dry_run
        self._batch = batch
        self._hold = hold

    def _transaction(self) -> AbstractContextManager[None]:
        return held(self._hold, using=self.target.alias)

    # --- What is gone -------------------------------------------------------------------------------------------------

    def remove_gone(self, table: Table) -> None:
        """Remove the rows that the source has not."""
        for keys in self.target.key_batches(table, self._batch):
            self._remove(table, self.source.missing(table, keys))

    def _remove(self, table: Table, keys: Sequence[Key]) -> None:
        """Remove rows and what belongs to them, and let go of them what only refers to them."""
        if not keys:
            return
        if not self.dry_run:
            for child in TABLES:
                for place, parent in child.parents.items():
                    if parent is table:
                        self._release(child, child.columns[place], keys)
            with self._transaction():
                db.delete(table.model, keys, using=self.target.alias)
        self.written.removed[table.name] += len(keys)

    def _release(self, child: Table, column: str, keys: Sequence[Key]) -> None:
        referring = child.rows_of(self.target.alias).filter(**{f"{column}__in": list(keys)})
        if child.model._meta.get_field(column).null:
            with self._transaction():
                referring.update(**{column: None})
            return
        while found := list(referring.values_list(child.key_column, flat=True)[: self._batch]):
            self._remove(child, found)

    # --- What is new or different -------------------------------------------------------------------------------------

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Write those of the rows that the target has not or not so."""
        self.put_beside(table, rows, self.target.held(table, [table.key(row) for row in rows]))

    def put_beside(self, table: Table, rows: Sequence[Row], held: dict[Key, Row]) -> None:
        """Write those of the rows that are not among the target's, or not so."""
        new = [row for row in rows if table.key(row) not in held]
        changed = [row for row in rows if held.get(table.key(row), row) != row]
        self.write(table, new, changed)

    def write(self, table: Table, new: Sequence[Row], changed: Sequence[Row]) -> None:
        """Insert and update rows in one transaction, or together with their company."""
        if not (new or changed):
            return
        self.written.added[table.name] += len(new)
        self.written.changed[table.name] += len(changed)
        if self.dry_run:
            return
        try:
            with self._transaction():
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
        """Write rows together with those that they need, and those that hold a unique value which is theirs by now."""
        wanted = {table.key(row): row for row in rows}
        for _ in range(WIDENINGS):
            for place, parent in table.parents.items():
                wanted = self._with_parents(parent, place, wanted)
            for row in self._rivals(table, wanted.values()):
                wanted[table.key(row)] = row
            try:
                with self._transaction():
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
        self.write(parent, [empty(row) if parent is CHATS else row for row in found.values()], [])
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


def empty(chat: Row) -> Row:
    """Return a chat's row as it was before its first message."""
    values = list(chat)
    values[_COUNTER] = values[_LAST_SEQ] = 0
    return tuple(values)


def _without(row: Row, place: int) -> Row:
    return row[:place] + row[place + 1 :]
