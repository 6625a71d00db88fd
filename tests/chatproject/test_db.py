"""Tests of transactions: what is tried again, how often, what is not, and what runs after the commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
)
from django.test.utils import CaptureQueriesContext
from pymongo.errors import AutoReconnect

from accounts.models import Session, User
from chatproject import db
from chatproject.ids import uuid7

LOCKED = OperationalError("database is locked")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses between tries instead of waiting."""
    taken: list[float] = []
    # Not `time.sleep` itself: the driver's own threads sleep too.
    monkeypatch.setattr("chatproject.db.time", SimpleNamespace(sleep=taken.append, monotonic=time.monotonic))
    return taken


def failing(times: int, error: Exception, *, retry_conflicts: bool = False) -> tuple[Callable[[], int], list[int]]:
    """Return a transactional function that writes a user and then fails some times, and the list of its calls."""
    calls: list[int] = []

    @db.transactional(retry_conflicts=retry_conflicts)
    def run() -> int:
        calls.append(len(calls) + 1)
        User.objects.create(username=f"user{len(calls)}", username_key=f"user{len(calls)}", email=f"{len(calls)}@x.org")
        if len(calls) <= times:
            raise error
        return len(calls)

    return run, calls


def with_cause(error: DatabaseError, **attributes: Any) -> DatabaseError:
    """Return a database error as Django wraps the driver's."""
    cause = Exception("driver")
    for name, value in attributes.items():
        setattr(cause, name, value)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("times", [0, 1, db.ATTEMPTS - 1])
def test_a_locked_database_is_tried_again(transactional_db: None, pauses: list[float], times: int) -> None:
    """From the start, with growing pauses; what failed tries wrote is undone."""
    run, calls = failing(times, LOCKED)

    assert run() == times + 1

    assert User.objects.count() == 1
    assert len(calls) == times + 1
    assert len(pauses) == times
    assert all(0 < pause <= db.LONGEST_PAUSE for pause in pauses)


def test_it_gives_up(transactional_db: None, pauses: list[float]) -> None:
    """After the last attempt the error is the caller's, and nothing is left."""
    run, calls = failing(99, LOCKED)

    with pytest.raises(OperationalError, match="locked"):
        run()

    assert (len(calls), len(pauses)) == (db.ATTEMPTS, db.ATTEMPTS - 1)
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("error", "retry_conflicts", "again"),
    [
        (OperationalError("database is locked"), False, True),
        (OperationalError("database table is locked: chats"), False, True),
        (OperationalError("disk I/O error"), False, False),
        (DatabaseError("database is locked"), False, False),
        (IntegrityError("UNIQUE constraint failed"), False, False),
        (IntegrityError("UNIQUE constraint failed"), True, True),
        (with_cause(OperationalError("x"), sqlstate="40001"), False, True),
        (with_cause(OperationalError("x"), sqlstate="40P01"), False, True),
        (with_cause(OperationalError("x"), sqlstate="57014"), False, False),
        (
            with_cause(DatabaseError("x"), has_error_label=lambda label: label == "TransientTransactionError"),
            False,
            True,
        ),
        (with_cause(DatabaseError("x"), has_error_label=lambda label: False), False, False),
        (ValueError("database is locked"), True, False),
    ],
)
def test_which_errors_are_worth_another_try(
    transactional_db: None, error: Exception, retry_conflicts: bool, again: bool
) -> None:
    """Those by which the databases ask for it, and unique violations where the function wants that."""
    run, calls = failing(1, error, retry_conflicts=retry_conflicts)

    if again:
        assert run() == 2
    else:
        with pytest.raises(type(error)):
            run()
        assert len(calls) == 1
        assert not User.objects.exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("database or disk is full"), True),
        (InterfaceError("connection already closed"), True),
        (DatabaseError("localhost:27017: connection refused"), True),
        (IntegrityError("UNIQUE constraint failed"), False),
        (ProgrammingError("no such column"), False),
        (ValueError("database is locked"), False),
    ],
)
def test_which_errors_are_outages(error: Exception, expected: bool) -> None:
    """Those that no other request would have avoided."""
    assert db.is_outage(error) is expected


def test_a_database_that_cannot_be_asked() -> None:
    """MongoDB's backend says so in the cause alone; a request that it refuses is no such thing."""
    refused, lost = DatabaseError("too large"), DatabaseError("closed")
    lost.__cause__ = AutoReconnect("closed")

    assert db.is_away(OperationalError("server closed the connection unexpectedly"))
    assert db.is_away(InterfaceError("connection already closed"))
    assert not db.is_away(refused)
    assert db.is_away(lost) is (db.vendor() == "mongodb")


def test_a_joined_function_does_not_repeat_itself(transactional_db: None) -> None:
    """Inside of another transaction the outer one is repeated, as a whole."""
    inner, inner_calls = failing(2, LOCKED)
    outer_calls: list[None] = []

    @db.transactional()
    def outer() -> int:
        outer_calls.append(None)
        assert db.in_transaction()
        return inner()

    assert outer() == 3
    assert (len(outer_calls), len(inner_calls)) == (3, 3)
    assert User.objects.count() == 1
    assert not db.in_transaction()


def test_hooks_run_once_after_the_commit(transactional_db: None) -> None:
    """Those of failed tries are forgotten."""
    seen: list[int] = []
    calls: list[None] = []

    @db.transactional()
    def run() -> None:
        calls.append(None)
        User.objects.create(username="ada", username_key="ada", email="ada@example.org")
        db.on_commit(lambda: seen.append(User.objects.count()))
        assert seen == []
        if len(calls) == 1:
            raise LOCKED

    run()

    assert seen == [1]


def test_without_a_transaction_a_hook_runs_at_once(transactional_db: None) -> None:
    """There is nothing to wait for."""
    seen: list[None] = []

    db.on_commit(lambda: seen.append(None))

    assert seen == [None]


def test_a_robust_hook_that_fails_harms_nobody(transactional_db: None) -> None:
    """The write stands and the caller never hears of it; any other hook's failure is the caller's."""

    def fail() -> None:
        raise RuntimeError("no one listens")

    with db.atomic():
        User.objects.create(username="ada", username_key="ada", email="ada@example.org")
        db.on_commit(fail, robust=True)
    assert User.objects.count() == 1

    with pytest.raises(RuntimeError):
        db.on_commit(fail)


def test_the_name_of_the_function_stays() -> None:
    """Logs and tracebacks name what was decorated."""

    @db.transactional()
    def carefully() -> None:
        """Do something."""

    assert (carefully.__name__, carefully.__doc__) == ("carefully", "Do something.")


def test_locking_asks_only_where_it_has_to(transactional_db: None) -> None:
    """PostgreSQL locks rows; elsewhere what the transaction writes keeps others away, and there is no statement."""
    with CaptureQueriesContext(connections["default"]) as captured, db.atomic():
        db.lock(User.objects.all())

    locking = [query["sql"] for query in captured if "users" in query["sql"]]
    assert bool(locking) == (db.vendor() == "postgresql")
    assert all("FOR UPDATE" in sql for sql in locking)


@pytest.mark.parametrize(("error", "closed"), [(LOCKED, True), (IntegrityError("x"), False)])
def test_a_broken_connection_is_given_up(transactional_db: None, error: Exception, closed: bool) -> None:
    """But never in the middle of a transaction, whose end it would take away."""
    connection = connections["default"]
    connection.ensure_connection()

    with db.atomic():
        db.discard_broken_connection(error)
        assert connection.connection is not None
    db.discard_broken_connection(error)

    assert (connection.connection is None) == closed


# --- Inserting --------------------------------------------------------------------------------------------------------


def values_of(model: Any, **given: Any) -> list[Any]:
    """Return a row with every field's value, in the order of the fields."""
    made = model(**given)
    return [getattr(made, field.attname) for field in model._meta.concrete_fields]


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_inserted_rows_are_what_the_model_would_have_stored(transactional_db: None, count: int) -> None:
    """Every kind of value comes back as it went in: ids, times, numbers, texts, booleans, bytes and what is absent."""
    owner = User.objects.create_user(username="owner", email="owner@x.org", password=None)
    moment = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)
    rows = [
        values_of(
            Session,
            user_id=owner.id,
            refresh_hash=bytes([number]) * 32,
            expires_at=moment,
            created_at=moment,
            refreshed_at=moment,
            user_agent="☕ \"'%s?",
        )
        for number in range(count)
    ]

    db.insert(Session, rows)

    stored = {one.pk: one for one in Session.objects.all()}
    assert len(stored) == count
    for row in rows:
        made = Session(*row)
        assert [getattr(stored[made.pk], field.attname) for field in Session._meta.concrete_fields] == row


def test_a_row_that_is_there_already_is_refused(transactional_db: None) -> None:
    """As a unique violation, which whoever inserts may expect."""
    row = values_of(User, username="one", username_key="one", email="one@x.org")
    db.insert(User, [row])

    with pytest.raises(IntegrityError):
        db.insert(User, [row])


def test_many_rows_take_one_statement(transactional_db: None) -> None:
    """To be inserted, by this module or by the ORM, and to be deleted: more than Django puts into one."""
    rows = [values_of(User, username=f"u{n}", username_key=f"u{n}", email=f"{n}@x.org") for n in range(300)]
    others = [User(username=f"v{n}", username_key=f"v{n}", email=f"{n}@y.org") for n in range(300)]
    ids = [User(*row).pk for row in rows] + [one.pk for one in others]

    with db.atomic(), CaptureQueriesContext(connections["default"]) as captured:
        db.insert(User, rows)
        User.objects.bulk_create(others)
        assert User.objects.count() == len(ids)
        db.delete(User, ids)

    assert len(captured) == 4
    assert not User.objects.exists()


def test_rows_get_values_of_their_own(transactional_db: None) -> None:
    """With one statement's text for all of them; others stay as they are."""
    people = [User.objects.create_user(username=f"u{n}", email=f"{n}@x.org", password=None) for n in range(3)]
    moment = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)

    db.update_each(User, ("status", "last_seen"), [(people[0].pk, "away", moment), (people[2].pk, "online", None)])
    db.update_each(User, ("status",), [])

    found = [User.objects.get(pk=one.pk) for one in people]
    assert [(one.status, one.last_seen) for one in found] == [("away", moment), ("offline", None), ("online", None)]


@pytest.mark.parametrize("lock", [False, True])
def test_rows_are_read_by_their_keys(transactional_db: None, lock: bool) -> None:
    """Those that are there, with the values of the fields asked for; no key takes no query."""
    people = [User.objects.create_user(username=f"u{n}", email=f"{n}@x.org", password=None) for n in range(3)]

    with db.atomic():
        found = db.read(User, ("username", "status"), {people[0].pk, people[2].pk, uuid7()}, lock=lock)
    with CaptureQueriesContext(connections["default"]) as captured:
        assert db.read(User, ("username",), [], lock=lock) == []

    assert sorted(found) == sorted([[people[0].pk, "u0", "offline"], [people[2].pk, "u2", "offline"]])
    assert len(captured) == 0


def test_times_are_not_read_past_the_orm(transactional_db: None) -> None:
    """Each database has its own way of writing them."""
    person = User.objects.create_user(username="u", email="u@x.org", password=None)

    with pytest.raises(NotImplementedError):
        db.read(User, ("last_seen",), [person.pk])
