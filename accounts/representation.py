"""Shapes people and sessions into the JSON of docs/protocol.md."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from accounts.models import Session, User
from accounts.tokens import TokenPair
from chatproject.times import rfc3339, rfc3339_or_none


def user_body(user: User, *, viewer_id: UUID | None) -> dict[str, Any]:
    """Return `{id, username, email, profilePic, status, lastSeen}`.

    To oneself `email` is there and `status` is the chosen one; to others there is no `email`, and `status` is what
    holds now.
    """
    own = user.pk == viewer_id
    body: dict[str, Any] = {"id": str(user.pk), "username": user.username}
    if own:
        body["email"] = user.email
    return body | {
        "profilePic": user.profile_pic or None,
        "status": str(user.chosen_status if own else user.presence()),
        "lastSeen": rfc3339_or_none(user.last_seen),
    }


def tokens_body(pair: TokenPair) -> dict[str, Any]:
    """Return `{accessToken, refreshToken, expiresIn}`."""
    return {
        "accessToken": pair.access_token,
        "refreshToken": pair.refresh_token,
        "expiresIn": pair.expires_in,
    }


def session_body(session: Session, *, current_id: UUID) -> dict[str, Any]:
    """Return `{id, createdAt, lastUsedAt, expiresAt, userAgent, ipAddress, current}`."""
    return {
        "id": str(session.pk),
        "createdAt": rfc3339(session.created_at),
        "lastUsedAt": rfc3339(session.refreshed_at),
        "expiresAt": rfc3339(session.expires_at),
        "userAgent": session.user_agent,
        "ipAddress": session.ip_address,
        "current": session.pk == current_id,
    }
