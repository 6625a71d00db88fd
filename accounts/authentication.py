"""Tells DRF who sent a request, and the OpenAPI document how that is done."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from accounts.models import User
from accounts.selectors import Principal, authenticate_access_token
from accounts.tokens import InvalidToken

SCHEME = "bearer"


class SessionTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>` (RFC 6750, section 2.1)."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        """Return the user and the `Principal`, or None without a Bearer header.

        Raises `InvalidToken`, `TokenExpired` or `SessionHasEnded`.
        """
        scheme, _, token = get_authorization_header(request).partition(b" ")
        if scheme.lower() != SCHEME.encode():
            return None
        if not token.isascii():
            raise InvalidToken
        principal = authenticate_access_token(token=token.decode().strip())
        bind_contextvars(user_id=str(principal.user_id))
        return principal.user, principal

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 (RFC 6750, section 3)."""
        return 'Bearer realm="api"'


class SessionTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The security scheme in the OpenAPI document."""

    target_class = "accounts.authentication.SessionTokenAuthentication"
    name = "accessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the OpenAPI security scheme object."""
        return {"type": "http", "scheme": SCHEME, "bearerFormat": "JWT"}


def principal_of(request: Request) -> Principal:
    """Return who asks; `SessionTokenAuthentication` has put them there."""
    return cast("Principal", request.auth)
