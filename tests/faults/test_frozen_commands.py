"""Operators' commands that would write into a frozen store, or find none, end with one line and the exit code 1."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chatproject.errors import Maintenance
from tests.conftest import DaphneFactory
from tests.live.server import ROOT

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(120)]

FREEZE = """
from accounts.models import User
from chatproject.stores.models import Freeze, Reason
from messaging import services
ada, bob = (User.objects.create_user(name, f"{name}@example.org", None) for name in ("ada", "bob"))
services.create_chat(creator_id=ada.pk, participant_ids=[bob.pk], title=None)
Freeze(reason=Reason.MAINTENANCE).save(using="default")
"""
NEW_KEY = "new:" + "A" * 43 + "="


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    arguments = [sys.executable, "manage.py", *command]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_commands_stop_in_one_line(daphne: DaphneFactory) -> None:
    """Whichever command it is: they all pass `manage.py`. No file is removed either."""
    server = daphne(started=False)
    server.manage("shell", "-c", FREEZE)
    environment = {
        **server.environment,
        "DJANGO_SUPERUSER_PASSWORD": "correct horse battery staple",
        "PARLEY_MASTER_KEYS": f"{NEW_KEY},{server.environment['PARLEY_MASTER_KEYS']}",
    }
    said = {}

    for command in (
        ["sweep_sessions"],
        ["sweep_attachments"],
        ["rotate_master_key"],
        ["seed_demo"],
        ["createsuperuser", "--noinput", "--username", "root", "--email", "root@example.org"],
    ):
        done = run(environment, *command)
        said[command[0]] = (done.returncode, done.stdout, done.stderr.strip().splitlines()[-1])
        assert "Traceback" not in done.stderr, done.stderr

    assert {name: (code, line.removeprefix("CommandError: ")) for name, (code, _, line) in said.items()} == (
        dict.fromkeys(said, (1, Maintenance.message))
    )
    assert not any(output for _, output, _ in said.values())


def test_a_store_that_is_away_is_said_in_one_line(daphne: DaphneFactory, tmp_path: Path) -> None:
    """By `migrate` above all, the first command of a new deployment: what is wrong, and what to do; no password."""
    server = daphne(started=False)
    text = tmp_path / "text.sqlite3"
    text.write_text("this is no database, but long enough to look like a file of one" * 20)
    start = "start the database, or correct host and port in DATABASE_URL"
    expected = {
        "postgres://parley:secret@127.0.0.1:1/parley": f"127.0.0.1:1/parley: .* refused -> {start}",
        "mongodb://parley:secret@127.0.0.1:1/parley": f"127.0.0.1:1/parley: .* refused -> {start}",
        f"sqlite:///{text}": f"{text}: .* -> this file is not a healthy SQLite database: restore a backup",
        "mysql://parley:secret@host/parley": "Parley cannot start: DATABASE_URL: mysql is not sqlite",
        "postgres://parley:secret@host:port/parley": "Parley cannot start: DATABASE_URL is no address",
    }

    for url, line in expected.items():
        for command in (["migrate"], ["sweep_sessions"]):
            done = run({**server.environment, "DATABASE_URL": url}, *command)
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
