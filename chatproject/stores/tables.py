"""Reads the rows of any store as plain values that can be compared, whichever store they come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import BinaryField, DateTimeField, F, ForeignKey, Model, QuerySet

from accounts.models import Session
from chatproject import db
from messaging.models import Attachment, Chat, ChatKey, ContentAccess, Departure, Membership, Message

Row = tuple[Any, ...]
Key = UUID


class Table:
    """A model's rows: the values of its concrete fields in their order, encrypted ones as ciphertext."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        self.name: str = model._meta.db_table
        self.columns = tuple(field.attname for field in model._meta.concrete_fields)
        self.key_column: str = model._meta.pk.attname
        self.key_place = self.columns.index(self.key_column)

    def __repr__(self) -> str:
        return f"<Table {self.name}>"

    def key(self, row: Row) -> Key:
        """Return the row's primary key."""
        return row[self.key_place]  # type: ignore[no-any-return]

    def place(self, column: str) -> int:
        """Return where in a row a column is."""
        return self.columns.index(column)

    @cached_property
    def parents(self) -> dict[int, Table]:
        """Return the tables that rows refer to, by the place of the reference."""
        return {
            place: BY_MODEL[field.related_model]
            for place, field in enumerate(self.model._meta.concrete_fields)
            if isinstance(field, ForeignKey)
        }

    @cached_property
    def unique_together(self) -> list[tuple[str, ...]]:
        """Return the columns whose values belong to one row alone, beside the primary key."""
        meta: Any = self.model._meta
        alone = [(field.attname,) for field in meta.concrete_fields if field.unique and not field.primary_key]
        together = [one.fields for one in meta.total_unique_constraints]
        return alone + [tuple(meta.get_field(name).attname for name in names) for names in together]

    def rows_of(self, alias: str) -> QuerySet[Any]:
        """Return all rows of a store."""
        return self.model._base_manager.using(alias)

    def count(self, alias: str) -> int:
        """Return how many rows a store has."""
        return self.rows_of(alias).count()

    @cached_property
    def _repairs(self) -> dict[int, Callable[[Any], Any]]:
        repairs: dict[int, Callable[[Any], Any]] = {}
        for place, field in enumerate(self.model._meta.concrete_fields):
            if isinstance(field, BinaryField):
                repairs[place] = _as_bytes
            elif isinstance(field, DateTimeField):
                repairs[place] = _in_milliseconds
        return repairs

    def plain(self, rows: QuerySet[Any], *, coarse: bool) -> list[Row]:
        """Run a query and return its rows; with `coarse` their times in whole milliseconds."""
        repairs = {place: repair for place, repair in self._repairs.items() if coarse or repair is not _in_milliseconds}
        found = rows.values_list(*self.columns)
        return [_repaired(row, repairs) for row in found] if repairs else list(found)


def _repaired(row: Row, repairs: dict[int, Callable[[Any], Any]]) -> Row:
    values = list(row)
    for place, repair in repairs.items():
        values[place] = repair(values[place])
    return tuple(values)


def _as_bytes(value: Any) -> Any:
    """Give what a driver returns as a view of memory as bytes; a ciphertext stays the type that says so."""
    return bytes(value) if isinstance(value, (memoryview, bytearray)) else value


def _in_milliseconds(value: datetime | None) -> datetime | None:
    """Cut off what MongoDB does not keep."""
    if value is None or not value.microsecond % 1000:
        return value
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


USERS, SESSIONS, CHATS, CHAT_KEYS, MEMBERSHIPS, ATTACHMENTS, DEPARTURES, MESSAGES, CONTENT_ACCESSES = (
    Table(model)
    for model in (
        get_user_model(),
        Session,
        Chat,
        ChatKey,
        Membership,
        Attachment,
        Departure,
        Message,
        ContentAccess,
    )
)
TABLES = (
    USERS,
    SESSIONS,
    CHATS,
    CHAT_KEYS,
    MEMBERSHIPS,
    ATTACHMENTS,
    DEPARTURES,
    MESSAGES,
    CONTENT_ACCESSES,
)
"""All that a service keeps in tables of its own; each comes after those it refers to."""
BY_MODEL: dict[type[Model], Table] = {table.model: table for table in TABLES}


def filled(alias: str) -> list[str]:
    """Return the names of the tables in which a store has anything."""
    return [table.name for table in TABLES if table.rows_of(alias).exists()]


class Side:
    """One of the two stores as the copy reads it."""

    def __init__(self, alias: str, *, coarse: bool) -> None:
        """With `coarse` times are cut to milliseconds: one of the two stores is a MongoDB."""
        self.alias = alias
        self._coarse = coarse

    def rows(self, table: Table, query: QuerySet[Any]) -> list[Row]:
        """Run a query."""
        return table.plain(query, coarse=self._coarse)

    def batches(self, table: Table, size: int) -> Iterator[list[Row]]:
        """Yield all rows by their keys, never more than `size` at once."""
        after: Key | None = None
        while True:
            query = table.rows_of(self.alias).order_by(table.key_column)
            if after is not None:
                query = query.filter(**{f"{table.key_column}__gt": after})
            rows = self.rows(table, query[:size])
            if rows:
                yield rows
                after = table.key(rows[-1])
            if len(rows) < size:
                return

    def key_batches(self, table: Table, size: int) -> Iterator[list[Key]]:
        """Yield all keys in their order."""
        after: Key | None = None
        while True:
            query = table.rows_of(self.alias).order_by(table.key_column)
            if after is not None:
                query = query.filter(**{f"{table.key_column}__gt": after})
            keys = list(query.values_list(table.key_column, flat=True)[:size])
            if keys:
                yield keys
                after = keys[-1]
            if len(keys) < size:
                return

    def held(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        """Return those of these rows that are there, by their keys."""
        if not keys:
            return {}
        query = table.rows_of(self.alias).filter(**{f"{table.key_column}__in": list(keys)})
        return {table.key(row): row for row in self.rows(table, query)}

    def between(self, table: Table, rows: Sequence[Row]) -> dict[Key, Row]:
        """Return what is there from the key of the first row to that of the last: one range, where it is not crowded.

        It may be more than `held` returns, never less.
        """
        keys = [table.key(row) for row in rows]
        first, last = {f"{table.key_column}__gte": keys[0]}, {f"{table.key_column}__lte": keys[-1]}
        found = self.rows(table, table.rows_of(self.alias).filter(**first, **last)[: 2 * len(keys)])
        return {table.key(row): row for row in found} if len(found) < 2 * len(keys) else self.held(table, keys)

    def missing(self, table: Table, keys: Sequence[Key]) -> list[Key]:
        """Return those of the keys that are not there."""
        query = table.rows_of(self.alias).filter(**{f"{table.key_column}__in": keys})
        there = set(query.values_list(table.key_column, flat=True))
        return [key for key in keys if key not in there]

    def numbered(self, chat_id: UUID, after: int, upto: int) -> list[QuerySet[Any]]:
        """Return what together selects a chat's messages with a `rev` in `(after, upto]`, each part by an index.

        In SQL a message as it was sent has its `seq` for its `rev`, and is found by that one alone.
        """
        rows = MESSAGES.rows_of(self.alias).filter(chat_id=chat_id)
        by_rev = rows.filter(rev__gt=after, rev__lte=upto)
        if not db.indexes_parts(using=self.alias):
            return [by_rev]
        return [rows.filter(seq__gt=after, seq__lte=upto, rev=F("seq")), by_rev.filter(rev__gt=F("seq"))]
