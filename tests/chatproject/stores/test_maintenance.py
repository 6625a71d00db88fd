"""Maintenance begins when nobody writes any more, and ends only for a store that may be written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from chatproject import db
from chatproject.stores import maintenance
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import StoreProblem

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_waits_until_every_process_knows() -> None:
    """The freeze is there before the wait, and settled only after it; a second call waits no more."""
    seen: list[tuple[float, bool]] = []

    def wait(seconds: float, why: str) -> None:
        freeze = Freeze.objects.get()
        seen.append((seconds, freeze.settled_at is None))

    maintenance.begin(wait=wait)
    maintenance.begin(wait=wait)

    assert seen[0] == (maintenance.SETTLING_SECONDS, True)
    assert len(seen) == (2 if db.vendor() == "mongodb" else 1)
    assert Freeze.objects.get().settled_at is not None


def test_killed_while_it_waited_it_begins_again() -> None:
    """Otherwise a copy could take for quiet what is not."""
    Freeze.objects.create(reason=Reason.MAINTENANCE)
    waited: list[float] = []

    maintenance.begin(wait=lambda seconds, why: waited.append(seconds))

    assert waited[0] == maintenance.SETTLING_SECONDS


def test_ended_while_it_waited_it_is_not_settled() -> None:
    """Somebody has said `off` in another terminal."""

    def wait(seconds: float, why: str) -> None:
        Freeze.objects.all().delete()

    with pytest.raises(StoreProblem, match="Somebody else"):
        maintenance.begin(wait=wait)

    assert not Freeze.objects.exists()


def test_an_unfinished_copy_is_not_taken_into_service() -> None:
    """But for an operator who has nothing else left, and says so."""
    Freeze.objects.create(reason=Reason.COPY, source="/old.sqlite3")

    with pytest.raises(StoreProblem, match=r"unfinished copy of /old\.sqlite3"):
        maintenance.end()
    with pytest.raises(CommandError, match="unfinished copy"):
        call_command("maintenance", "off")
    assert Freeze.objects.exists()

    maintenance.end(unverified=True)
    assert not Freeze.objects.exists()


def test_the_command_says_how_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On, status, off, and off once more."""
    monkeypatch.setattr(
        "chatproject.stores.management.commands.maintenance.time", SimpleNamespace(sleep=lambda _: None)
    )

    for what in ("status", "on", "status", "off", "off"):
        call_command("maintenance", what)

    said = capsys.readouterr().out
    assert ("MongoDB tells nobody" in said) == (db.vendor() == "mongodb")
    assert said.index("takes writes") < said.index("Nothing is written") < said.index("in maintenance since")
    assert said.index("takes writes again") < said.index("there was no maintenance")


@pytest.mark.parametrize(
    "arguments",
    [
        ["on", "--unverified"],
        ["status", "--give-up-copy", "sqlite:////x"],
        ["off", "--unreachable"],
        ["off", "--unverified", "--give-up-copy", "sqlite:////x"],
    ],
)
def test_options_that_mean_nothing_together_are_refused(arguments: list[str]) -> None:
    """Rather than passed over, by somebody in a hurry."""
    with pytest.raises(CommandError, match="do not go together"):
        call_command("maintenance", *arguments)
