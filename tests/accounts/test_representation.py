"""Tests that pin the JSON of people and sessions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import time_machine

from accounts.models import Session, Status, User
from accounts.representation import session_body, tokens_body, user_body
from accounts.tokens import TokenPair
from chatproject.ids import uuid7
from chatproject.times import rfc3339, rfc3339_or_none

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def person() -> User:
    """Return somebody who is away but chose to be seen online."""
    return User(
        username="ada",
        email="ada@example.org",
        status=Status.AWAY,
        chosen_status=Status.ONLINE,
        last_seen=NOON,
        profile_pic="https://example.org/ada.png",
    )


@time_machine.travel(NOON, tick=False)
def test_oneself() -> None:
    """One sees one's address and the status one chose."""
    user = person()

    assert user_body(user, viewer_id=user.pk) == {
        "id": str(user.pk),
        "username": "ada",
        "email": "ada@example.org",
        "profilePic": "https://example.org/ada.png",
        "status": "online",
        "lastSeen": "2026-01-31T12:00:00.000Z",
    }


@time_machine.travel(NOON, tick=False)
def test_somebody_else() -> None:
    """Others see no address, and the status that holds now."""
    user = person()

    assert user_body(user, viewer_id=uuid7()) == {
        "id": str(user.pk),
        "username": "ada",
        "profilePic": "https://example.org/ada.png",
        "status": "away",
        "lastSeen": "2026-01-31T12:00:00.000Z",
    }


def test_a_newcomer() -> None:
    """What is not known is null."""
    body = user_body(User(username="ada"), viewer_id=None)

    assert (body["profilePic"], body["status"], body["lastSeen"]) == (None, "offline", None)


def test_tokens() -> None:
    """The names of the fixed endpoints."""
    assert tokens_body(TokenPair(access_token="a", refresh_token="r", expires_in=600)) == {
        "accessToken": "a",
        "refreshToken": "r",
        "expiresIn": 600,
    }


def test_session() -> None:
    """A session shows where and when it is used, never its hash."""
    session = Session(
        created_at=NOON, refreshed_at=NOON, expires_at=NOON + timedelta(days=30), user_agent="x", ip_address="::1"
    )

    assert session_body(session, current_id=session.pk) == {
        "id": str(session.pk),
        "createdAt": "2026-01-31T12:00:00.000Z",
        "lastUsedAt": "2026-01-31T12:00:00.000Z",
        "expiresAt": "2026-03-02T12:00:00.000Z",
        "userAgent": "x",
        "ipAddress": "::1",
        "current": True,
    }
    assert session_body(session, current_id=uuid7())["current"] is False


def test_times() -> None:
    """UTC, milliseconds cut off, from whatever time zone."""
    moment = datetime(2026, 1, 31, 13, 30, 5, 999_999, tzinfo=timezone(timedelta(hours=1, minutes=30)))

    assert rfc3339(moment) == "2026-01-31T12:00:05.999Z"
    assert rfc3339_or_none(None) is None
