"""The only place that knows how the databases differ: transactions, commit hooks and retries.

`django.db.transaction` does nothing on MongoDB, so every write goes through this module (ruff bans the direct import).
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, IntegrityError, InterfaceError, OperationalError, connections
from django.db import transaction as django_transaction

from chatproject.db import freezing
from chatproject.db.freezing import in_transaction
from chatproject.db.rows import delete, insert, load, read, touch, update_each
from chatproject.db.settling import wait_for_writers

if TYPE_CHECKING:
    from django.db.models import QuerySet

__all__ = [
    "Unconfirmed",
    "atomic",
    "delete",
    "discard_broken_connection",
    "fold_log",
    "freezing",
    "has_transactions",
    "in_transaction",
    "indexes_parts",
    "insert",
    "is_away",
    "is_outage",
    "is_transient",
    "keeps_a_log",
    "load",
    "lock",
    "on_commit",
    "read",
    "transactional",
    "update_each",
    "vendor",
    "wait_for_writers",
]

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 20
"""MongoDB lets nobody wait for a row: of several who write one chat at once only the first succeeds."""
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.5
PATIENCE = 30
"""Seconds after which no other try begins: SQLite has waited for 20 of them before it says that it is locked."""

_TRANSIENT_SQLSTATES = {"40001", "40P01"}  # PostgreSQL: serialization_failure, deadlock_detected
_TRANSIENT_SQLITE = ("database is locked", "database table is locked")
_TRANSIENT_MONGODB_LABEL = "TransientTransactionError"

log = structlog.get_logger("parley.db")


class Unconfirmed(OperationalError):
    """A transaction has committed on MongoDB's primary, and no majority has confirmed it in time.

    It stands unless that primary is lost before others have it. Whoever cannot bear that is to ask again.
    """


def vendor() -> str:
    """Return the database in use: `sqlite`, `postgresql` or `mongodb`."""
    return connections[DEFAULT_DB_ALIAS].vendor


def has_transactions() -> bool:
    """Tell whether the database does transactions: a MongoDB that is neither a replica set nor a `mongos` does not."""
    if vendor() != "mongodb":
        return True
    connection: Any = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    hello = connection.database.client.admin.command("hello")
    return bool(hello.get("setName")) or hello.get("msg") == "isdbgrid"


def atomic(*, using: str = DEFAULT_DB_ALIAS) -> AbstractContextManager[None]:
    """Open a transaction, or join the one that is open. Raises `Maintenance` while nothing may be written."""
    freezing.check_writable(using)
    on_mongodb = connections[using].vendor == "mongodb"
    return _writable(_mongodb_atomic(using) if on_mongodb else django_transaction.atomic(using=using), using)


@contextmanager
def _writable(transaction: AbstractContextManager[None], using: str) -> Iterator[None]:
    """Look at the lease once more when the transaction is open: for SQLite's turn it may have waited for 20 s."""
    with transaction:
        freezing.check_writable(using)
        yield


@contextmanager
def _mongodb_atomic(using: str) -> Iterator[None]:
    """Open the backend's transaction, and mend its end.

    A commit that fails raises the driver's own error there, and leaves a session behind that the thread's next
    transaction would take for its own. Raises `Unconfirmed`.
    """
    from django_mongodb_backend import transaction as mongodb_transaction  # noqa: PLC0415  with MongoDB alone
    from pymongo.errors import PyMongoError, WTimeoutError  # noqa: PLC0415

    try:
        with mongodb_transaction.atomic(using=using):
            yield
    except PyMongoError as error:
        connection: Any = connections[using]
        if connection.session is not None and not connection.in_atomic_block_mongo:
            connection.session.end_session()
            connection.session = None
            connection.run_on_commit = []
        kind = Unconfirmed if isinstance(error, WTimeoutError) else DatabaseError
        raise kind(str(error)) from error


def indexes_parts(*, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Tell whether an index can be of those rows alone in which two columns differ; MongoDB compares none."""
    return connections[using].vendor != "mongodb"


def on_commit(action: Callable[[], None], *, robust: bool = False) -> None:
    """Run `action` once the open transaction has committed; at once when none is open.

    What it raises reaches the caller, who then takes the whole write for failed; with `robust` it is only logged.
    """
    django_transaction.on_commit(action, robust=robust)


def lock(rows: QuerySet[Any], *, written: bool = True) -> None:
    """Keep rows as they are until the open transaction ends, before it decides something by them.

    PostgreSQL is asked for it, in the order of the keys so that two transactions cannot wait for each other. An open
    transaction has the whole SQLite database. On MongoDB two transactions see nothing of each other, but where both
    write to a row one of them is run again: one that does not write to the rows itself says so by `written=False`.
    """
    if vendor() == "postgresql":
        list(rows.select_for_update().order_by("pk").values_list("pk"))
    elif vendor() == "mongodb" and not written:
        touch(rows.model, list(rows.values_list("pk", flat=True)))


def keeps_a_log() -> bool:
    """Tell whether the database is a file with a write-ahead log that somebody has to fold: SQLite."""
    return vendor() == "sqlite"


def fold_log() -> None:
    """Fold SQLite's write-ahead log into the database file, beside those who write.

    Left alone, SQLite does it within a commit, which then takes as long as some dozens of others. What is wrong with
    the database is told by whoever writes next.
    """
    with suppress(OperationalError), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")


def transactional(
    *, retry_conflicts: bool = False, trust_unconfirmed: bool = False
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Run the function in one transaction, and again from its start when the database asks for that.

    With `retry_conflicts` a unique violation counts as such a request too: somebody else stored the same thing first,
    and the second try finds it. Inside another transaction the function joins it, and the outer one is what is
    repeated. It must therefore have no effect outside of the database but through `on_commit`. What has committed is
    never repeated, whatever fails afterwards. There are at most `ATTEMPTS` tries, the last begins within `PATIENCE`.

    With `trust_unconfirmed` a commit that is `Unconfirmed` counts as done, without what waited for the commit: for a
    change that nobody could repeat who was told that it failed.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            if in_transaction():
                return function(*args, **kwargs)
            deadline = time.monotonic() + PATIENCE
            committed: list[bool] = []
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with atomic():
                        on_commit(lambda: committed.append(True))
                        result = function(*args, **kwargs)
                except Unconfirmed:
                    if not trust_unconfirmed:
                        raise
                    log.warning("db.unconfirmed", function=function.__qualname__)
                    return result
                except DatabaseError as error:
                    again = is_transient(error) or (retry_conflicts and isinstance(error, IntegrityError))
                    if committed or not again or attempt == ATTEMPTS or time.monotonic() > deadline:
                        raise
                    log.info("db.retry", attempt=attempt, function=function.__qualname__, error=type(error).__name__)
                    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
                    time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                else:
                    return result
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
    return is_away(error) or type(error) is DatabaseError


def is_away(error: BaseException) -> bool:
    """Tell whether what is asked of the database next would wait as long, and fail as well.

    It cannot be asked at all; or it is a MongoDB of which too few members are alive to confirm what is written.
    """
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    if vendor() != "mongodb":
        return False
    from pymongo.errors import ConnectionFailure  # noqa: PLC0415  with MongoDB alone

    return isinstance(error.__cause__, ConnectionFailure)


def discard_broken_connection(error: BaseException) -> None:
    """Close this thread's connection after an error that may have broken it; the next query opens a new one."""
    if isinstance(error, (OperationalError, InterfaceError)) and not in_transaction():
        connections[DEFAULT_DB_ALIAS].close()
