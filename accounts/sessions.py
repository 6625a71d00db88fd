"""Writes sessions: opens them, turns their refresh tokens over, and ends them (RFC 9700, section 4.14.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.utils import timezone

from accounts import tokens
from accounts.events import SessionEnded
from accounts.models import EndReason, Session
from accounts.selectors import SessionHasEnded, is_live
from chatproject.db import transactional
from chatproject.errors import DomainError
from chatproject.events import publish
from chatproject.ids import uuid7

log = structlog.get_logger("parley.accounts")

USER_AGENT_LENGTH = 256
ADDRESS_LENGTH = 45


class RefreshTokenReused(DomainError):
    """A refresh token was used a second time: it may have been stolen, so the whole session has ended."""

    code = "refresh_token_reused"
    status = 401
    message = "This refresh token was used before; the session has ended."


class RefreshInProgress(DomainError):
    """Another call with the same refresh token was faster; its answer holds the next one."""

    code = "refresh_in_progress"
    status = 401
    message = "This refresh token is just being used by another call."


class SessionNotFound(DomainError):
    """The user has no such live session."""

    code = "session_not_found"
    status = 404
    message = "There is no such session."


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a session is used, as far as the request tells; shown to its user in the list of sessions."""

    user_agent: str = ""
    ip_address: str = ""


UNKNOWN_DEVICE = Device()


def open_session(*, user_id: UUID, device: Device) -> tokens.TokenPair:
    """Store a new session and return its first tokens. Called in the transaction that checked the user."""
    session_id = uuid7()
    pair = _new_pair(user_id=user_id, session_id=session_id)
    now = timezone.now()
    Session.objects.create(
        id=session_id,
        user_id=user_id,
        refresh_hash=tokens.hash_refresh_token(pair.refresh_token),
        created_at=now,
        refreshed_at=now,
        expires_at=now + settings.PARLEY_REFRESH_LIFETIME,
        user_agent=device.user_agent.replace("\0", "")[:USER_AGENT_LENGTH],
        ip_address=device.ip_address[:ADDRESS_LENGTH],
    )
    return pair


def refresh(*, refresh_token: str) -> tokens.TokenPair:
    """Exchange a refresh token for a new pair, and extend the session; exactly one of several parallel calls succeeds.

    The others, which saw the token still in force when they began, get `RefreshInProgress`. A token that was already
    exchanged when the call began ends the session: `RefreshTokenReused`. Raises also `tokens.InvalidRefreshToken` and
    `SessionHasEnded`.
    """
    session_id = tokens.read_refresh_token(refresh_token)
    presented = tokens.hash_refresh_token(refresh_token)
    session = Session.objects.select_related("user").filter(pk=session_id).first()
    if session is None:
        raise tokens.InvalidRefreshToken
    if not is_live(session):
        raise SessionHasEnded
    if bytes(session.refresh_hash) != presented:
        log.warning("session.refresh_reused", session_id=str(session_id), user_id=str(session.user_id))
        end_sessions(user_id=session.user_id, session_ids=[session_id], reason=EndReason.REFRESH_REUSED)
        raise RefreshTokenReused
    pair = _new_pair(user_id=session.user_id, session_id=session_id)
    if not _exchange(session_id=session_id, expected=presented, replacement=pair.refresh_token):
        if Session.objects.filter(pk=session_id, ended_at__isnull=True).exists():
            raise RefreshInProgress
        raise SessionHasEnded
    return pair


def renew_tokens(*, user_id: UUID, session_id: UUID) -> tokens.TokenPair:
    """Replace a live session's tokens, whatever its refresh token is. Raises `SessionHasEnded`."""
    pair = _new_pair(user_id=user_id, session_id=session_id)
    if not _exchange(session_id=session_id, expected=None, replacement=pair.refresh_token):
        raise SessionHasEnded
    return pair


def _new_pair(*, user_id: UUID, session_id: UUID) -> tokens.TokenPair:
    return tokens.TokenPair(
        access_token=tokens.new_access_token(user_id=user_id, session_id=session_id),
        refresh_token=tokens.new_refresh_token(session_id=session_id),
        expires_in=tokens.lifetime_in_seconds(),
    )


@transactional(trust_unconfirmed=True)  # the former token is used up, and would count as stolen when it came again
def _exchange(*, session_id: UUID, expected: bytes | None, replacement: str) -> bool:
    """Compare and set: put the new token's hash where the expected one still is; tell whether it was."""
    now = timezone.now()
    live = Session.objects.filter(pk=session_id, ended_at__isnull=True, expires_at__gt=now)
    if expected is not None:
        live = live.filter(refresh_hash=expected)
    changed = live.update(
        refresh_hash=tokens.hash_refresh_token(replacement),
        refreshed_at=now,
        expires_at=now + settings.PARLEY_REFRESH_LIFETIME,
    )
    return changed == 1


def sign_out(*, user_id: UUID, session_id: UUID) -> None:
    """End the session at hand. To sign out twice is no error."""
    end_sessions(user_id=user_id, session_ids=[session_id], reason=EndReason.LOGOUT)


def end_session(*, user_id: UUID, session_id: UUID | None, reason: EndReason = EndReason.REVOKED) -> None:
    """End one live session of a user. Raises `SessionNotFound`, also for one that is somebody else's or has ended."""
    if session_id is None or not end_sessions(user_id=user_id, session_ids=[session_id], reason=reason):
        raise SessionNotFound


@transactional()
def end_sessions(
    *,
    user_id: UUID,
    reason: EndReason,
    session_ids: list[UUID] | None = None,
    except_id: UUID | None = None,
) -> int:
    """End a user's live sessions, or those of `session_ids`, but `except_id`; return how many.

    Publishes `SessionEnded` for each.
    """
    now = timezone.now()
    live = Session.objects.filter(user_id=user_id, ended_at__isnull=True, expires_at__gt=now)
    if session_ids is not None:
        live = live.filter(pk__in=session_ids)
    if except_id is not None:
        live = live.exclude(pk=except_id)
    # One by one: only the call that ended a session announces it, with the reason that was stored.
    ended = [
        session_id
        for session_id in live.order_by("pk").values_list("pk", flat=True)
        if Session.objects.filter(pk=session_id, ended_at__isnull=True).update(ended_at=now, end_reason=reason)
    ]
    publish(*(SessionEnded(recipients=(user_id,), session_id=session_id, reason=reason.value) for session_id in ended))
    return len(ended)


@transactional()
def forget_dead_sessions(*, before: datetime) -> int:
    """Delete the records of sessions that ended or expired before a time (aware); return how many."""
    ended, _ = Session.objects.filter(ended_at__lt=before).delete()
    expired, _ = Session.objects.filter(expires_at__lt=before).delete()
    return ended + expired
