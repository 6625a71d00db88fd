"""Reads people and sessions: who holds a token, who is who. Every door asks here who is speaking."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.files.storage import default_storage
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import tokens
from accounts.models import Session, User, normalize_email, username_key
from chatproject import db
from chatproject.errors import DomainError

LAST_CODE_POINT = "\U0010ffff"


class SessionHasEnded(DomainError):
    """The session was signed out, revoked or has expired, or its user is gone."""

    code = "session_ended"
    status = 401
    message = "The session has ended: sign in again."


class UserNotFound(DomainError):
    """There is no active user with this id."""

    code = "user_not_found"
    status = 404
    message = "There is no such user."


class PictureNotFound(DomainError):
    """The user has no such picture, or no longer."""

    code = "not_found"
    status = 404
    message = "There is no such picture."


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is speaking, through which session, and until when (aware UTC) the token at hand holds."""

    user: User
    user_id: UUID
    session_id: UUID
    expires_at: datetime


def authenticate_access_token(*, token: str) -> Principal:
    """Return who holds an access token, with one query.

    Raises `tokens.InvalidToken`, `tokens.TokenExpired` or `SessionHasEnded` (all 401).
    """
    claims = tokens.read_access_token(token)
    session = Session.objects.select_related("user").filter(pk=claims.session_id, user_id=claims.user_id).first()
    if session is None or not is_live(session):
        raise SessionHasEnded
    return Principal(user=session.user, user_id=session.user_id, session_id=session.pk, expires_at=claims.expires_at)


def is_live(session: Session) -> bool:
    """Tell whether a session (fetched with its user) may still be used."""
    return session.ended_at is None and session.expires_at > timezone.now() and session.user.is_active


def live_session_ids(*, session_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the sessions that are neither ended nor expired and whose user is active."""
    return set(_live_sessions().filter(pk__in=list(session_ids)).values_list("pk", flat=True))


def sessions_of(*, user_id: UUID) -> list[Session]:
    """Return a user's live sessions, the newest first."""
    return list(_live_sessions().filter(user_id=user_id).order_by("-pk"))


def _live_sessions() -> QuerySet[Session]:
    return Session.objects.filter(ended_at__isnull=True, expires_at__gt=timezone.now(), user__is_active=True)


def get_user(*, user_id: UUID | None) -> User:
    """Return an active user. Raises `UserNotFound`, also for None (an id that is not a UUID)."""
    user = User.objects.filter(pk=user_id, is_active=True).first() if user_id else None
    if user is None:
        raise UserNotFound
    return user


def active_users(*, ids: Collection[UUID]) -> list[User]:
    """Return those of the users that exist and are active, in no particular order."""
    return list(User.objects.filter(pk__in=list(ids), is_active=True))


def search_users(*, query: str, limit: int, viewer_id: UUID) -> list[User]:
    """Return active users other than the viewer whose name begins with `query`, or whose e-mail address it is.

    A name holds no `@`, so each query is one look-up in one index. Sorted by name.
    """
    match = Q(email=normalize_email(query)) if "@" in query else name_begins_with(username_key(query.strip()))
    found = User.objects.filter(match, is_active=True).exclude(pk=viewer_id).order_by("username_key")
    return list(found[:limit])


def name_begins_with(prefix: str) -> Q:
    """Return the condition in the form that each database answers from its index."""
    if db.vendor() == "postgresql":
        return Q(username_key__startswith=prefix)
    return Q(username_key__gte=prefix, username_key__lt=prefix + LAST_CODE_POINT)


def picture_of(*, user_id: UUID | None, version: str) -> bytes:
    """Return a user's uploaded picture (WebP). Raises `PictureNotFound` unless `version` is that of the present one."""
    user = User.objects.filter(pk=user_id).first() if user_id else None
    if user is None or not _is_picture_of(user, version=version):
        raise PictureNotFound
    try:
        with default_storage.open(picture_name(user_id=user.pk, version=version)) as file:
            return bytes(file.read())
    except FileNotFoundError as error:
        raise PictureNotFound from error


def _is_picture_of(user: User, *, version: str) -> bool:
    """Compare in constant time, so that a version cannot be found out piece by piece."""
    expected = picture_url(user_id=user.pk, version=version)
    return hmac.compare_digest(user.profile_pic.encode(), expected.encode("utf-8", "backslashreplace"))


def picture_url(*, user_id: UUID, version: str) -> str:
    """Return the path under which an uploaded picture is served. The version cannot be guessed."""
    return f"/user/{user_id}/picture?v={version}"


def picture_name(*, user_id: UUID, version: str) -> str:
    """Return the name of the picture's file in the default storage."""
    return f"avatars/{user_id}-{version}.webp"
