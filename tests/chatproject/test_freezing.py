"""A frozen store takes no writes, whoever writes and whichever way; who looks how often; reading goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from accounts import services as accounts
from accounts.models import User
from chatproject import db
from chatproject.db import freezing
from chatproject.errors import Maintenance
from chatproject.stores.models import Freeze, Reason

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def in_force() -> Iterator[None]:
    """Look as a server does, from nothing known."""
    freezing.exempt_process(exempt=False)
    freezing.forget()
    yield
    freezing.forget()


@pytest.fixture
def ada() -> User:
    """Somebody."""
    return User.objects.create_user("ada", "ada@example.org", None)


def freeze() -> None:
    """Freeze the store as another process would."""
    Freeze(reason=Reason.MAINTENANCE).save(using=DEFAULT_DB_ALIAS)


WRITES: list[Callable[[User], Any]] = [
    lambda ada: ada.save(),
    lambda ada: ada.delete(),
    lambda ada: User.objects.filter(pk=ada.pk).update(status="away"),
    lambda ada: User.objects.bulk_create([User(username="bob", email="bob@example.org")]),
    lambda ada: User.objects.get_or_create(username="bob"),
    lambda ada: ada.groups.create(name="editors"),
    lambda ada: db.atomic().__enter__(),
    lambda ada: db.insert(User, []),
    lambda ada: db.update_each(User, ["status"], []),
    lambda ada: db.delete(User, []),
    lambda ada: accounts.choose_status(user_id=ada.pk, status="away"),
]


@pytest.mark.parametrize("write", WRITES)
def test_no_way_of_writing_is_left(ada: User, write: Callable[[User], Any]) -> None:
    """The ORM, our own statements and transactions: each refuses, and says when to come back."""
    freeze()
    freezing.forget()

    with pytest.raises(Maintenance) as refused:
        write(ada)

    assert refused.value.retry_after == freezing.RETRY_AFTER
    assert list(User.objects.values_list("username", "status")) == [("ada", "offline")]


def test_a_look_holds_for_a_while(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the lease a write costs no query; after it the store is asked, so no process can miss it for longer."""
    now = 1000.0
    monkeypatch.setattr(freezing.time, "monotonic", lambda: now)
    freezing.look()
    freeze()
    looks: list[str] = []
    monkeypatch.setattr(freezing, "look", lambda: looks.append("look"))

    now += freezing.LEASE_SECONDS - 0.01
    freezing.check_writable()
    assert not looks
    now += 0.02
    freezing.check_writable()

    assert looks == ["look"]


def test_within_the_lease_a_transaction_costs_no_query(ada: User, django_assert_num_queries: Any) -> None:
    """Neither its beginning nor what it writes."""
    freezing.look()
    with db.atomic():
        expected = 0 if db.vendor() == "mongodb" else 1  # the statement itself, which counts in SQL alone
        with django_assert_num_queries(expected):
            db.update_each(User, ["status"], [(ada.pk, "away")])


def test_a_transaction_that_waited_for_its_begin_looks_again(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite gives it its turn after up to 20 s: by then the lease has run out, and the store is frozen."""
    connection: Any = connections[DEFAULT_DB_ALIAS]
    begin = "start_transaction_mongo" if connection.vendor == "mongodb" else "set_autocommit"
    go_on = getattr(connection, begin)
    waited: list[bool] = []

    def wait(*arguments: Any, **options: Any) -> None:
        if not waited:
            waited.append(True)
            freeze()
            freezing._State.until = 0.0
        go_on(*arguments, **options)

    monkeypatch.setattr(connection, begin, wait)
    with pytest.raises(Maintenance), db.atomic():
        raise AssertionError("It is not to get as far as this.")

    assert waited
    assert not db.in_transaction()


@pytest.mark.skipif(db.vendor() == "sqlite", reason="a transaction has the whole database: nobody freezes it meanwhile")
def test_a_long_transaction_looks_again_before_it_writes(ada: User) -> None:
    """Whatever snapshot it reads from: it has no lock yet that anybody could wait for."""

    def write() -> None:
        with db.atomic():
            list(User.objects.values_list("pk"))
            elsewhere(freeze)
            freezing._State.until = 0.0
            db.update_each(User, ["status"], [(ada.pk, "away")])

    with pytest.raises(Maintenance):
        write()

    assert User.objects.get(pk=ada.pk).status == "offline"


def elsewhere(action: Callable[[], Any]) -> None:
    """Do something over a connection of its own, as another process does."""
    thread = Thread(target=lambda: (action(), connections[DEFAULT_DB_ALIAS].close()))
    thread.start()
    thread.join()


def test_a_transaction_whose_store_is_frozen_is_stopped_at_its_next_write(ada: User) -> None:
    """The timer of a server has seen the freeze meanwhile."""

    def write() -> None:
        with db.atomic():
            freezing._State.frozen = True
            db.update_each(User, ["status"], [(ada.pk, "away")])

    with pytest.raises(Maintenance):
        write()

    assert User.objects.get(pk=ada.pk).status == "offline"


@pytest.mark.skipif(db.vendor() == "mongodb", reason="its driver has a pool; how long that may take is waited for")
def test_a_connection_is_there_before_the_look(ada: User) -> None:
    """Otherwise a statement that was allowed could wait for one, for longer than the lease holds."""
    connection: Any = connections[DEFAULT_DB_ALIAS]
    freezing.look()
    connection.close()

    freezing.check_writable()

    assert connection.connection is not None


def test_other_databases_are_written_by_whoever_freezes(ada: User) -> None:
    """A copy into a frozen store is made over a connection of its own."""
    freeze()
    freezing.forget()

    freezing.check_writable("target")


def test_before_the_first_migration_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """`migrate` writes into a store that does not know of freezes yet."""
    monkeypatch.setattr(freezing._State, "has_table", False)
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS].introspection, "table_names", list)

    assert not freezing.look()
