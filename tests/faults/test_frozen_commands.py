"""Operators' commands that would write into a frozen store end with one line and the exit code 1."""

from __future__ import annotations

import subprocess
import sys

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
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said[command[0]] = (done.returncode, done.stdout, done.stderr.strip().splitlines()[-1])
        assert "Traceback" not in done.stderr, done.stderr

    assert {name: (code, line.removeprefix("CommandError: ")) for name, (code, _, line) in said.items()} == (
        dict.fromkeys(said, (1, Maintenance.message))
    )
    assert not any(output for _, output, _ in said.values())
