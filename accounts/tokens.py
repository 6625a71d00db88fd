"""Makes and reads the two tokens of a session: the access token (a JWT) and the refresh token (opaque to clients)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError

from chatproject import ids
from chatproject.errors import DomainError

SESSION_ID_BYTES = 16
SECRET_BYTES = 32
TAG_BYTES = 16
REFRESH_TOKEN_LENGTH = 86
"""Characters of base64 for the 64 bytes of a refresh token, without padding."""

LONGEST_ACCESS_TOKEN = 1024
"""Ours have about 380 characters; longer ones are not parsed at all."""


class InvalidToken(DomainError):
    """The access token is not one of ours."""

    code = "invalid_token"
    status = 401
    message = "The access token is not valid."


class TokenExpired(DomainError):
    """The access token was ours, but its time is over: refresh it."""

    code = "token_expired"
    status = 401
    message = "The access token has expired."


class InvalidRefreshToken(DomainError):
    """The refresh token was never issued, or belongs to nobody any more."""

    code = "invalid_refresh_token"
    status = 401
    message = "The refresh token is not valid: sign in again."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What a client holds for a session; `expires_in` is the access token's life in seconds. Kept out of reprs."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """What a valid access token says."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime


class AccessToken(simplejwt.AccessToken):
    """The JWT (RFC 7519, RFC 8725): claims `sub`, `sid` (the session), `iss`, `aud`, `exp`, `jti` and `token_type`."""

    def set_iat(self, claim: str = "iat", at_time: datetime | None = None) -> None:
        """Leave `iat` out: a server whose clock is a little behind would refuse a fresh token for it."""


def lifetime_in_seconds() -> int:
    """Return how long a new access token holds."""
    return int(cast("timedelta", settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"]).total_seconds())


def new_access_token(*, user_id: UUID, session_id: UUID) -> str:
    """Return a signed access token that holds for `lifetime_in_seconds()`."""
    token = AccessToken()
    token["sub"] = str(user_id)
    token["sid"] = str(session_id)
    return str(token)


def read_access_token(token: str) -> AccessClaims:
    """Verify signature, algorithm, `exp`, `iss`, `aud` and type. Raises `InvalidToken` or `TokenExpired`."""
    if len(token) > LONGEST_ACCESS_TOKEN or not token.isascii():
        raise InvalidToken
    try:
        claims: dict[str, Any] = AccessToken(token).payload  # type: ignore[arg-type]
    except ExpiredTokenError as error:
        raise TokenExpired from error
    except (TokenError, RecursionError) as error:
        raise InvalidToken from error
    user_id, session_id = ids.parse(claims.get("sub")), ids.parse(claims.get("sid"))
    if user_id is None or session_id is None:
        raise InvalidToken
    return AccessClaims(
        user_id=user_id, session_id=session_id, expires_at=datetime.fromtimestamp(claims["exp"], tz=UTC)
    )


def new_refresh_token(*, session_id: UUID) -> str:
    """Return base64url of `session id (16) | random (32) | HMAC-SHA256 of both, cut to 16 bytes`."""
    body = session_id.bytes + secrets.token_bytes(SECRET_BYTES)
    return base64.urlsafe_b64encode(body + _tag(body)).rstrip(b"=").decode()


def read_refresh_token(token: str) -> UUID:
    """Return the session of a refresh token that we issued at some time. Raises `InvalidRefreshToken`.

    The tag proves the issue: a token made up by somebody who knows a session's id cannot pass for a reused one, and so
    cannot end that session.
    """
    raw = _decode(token)
    body, tag = raw[:-TAG_BYTES], raw[-TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(body)):
        raise InvalidRefreshToken
    return UUID(bytes=body[:SESSION_ID_BYTES])


def hash_refresh_token(token: str) -> bytes:
    """Return what is stored of a refresh token: SHA-256 of its bytes, which are random and so need no salt."""
    return hashlib.sha256(_decode(token)).digest()


def _decode(token: str) -> bytes:
    if len(token) != REFRESH_TOKEN_LENGTH or not token.isascii():
        raise InvalidRefreshToken
    try:
        return base64.b64decode(token + "==", altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise InvalidRefreshToken from error


def _tag(body: bytes) -> bytes:
    key = _refresh_key(settings.SIMPLE_JWT["SIGNING_KEY"])
    return hmac.digest(key, body, "sha256")[:TAG_BYTES]


@lru_cache(maxsize=4)
def _refresh_key(signing_key: str) -> bytes:
    """Derive a key of its own purpose (RFC 5869), so that neither kind of token can be made from the other."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"parley refresh token v1").derive(signing_key.encode())
