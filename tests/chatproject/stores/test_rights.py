"""The administration's groups, rights and log travel by name, in transactions that stay small however long the log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from accounts.models import User
from chatproject.stores import rights
from chatproject.stores.claims import LOST
from chatproject.stores.moving import Move, silent
from chatproject.stores.places import StoreProblem
from tests.chatproject.stores.conftest import Pair, person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada() -> User:
    """An administrator with a group, a right of her own and three entries in the log."""
    ada = person("ada")
    permission = Permission.objects.get(codename="read_content")
    group = Group.objects.create(name="readers")
    group.permissions.add(permission)
    ada.groups.add(group)
    ada.user_permissions.add(permission)
    for number in range(3):
        LogEntry.objects.create(
            action_time=datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=number),
            user=ada,
            content_type=ContentType.objects.get_for_model(User),
            object_id=str(ada.pk),
            object_repr="ada",
            action_flag=CHANGE,
            change_message=f"change {number}",
        )
    return ada


def test_what_is_loaded_is_what_was_dumped(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of what is there, and at most a batch of the log in a transaction and in memory."""
    monkeypatch.setattr(rights, "BATCH", 2)
    before = list(rights.dump())
    Group.objects.create(name="left over")
    LogEntry.objects.all().update(change_message="other")
    held: list[int] = []
    taken: list[Any] = []

    def lines() -> Iterator[Any]:
        for line in before:
            taken.append(line)
            yield line

    rights.load(lines(), hold=lambda: held.append(len(taken)))

    assert list(rights.dump()) == before
    assert [line["kind"] for line in before] == ["group", "person", "log", "log", "log"]
    assert held == [3, 3, 3, 4, 5]  # two of the old log, the rights, two of the new log


def test_rights_go_through_a_pipe(ada: User, pair: Pair) -> None:
    """From the one configuration to the other, in the name of the run that may write."""
    move = Move(pair.source_url, pair.target_url)
    move.copy(silent)

    assert rights.alike(pair.source_url, pair.target_url)
    with closing(sqlite3.connect(pair.target_path, isolation_level=None)) as target:  # whose keys are other ones
        changes = target.execute("SELECT change_message FROM django_admin_log ORDER BY action_time").fetchall()
        assert changes == [("change 0",), ("change 1",), ("change 2",)]
        assert target.execute("SELECT name FROM auth_group").fetchall() == [("readers",)]
        target.execute("UPDATE django_admin_log SET change_message = 'x' WHERE change_message = 'change 1'")
    assert not rights.alike(pair.source_url, pair.target_url)


def test_another_run_may_not_load(ada: User, pair: Pair) -> None:
    """The child says so in one line, and its target stays as it is."""
    Move(pair.source_url, pair.target_url).copy(silent)

    with pytest.raises(StoreProblem, match=f"rights of administrators could not be copied: .*{LOST[:30]}"):
        rights.carry(pair.source_url, pair.target_url, run="another")

    assert rights.alike(pair.source_url, pair.target_url)


def test_the_order_of_one_moment_does_not_count() -> None:
    """What differs does, how often a line is there too."""
    one, other = (json.dumps({"kind": "log", "name": name}).encode() for name in ("a", "b"))

    assert rights._digest([one, other]) == rights._digest([other, one])
    assert rights._digest([one, one]) != rights._digest([one, other])
    assert rights._digest([one, one]) != rights._digest([one])
