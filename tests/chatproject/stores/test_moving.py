"""Of two stores one serves: what unlocks a copy, what locks its source, and how either is given up for the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from chatproject.stores import maintenance
from chatproject.stores.claims import LOST
from chatproject.stores.management.commands.maintenance import _described
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.moving import Counting, Move, silent
from chatproject.stores.places import StoreProblem
from chatproject.stores.verification import Verdict
from tests.chatproject.stores.conftest import Pair, person

Off = Callable[[], None]


@pytest.fixture
def copied(pair: Pair) -> Pair:
    """A source in maintenance, with a copy that was verified."""
    person("ada")
    freeze()
    assert passed(pair).good
    return pair


def freeze() -> None:
    """Put the source into maintenance, with nobody to wait for."""
    Freeze.objects.create(reason=Reason.MAINTENANCE, settled_at=timezone.now())


def passed(pair: Pair, show: Callable[[str, int], AbstractContextManager[Counting]] = silent) -> Verdict:
    """Make a pass, verify it and return the verdict."""
    move = Move(pair.source_url, pair.target_url)
    move.copy(silent)
    return move.verify(show)


def may_serve() -> bool:
    """Tell whether the copy may be taken into service."""
    row = Freeze.objects.using("target").get()
    assert row.reason == Reason.COPY
    return row.settled_at is not None


@pytest.fixture
def off_there(monkeypatch: pytest.MonkeyPatch) -> Off:
    """Run `maintenance off` where the new store is configured."""

    def run() -> None:
        with monkeypatch.context() as there:
            there.setattr(maintenance, "DEFAULT_DB_ALIAS", "target")
            maintenance.end()

    return run


def test_what_is_verified_while_people_write_may_not_serve(pair: Pair, off_there: Off) -> None:
    """`store_copy --verify` finds both equal, and a moment later they are not."""
    person("ada")

    verdict = passed(pair)

    assert verdict.good
    assert not may_serve()
    assert "unfinished; takes no writes" in _described(Freeze.objects.using("target").get())
    with pytest.raises(StoreProblem, match="unfinished copy"):
        off_there()
    assert not Freeze.objects.exists()


def test_what_is_frozen_after_the_copy_began_is_not_enough(pair: Pair) -> None:
    """What was in use when the pass began may have been read before the last write."""
    person("ada")
    move = Move(pair.source_url, pair.target_url)
    move.copy(silent)
    freeze()

    assert move.verify(silent).good
    assert not may_serve()


def test_a_source_that_was_in_use_meanwhile_unlocks_nothing(pair: Pair) -> None:
    """Maintenance was ended and begun again while both were compared: at either end of that it was on."""
    person("ada")
    freeze()

    def show(what: str, total: int) -> AbstractContextManager[Counting]:
        maintenance.end()
        freeze()
        return silent(what, total)

    with pytest.raises(StoreProblem, match="taken out of maintenance meanwhile"):
        passed(pair, show)

    assert not may_serve()
    assert not Freeze.objects.get().moved_to


def test_a_source_with_a_verified_copy_stays_frozen(
    copied: Pair, off_there: Off, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the switch and after it; the line says where the copy is and what to run."""
    expected = rf"copied to {copied.target_path}, .* run: manage.py maintenance off --give-up-copy <the URL of "

    call_command("maintenance", "status")
    assert f"copied to {copied.target_path} and verified" in capsys.readouterr().out
    for off in (lambda: None, off_there):
        off()
        with pytest.raises(CommandError, match=expected):
            call_command("maintenance", "off")

    assert not Freeze.objects.using("target").exists()
    assert Freeze.objects.get().moved_to == str(copied.target_path)


def test_a_copy_that_is_given_up_cannot_serve(copied: Pair, off_there: Off) -> None:
    """Its permission goes first, then its source takes writes; copied and verified anew, it may."""
    call_command("maintenance", "off", "--give-up-copy", copied.target_url)

    assert not Freeze.objects.exists()
    assert not may_serve()
    with pytest.raises(StoreProblem, match="unfinished copy"):
        off_there()

    person("bob")
    freeze()
    assert passed(copied).good
    off_there()
    assert set(User.objects.using("target").values_list("username", flat=True)) == {"ada", "bob"}


def test_a_copy_that_serves_is_not_given_up(copied: Pair, off_there: Off) -> None:
    """Two would serve: it has what was written since, or is in maintenance for a move of its own."""
    off_there()
    for there in (None, Freeze(reason=Reason.MAINTENANCE)):
        if there:
            there.save(using="target")
        with pytest.raises(CommandError, match="was taken into service, and has what was written since"):
            call_command("maintenance", "off", "--give-up-copy", copied.target_url)
        with pytest.raises(StoreProblem, match=r"is not empty .* and no unfinished copy"):
            Move(copied.source_url, copied.target_url)

    assert Freeze.objects.exists()


def test_an_empty_store_in_the_place_of_the_copy_holds_nobody_up(copied: Pair, off_there: Off) -> None:
    """It was made anew, and serves nothing."""
    User.objects.using("target").delete()
    off_there()

    call_command("maintenance", "off", "--give-up-copy", copied.target_url)

    assert not Freeze.objects.exists()


def test_a_copy_that_cannot_be_asked_is_given_up_by_a_word_of_its_own(
    copied: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is gone with what was on it."""
    copied.target_path.unlink()
    with pytest.raises(CommandError, match=r"there is no file .* nothing will ever be started on it, add --unreach"):
        call_command("maintenance", "off", "--give-up-copy", copied.target_url)
    assert Freeze.objects.exists()

    call_command("maintenance", "off", "--give-up-copy", copied.target_url, "--unreachable")

    assert not Freeze.objects.exists()
    assert "Drop it before anything is started" in capsys.readouterr().err


def test_unreachable_is_no_way_round_a_copy_that_answers(copied: Pair, off_there: Off) -> None:
    """The word counts for one that cannot be asked alone."""
    off_there()

    with pytest.raises(CommandError, match="was taken into service"):
        call_command("maintenance", "off", "--give-up-copy", copied.target_url, "--unreachable")

    assert Freeze.objects.exists()


def test_only_the_copy_that_there_is_can_be_given_up(pair: Pair) -> None:
    """Another URL, or no copy at all: each line says what to do."""
    freeze()
    with pytest.raises(CommandError, match=r"no verified copy .* run: manage.py maintenance off"):
        call_command("maintenance", "off", "--give-up-copy", pair.target_url)

    Freeze.objects.update(moved_to="/elsewhere.sqlite3")
    with pytest.raises(CommandError, match=r"copied to /elsewhere.sqlite3, not to .* name that one"):
        call_command("maintenance", "off", "--give-up-copy", pair.target_url)
    with pytest.raises(StoreProblem, match=r"copied to /elsewhere.sqlite3 and verified, and only one copy may serve"):
        Move(pair.source_url, pair.target_url)

    assert Freeze.objects.exists()


def test_a_run_that_was_taken_over_writes_no_more(pair: Pair) -> None:
    """It may have hung since before the maintenance: what it has read is old, and the copy may serve by now."""
    person("ada")
    slow = Move(pair.source_url, pair.target_url)

    def show(what: str, total: int) -> AbstractContextManager[Counting]:
        freeze()
        assert passed(pair).good
        person("bob")
        return silent(what, total)

    with pytest.raises(StoreProblem, match=LOST[:30]):
        slow.copy(show)

    assert may_serve()
    assert list(User.objects.using("target").values_list("username", flat=True)) == ["ada"]


def test_a_run_that_hung_does_no_harm_to_a_service(pair: Pair, off_there: Off) -> None:
    """What was written there since is not in its source, and would be removed."""
    person("ada")
    slow = Move(pair.source_url, pair.target_url)

    def show(what: str, total: int) -> AbstractContextManager[Counting]:
        freeze()
        assert passed(pair).good
        off_there()
        User.objects.using("target").create(username="eve", email="eve@example.org")
        return silent(what, total)

    with pytest.raises(StoreProblem, match=LOST[:30]):
        slow.copy(show)

    assert User.objects.using("target").filter(username="eve").exists()
    assert not Freeze.objects.using("target").exists()


def test_a_run_that_was_taken_over_unlocks_nothing(pair: Pair) -> None:
    """Another one has begun to write while it compared."""
    person("ada")
    freeze()

    def show(what: str, total: int) -> AbstractContextManager[Counting]:
        Move(pair.source_url, pair.target_url).copy(silent)
        return silent(what, total)

    with pytest.raises(StoreProblem, match=LOST[:30]):
        passed(pair, show)

    assert not may_serve()


def test_two_first_runs_do_not_share_an_empty_store(pair: Pair) -> None:
    """Both have found it empty; the second one stops."""
    person("ada")
    first, second = (Move(pair.source_url, pair.target_url) for _ in range(2))
    first.copy(silent)

    with pytest.raises(StoreProblem, match=LOST[:30]):
        second.copy(silent)
