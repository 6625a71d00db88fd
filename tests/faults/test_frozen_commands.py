"""Operators' commands that would write into a frozen store, or find none, end with one line and the exit code 1."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from chatproject.errors import Maintenance
from messaging import keys, services
from tests.conftest import DaphneFactory
from tests.live.server import ROOT

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(120)]

FREEZE = """
from chatproject.stores.models import Freeze, Reason
Freeze(reason=Reason.MAINTENANCE).save(using="default")
"""
NEW_KEY = ("new", b"\x33" * 32)


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    arguments = [sys.executable, "manage.py", *command]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "command",
    [
        ["sweep_sessions"],
        ["sweep_attachments"],
        ["rotate_master_key"],
        ["seed_demo"],
        ["createsuperuser", "--noinput", "--username", "root", "--email", "root@example.org"],
    ],
    ids=lambda command: command[0],
)
def test_each_command_stops(
    freeze: Callable[[], None],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    """Before it has done or said anything."""
    ada, bob = (User.objects.create_user(name, f"{name}@example.org", None) for name in ("ada", "bob"))
    services.create_chat(creator_id=ada.pk, participant_ids=[bob.pk], title=None)
    settings.PARLEY_MASTER_KEYS = (NEW_KEY, *settings.PARLEY_MASTER_KEYS)
    keys.forget()
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse battery staple")
    freeze()

    with pytest.raises((Maintenance, CommandError)) as refused:
        call_command(*command)

    assert str(refused.value) == Maintenance.message
    assert capsys.readouterr().out == ""


def test_a_command_stops_in_one_line(daphne: DaphneFactory) -> None:
    """Whichever command it is: they all pass `manage.py`."""
    server = daphne(started=False)
    server.manage("shell", "-v0", "-c", FREEZE)

    done = run(server.environment, "sweep_sessions")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{Maintenance.message}\n")


def test_a_store_that_is_away_is_said_in_one_line(daphne: DaphneFactory, tmp_path: Path) -> None:
    """By `migrate` above all, the first command of a new deployment: what is wrong, and what to do; no password."""
    server = daphne(started=False)
    text = tmp_path / "text.sqlite3"
    text.write_text("this is no database, but long enough to look like a file of one" * 20)
    start = "start the database, or correct host and port in DATABASE_URL"
    postgres, mongodb = (f"{name}://parley:secret@127.0.0.1:1/parley" for name in ("postgres", "mongodb"))
    mongodb += "?serverSelectionTimeoutMS=1000"
    damaged = f"{text}: .* -> this file is not a healthy SQLite database: restore a backup"

    for command, url, line in (
        ("migrate", postgres, f"127.0.0.1:1/parley: .* refused -> {start}"),
        ("migrate", mongodb, f"127.0.0.1:1/parley: .* refused -> {start}"),
        ("migrate", f"sqlite:///{text}", damaged),
        ("migrate", "mysql://parley:secret@host/parley", "Parley cannot start: DATABASE_URL: mysql is not sqlite"),
        ("sweep_sessions", postgres, f"127.0.0.1:1/parley: .* refused -> {start}"),
        ("sweep_sessions", mongodb, f"127.0.0.1:1/parley: .* refused -> {start}"),
    ):
        done = run({**server.environment, "DATABASE_URL": url}, command)
        said = done.stdout + done.stderr
        assert (done.returncode, len(said.splitlines())) == (1, 1), said
        assert re.search(line, said), said
        assert "secret" not in said

    done = run({**server.environment, "DATABASE_URL": f"sqlite:///{text}"}, "migrate", "--traceback")
    assert "Traceback" in done.stderr


def test_an_app_that_cannot_be_loaded_is_said_as_it_is(daphne: DaphneFactory, tmp_path: Path) -> None:
    """Nobody asks the store what is wrong before there are models."""
    (tmp_path / "broken_settings.py").write_text(
        "from chatproject.settings import *\nINSTALLED_APPS.append('nowhere')\n"
    )
    server = daphne(started=False, PYTHONPATH=str(tmp_path), DJANGO_SETTINGS_MODULE="broken_settings")

    done = run(server.environment, "migrate")

    assert done.returncode == 1
    assert done.stderr.strip().endswith("ModuleNotFoundError: No module named 'nowhere'")
