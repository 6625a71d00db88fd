"""Reads, inserts and updates many rows of one table: the ORM's work for the hot path of messages, prepared once.

Django compiles each query anew and prepares each value through its field, which costs more than the database does. Here
a statement is made once for a model, and values are adapted by functions that are chosen once. Relations, `pre_save`,
defaults and encryption are left to the caller. MongoDB goes through the ORM and one bulk write. `using` names another
database than the default one, as Django's connections know it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BinaryField, CharField, DateTimeField, Field, ForeignKey, IntegerField, Model, UUIDField

from chatproject.db import freezing

TOUCHES = "touches"

Adapter = Callable[[Any], Any]


def read(model: type[Model], fields: Sequence[str], keys: Collection[Any], *, lock: bool = False) -> list[list[Any]]:
    """Return `[primary key, *values]` of the rows with these keys, in no particular order.

    With `lock` they stay as they are until the open transaction ends, which writes to them (see `db.lock`).
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if not keys:
        return []
    if connection.vendor == "mongodb":
        found = model._default_manager.filter(pk__in=list(keys)).values_list("pk", *fields)
        return [list(row) for row in found]
    table = _table(model, DEFAULT_DB_ALIAS, connection.vendor)
    columns = [table.key, *(table.fields[name] for name in fields)]
    names = ", ".join(column.name for column in columns)
    places = ", ".join(["%s"] * len(keys))
    statement = f"SELECT {names} FROM {table.name} WHERE {table.key.name} IN ({places})"  # noqa: S608
    if lock and connection.vendor == "postgresql":
        statement += f" ORDER BY {table.key.name} FOR UPDATE"
    with connection.cursor() as cursor:
        cursor.execute(statement, [table.key.to_driver(key) for key in keys])
        rows = cursor.fetchall()
    return [[column.from_driver(value) for column, value in zip(columns, row, strict=True)] for row in rows]


def insert(model: type[Model], rows: Sequence[Sequence[Any]], *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Insert rows: the values of all concrete fields, in the order of `model._meta.concrete_fields`, ready to store.

    It takes one statement, in the open transaction, however many there are: PostgreSQL gets them all at once, which
    spares it round trips; SQLite, to which there are none, a row at a time, which spares it statements of each length.
    """
    freezing.check_writable(using)
    connection = connections[using]
    if not rows:
        return
    if connection.vendor == "mongodb":
        model._default_manager.using(using).bulk_create(model(*row) for row in rows)
        return
    table = _table(model, using, connection.vendor)
    adapters = [column.to_driver for column in table.fields.values()]
    adapted = [[adapt(value) for adapt, value in zip(adapters, row, strict=True)] for row in rows]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executemany(table.insert + table.places, adapted)
        else:
            statement = table.insert + ", ".join([table.places] * len(adapted))
            cursor.execute(statement, [value for row in adapted for value in row])


def load(model: type[Model], rows: Sequence[Sequence[Any]], *, using: str) -> None:
    """Insert thousands of rows, by PostgreSQL's COPY where there is one; otherwise as `insert`."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        insert(model, rows, using=using)
        return
    freezing.check_writable(using)
    table = _table(model, using, connection.vendor)
    adapters = [column.to_driver for column in table.fields.values()]
    with connection.cursor() as cursor, cursor.copy(table.copy) as copy:
        for row in rows:
            copy.write_row([adapt(value) for adapt, value in zip(adapters, row, strict=True)])


def update_each(
    model: type[Model], fields: Sequence[str], rows: Sequence[Sequence[Any]], *, using: str = DEFAULT_DB_ALIAS
) -> None:
    """Set fields of many rows, each to values of its own: a row is `(primary key, *values)`, ready to store."""
    freezing.check_writable(using)
    connection = connections[using]
    if connection.vendor == "mongodb":
        _update_each_on_mongodb(connection, model, fields, rows)
        return
    table = _table(model, using, connection.vendor)
    columns = [table.fields[name] for name in fields]
    sets = ", ".join(f"{column.name} = %s" for column in columns)
    statement = f"UPDATE {table.name} SET {sets} WHERE {table.key.name} = %s"  # noqa: S608
    adapters = [column.to_driver for column in (*columns, table.key)]
    values = [[adapt(value) for adapt, value in zip(adapters, (*row[1:], row[0]), strict=True)] for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def delete(model: type[Model], keys: Sequence[Any], *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Delete the rows with these primary keys, and nothing else: what refers to them is the caller's."""
    freezing.check_writable(using)
    connection: Any = connections[using]
    if not keys:
        return
    if connection.vendor == "mongodb":
        key: Any = model._meta.pk
        stored = [key.get_db_prep_save(value, connection) for value in keys]
        _write_on_mongodb(connection, model, "delete_many", {key.column: {"$in": stored}})
        return
    table = _table(model, using, connection.vendor)
    places = ", ".join(["%s"] * len(keys))
    statement = f"DELETE FROM {table.name} WHERE {table.key.name} IN ({places})"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, [table.key.to_driver(key) for key in keys])


def touch(model: type[Model], keys: Sequence[Any]) -> None:
    """Write to these documents of MongoDB without a change that anybody reads, in the open transaction.

    It counts in a field that is in no model: setting a field to the value that it has would be no write.
    """
    from pymongo import UpdateOne  # noqa: PLC0415  with MongoDB alone

    connection: Any = connections[DEFAULT_DB_ALIAS]
    key: Any = model._meta.pk
    stored = [key.get_db_prep_save(value, connection) for value in keys]
    if stored:
        writes = [UpdateOne({key.column: one}, {"$inc": {TOUCHES: 1}}) for one in stored]
        _write_on_mongodb(connection, model, "bulk_write", writes)


def _update_each_on_mongodb(
    connection: Any, model: type[Model], names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    from pymongo import UpdateOne  # noqa: PLC0415  with MongoDB alone

    fields: list[Any] = [model._meta.pk, *(model._meta.get_field(name) for name in names)]
    writes = []
    for row in rows:
        key, *stored = [field.get_db_prep_save(value, connection) for field, value in zip(fields, row, strict=True)]
        columns = [field.column for field in fields[1:]]
        writes.append(UpdateOne({fields[0].column: key}, {"$set": dict(zip(columns, stored, strict=True))}))
    if writes:
        _write_on_mongodb(connection, model, "bulk_write", writes)


def _write_on_mongodb(connection: Any, model: type[Model], method: str, argument: Any) -> None:
    """Call a writing method of the model's collection, in the open transaction.

    What the driver raises must be Django's error, or two processes that write to one chat would not try again.
    """
    from chatproject.db.mongodb.errors import raising_djangos  # noqa: PLC0415  with MongoDB alone

    collection = connection.get_collection(model._meta.db_table)
    raising_djangos(getattr(collection, method))(argument, session=connection.session)


class _Column:
    """A column's quoted name, and what turns its values into the driver's and back."""

    def __init__(self, field: Field[Any, Any], connection: Any) -> None:
        self.name: str = connection.ops.quote_name(field.column)
        self.to_driver, self.from_driver = _adapters(field, connection)


class _Table:
    """A model's table: its quoted name, its columns by the names of their attributes, and how a row is inserted."""

    def __init__(self, model: type[Model], connection: Any) -> None:
        meta = model._meta
        self.name: str = connection.ops.quote_name(meta.db_table)
        self.fields = {field.attname: _Column(field, connection) for field in meta.concrete_fields}
        self.key = self.fields[meta.pk.attname]
        names = ", ".join(column.name for column in self.fields.values())
        self.insert = f"INSERT INTO {self.name} ({names}) VALUES "  # noqa: S608
        self.copy = f"COPY {self.name} ({names}) FROM STDIN"
        self.places = f"({', '.join(['%s'] * len(self.fields))})"


@lru_cache(maxsize=64)
def _table(model: type[Model], using: str, vendor: str) -> _Table:
    return _Table(model, connections[using])


def _adapters(field: Field[Any, Any], connection: Any) -> tuple[Adapter, Adapter]:
    while isinstance(field, ForeignKey):
        field = field.target_field
    if isinstance(field, UUIDField) and not connection.features.has_native_uuid_field:
        return _unless_absent(operator.attrgetter("hex")), _unless_absent(UUID)
    if isinstance(field, DateTimeField):
        adapt = lru_cache(maxsize=4)(connection.ops.adapt_datetimefield_value)
        return _unless_absent(adapt), _cannot_be_read
    if isinstance(field, (CharField, IntegerField, BinaryField, UUIDField)):
        return _as_it_is, _as_it_is
    return partial(field.get_db_prep_save, connection=connection), _cannot_be_read


def _unless_absent(adapt: Adapter) -> Adapter:
    return lambda value: None if value is None else adapt(value)


def _as_it_is(value: Any) -> Any:
    return value


def _cannot_be_read(value: Any) -> Any:
    raise NotImplementedError("Read this kind of field through the ORM.")
