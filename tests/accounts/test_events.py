"""Tests that pin what the events of people and sessions say."""

from __future__ import annotations

from accounts.events import SessionEnded, StatusChosen
from chatproject.ids import uuid7


def test_session_end() -> None:
    """The frame tells the reason and nothing else."""
    user_id = uuid7()

    event = SessionEnded(recipients=(user_id,), session_id=uuid7(), reason="logout")

    assert event.name == "session:end"
    assert event.data() == {"reason": "logout"}


def test_user_status() -> None:
    """It is addressed by realtime, so it has no recipients of its own."""
    user_id = uuid7()

    event = StatusChosen(recipients=(), user_id=user_id, status="away")

    assert event.name == "user:status"
    assert event.data() == {"userId": str(user_id), "status": "away"}
