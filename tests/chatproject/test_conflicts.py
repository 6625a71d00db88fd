"""Tests of retries against real conflicts, on the store of the run: how the database says it, and what is left over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, connection

from accounts.models import User
from chatproject import db
from tests.chatproject import rivals
from tests.chatproject.races import Meanwhile
from tests.chatproject.rivals import Rival

pytestmark = pytest.mark.django_db(transaction=True)

Contest = Callable[[int], tuple[Rival, Callable[[], None], list[int]]]


@pytest.fixture(params=rivals.kinds(), ids=lambda kind: kind.__name__)
def contest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Contest]:
    """Return a function that gives a rival for so many tries, a function that writes, and what commits have seen."""
    made: list[Rival] = []

    def make(times: int) -> tuple[Rival, Callable[[], None], list[int]]:
        person = User.objects.create_user("ada", "ada@example.org", None)
        rival: Rival = request.param(times=times, person=person)
        committed: list[int] = []

        def pause(seconds: float) -> None:
            assert 0 < seconds <= db.LONGEST_PAUSE
            rival.failed()

        monkeypatch.setattr("chatproject.db.time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))

        @db.transactional()
        def write() -> None:
            rival.start()
            User.objects.create_user("bob", "bob@example.org", None)
            db.on_commit(lambda: committed.append(User.objects.count()))
            rival.meet(lambda: User.objects.filter(pk=person.pk).update(status="online") and None)

        made.append(rival)
        rival.begin()
        return rival, write, committed

    yield make
    for rival in made:
        rival.end()
    connection.close()  # with the settings that the rival has given it


@pytest.mark.parametrize("times", [0, 1, 3, db.ATTEMPTS - 1])
def test_it_succeeds_once_the_rival_is_gone(contest: Contest, times: int) -> None:
    """After as many tries as it takes, with the effect of the last one alone; the hook runs once."""
    rival, write, committed = contest(times)

    write()

    assert rival.failures == times
    assert committed == [2]
    assert User.objects.get(username="ada").status == "online"
    assert User.objects.filter(username="bob").count() == 1
    assert not db.in_transaction()


def test_it_gives_up_and_leaves_nothing(contest: Contest) -> None:
    """After the last try the error is the caller's; no hook ran, and the thread's next transaction is a new one."""
    rival, write, committed = contest(db.ATTEMPTS)

    with pytest.raises(DatabaseError) as caught:
        write()
    rival.failed()  # after the last try nobody pauses
    with db.atomic():
        User.objects.create_user("eve", "eve@example.org", None)

    assert db.is_transient(caught.value)
    assert rival.failures == db.ATTEMPTS
    assert committed == []
    assert sorted(User.objects.values_list("username", flat=True)) == ["ada", "eve"]


def test_what_has_committed_is_not_repeated(contest: Contest) -> None:
    """A hook that meets a conflict fails its caller, who finds the write done once."""
    _, write, committed = contest(0)
    locked = DatabaseError("conflict")
    locked.__cause__ = Exception("driver")
    locked.__cause__.sqlstate = "40001"  # type: ignore[attr-defined]

    @db.transactional()
    def write_and_fail() -> None:
        write()

        def fail() -> None:
            raise locked

        db.on_commit(fail)

    with pytest.raises(DatabaseError, match="conflict"):
        write_and_fail()

    assert committed == [2]
    assert User.objects.filter(username="bob").count() == 1


def test_patience_has_an_end(contest: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the tries were, none begins after so many seconds."""
    rival, write, committed = contest(db.ATTEMPTS)
    monkeypatch.setattr(db, "PATIENCE", 0)

    with pytest.raises(DatabaseError):
        write()

    assert (rival.failures, committed) == (0, [])


def test_whoever_locks_the_same_row_comes_after() -> None:
    """On every store, although neither writes to it, and nobody who reads the row sees anything of it."""
    person = User.objects.create_user("ada", "ada@example.org", None)
    before = User.objects.values().get()
    order: list[str] = []

    @db.transactional()
    def take(name: str, then: Callable[[], object] = lambda: None) -> None:
        db.lock(User.objects.filter(pk=person.pk), written=False)
        order.append(f"{name} begins")
        then()
        order.append(f"{name} ends")

    other = Meanwhile(lambda: take("second"))
    take("first", then=other)
    other.result()
    other.end()

    assert order == ["first begins", "first ends", "second begins", "second ends"]
    assert User.objects.values().get() == before
