"""Loses the database's answer to a commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from chatproject import db


def lose_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the next transaction commit, and its caller hear of this error instead: no hook runs."""
    atomic = db.atomic

    @contextmanager
    def deaf() -> Iterator[None]:
        monkeypatch.setattr(db, "atomic", atomic)
        with atomic():
            yield
            connections[DEFAULT_DB_ALIAS].run_on_commit = []
        raise error

    monkeypatch.setattr(db, "atomic", deaf)
