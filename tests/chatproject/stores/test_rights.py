"""The administration's groups, rights and log travel by name, in transactions that stay small however long the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group

from accounts.models import User
from chatproject.stores import rights

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_is_loaded_is_what_was_dumped(administrator: User, monkeypatch: pytest.MonkeyPatch) -> None:
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
