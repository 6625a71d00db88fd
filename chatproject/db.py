"""The only place that knows how the databases differ: transactions, commit hooks and retries.

`django.db.transaction` does nothing on MongoDB, so every write goes through this module (ruff bans the direct import).
"""

from __future__ import annotations

import functools
import operator
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, IntegrityError, InterfaceError, OperationalError, connections
from django.db import transaction as django_transaction
from django.db.models import BinaryField, CharField, DateTimeField, ForeignKey, IntegerField, UUIDField

if TYPE_CHECKING:
    from django.db.models import Field, Model, QuerySet

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound="Model")

ATTEMPTS = 6
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.5

_ROWS_AT_ONCE = 64

_TRANSIENT_SQLSTATES = {"40001", "40P01"}  # PostgreSQL: serialization_failure, deadlock_detected
_TRANSIENT_SQLITE = ("database is locked", "database table is locked")
_TRANSIENT_MONGODB_LABEL = "TransientTransactionError"

log = structlog.get_logger("parley.db")


def vendor() -> str:
    """Return the database in use: `sqlite`, `postgresql` or `mongodb`."""
    return connections[DEFAULT_DB_ALIAS].vendor


def atomic() -> AbstractContextManager[None]:
    """Open a transaction, or join the one that is open."""
    if vendor() == "mongodb":
        from django_mongodb_backend import transaction as mongodb_transaction  # noqa: PLC0415

        return mongodb_transaction.atomic()  # type: ignore[no-any-return]
    return django_transaction.atomic()


def in_transaction() -> bool:
    """Tell whether this thread has a transaction open."""
    connection = connections[DEFAULT_DB_ALIAS]
    return bool(getattr(connection, "in_atomic_block_mongo", False) or connection.in_atomic_block)


def on_commit(action: Callable[[], None], *, robust: bool = False) -> None:
    """Run `action` once the open transaction has committed; at once when none is open.

    What it raises reaches the caller, who then takes the whole write for failed; with `robust` it is only logged.
    """
    django_transaction.on_commit(action, robust=robust)


def locked(rows: QuerySet[M]) -> QuerySet[M]:
    """Return the rows so that reading them keeps them as they are until the open transaction ends.

    Only PostgreSQL has to be asked, in the order of the keys so that two transactions cannot wait for each other. An
    open transaction has the whole SQLite database; on MongoDB the one that writes a changed row is run again.
    """
    return rows.select_for_update().order_by("pk") if vendor() == "postgresql" else rows


def lock(rows: QuerySet[Any]) -> None:
    """Keep rows as they are until the open transaction ends, before it decides something by them."""
    if vendor() == "postgresql":
        list(locked(rows).values_list("pk"))


def insert(model: type[Model], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows: the values of all concrete fields, in the order of `model._meta.concrete_fields`, ready to store.

    It is `bulk_create` for a hot path: preparing each value through its field costs Django more than storing it. What
    the models' fields would do on the way (`pre_save`, encryption) is left to the caller.
    """
    if vendor() == "mongodb":
        model._default_manager.bulk_create(model(*row) for row in rows)
        return
    connection = connections[DEFAULT_DB_ALIAS]
    head, places, adapt = _insertion(model, connection)
    adapted = [adapt(row) for row in rows]
    with connection.cursor() as cursor:
        for start in range(0, len(adapted), _ROWS_AT_ONCE):
            part = adapted[start : start + _ROWS_AT_ONCE]
            cursor.execute(head + ", ".join([places] * len(part)), [value for row in part for value in row])


def update_each(model: type[Model], fields: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Set fields of many rows, each to values of its own: a row is `(primary key, *values)`, ready to store.

    It is `bulk_update` for a hot path: one prepared statement, or one call on MongoDB.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    key: Any = model._meta.pk
    columns: list[Any] = [model._meta.get_field(name) for name in fields]
    if vendor() == "mongodb":
        _update_each_on_mongodb(connection, model, [key, *columns], rows)
        return
    quote = connection.ops.quote_name
    sets = ", ".join(f"{quote(field.column)} = %s" for field in columns)
    statement = f"UPDATE {quote(model._meta.db_table)} SET {sets} WHERE {quote(key.column)} = %s"  # noqa: S608
    adapters = [_adapter(field, connection) or _as_it_is for field in (*columns, key)]
    values = [[adapt(value) for adapt, value in zip(adapters, (*row[1:], row[0]), strict=True)] for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def _update_each_on_mongodb(
    connection: Any, model: type[Model], fields: Sequence[Any], rows: Sequence[Sequence[Any]]
) -> None:
    from pymongo import UpdateOne  # noqa: PLC0415  with MongoDB alone

    writes = []
    for row in rows:
        pairs = zip(fields, row, strict=True)
        key, *stored = [field.get_db_prep_save(value, connection) for field, value in pairs]
        names = [field.column for field in fields[1:]]
        writes.append(UpdateOne({fields[0].column: key}, {"$set": dict(zip(names, stored, strict=True))}))
    if writes:
        connection.get_collection(model._meta.db_table).bulk_write(writes, session=connection.session)


def _as_it_is(value: Any) -> Any:
    return value


def _insertion(model: type[Model], connection: Any) -> tuple[str, str, Callable[[Sequence[Any]], list[Any]]]:
    """Return the statement up to its rows, the places of one row, and what turns a row into the driver's values."""
    fields = model._meta.concrete_fields
    quote = connection.ops.quote_name
    columns = ", ".join(quote(field.column) for field in fields)
    adapters = [(place, adapter) for place, field in enumerate(fields) if (adapter := _adapter(field, connection))]

    def adapt(row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, adapter in adapters:
            if values[place] is not None:
                values[place] = adapter(values[place])
        return values

    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608  names of our own models
    return head, f"({', '.join(['%s'] * len(fields))})", adapt


def _adapter(field: Field[Any, Any], connection: Any) -> Callable[[Any], Any] | None:
    """Return what a value of this field has to become for the driver; None when it is taken as it is."""
    while isinstance(field, ForeignKey):
        field = field.target_field
    if isinstance(field, UUIDField):
        return None if connection.features.has_native_uuid_field else operator.attrgetter("hex")
    if isinstance(field, DateTimeField):
        return functools.lru_cache(maxsize=4)(connection.ops.adapt_datetimefield_value)
    if isinstance(field, (CharField, IntegerField, BinaryField)):
        return None
    return functools.partial(field.get_db_prep_save, connection=connection)


def transactional(*, retry_conflicts: bool = False) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Run the function in one transaction, and again from its start when the database asks for that.

    With `retry_conflicts` a unique violation counts as such a request too: somebody else stored the same thing first,
    and the second try finds it. Inside another transaction the function joins it, and the outer one is what is
    repeated. It must therefore have no effect outside of the database but through `on_commit`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            if in_transaction():
                return function(*args, **kwargs)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with atomic():
                        return function(*args, **kwargs)
                except DatabaseError as error:
                    again = is_transient(error) or (retry_conflicts and isinstance(error, IntegrityError))
                    if attempt == ATTEMPTS or not again:
                        raise
                    log.info("db.retry", attempt=attempt, function=function.__qualname__, error=type(error).__name__)
                    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
                    time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            raise AssertionError("unreachable")

        return run

    return decorate


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when it is tried again."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _TRANSIENT_SQLSTATES:
        return True
    has_label = getattr(cause, "has_error_label", None)
    if has_label is not None and has_label(_TRANSIENT_MONGODB_LABEL):
        return True
    return isinstance(error, OperationalError) and any(text in str(error) for text in _TRANSIENT_SQLITE)


def is_outage(error: BaseException) -> bool:
    """Tell whether the database is away, full or broken: nothing that the caller has done, and it may pass.

    MongoDB's backend raises all that a server can say, but a unique violation, as a plain `DatabaseError`.
    """
    return isinstance(error, (OperationalError, InterfaceError)) or type(error) is DatabaseError


def discard_broken_connection(error: BaseException) -> None:
    """Close this thread's connection after an error that may have broken it; the next query opens a new one."""
    if isinstance(error, (OperationalError, InterfaceError)) and not in_transaction():
        connections[DEFAULT_DB_ALIAS].close()
