"""Decides at the handshake who a socket belongs to: the origin first, then the access token.

The token comes in the `Authorization` header, or for browsers in the subprotocol pair `parley.v1, bearer.<token>`; in
the query string it would end up in logs. A refusal is put into the scope: the consumer accepts and closes with its
code, since a browser cannot see why a handshake was refused (RFC 6455, section 10.2 on origins).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from accounts.selectors import authenticate_access_token
from chatproject.addresses import client_address
from chatproject.errors import DomainError, Unavailable
from chatproject.limits import RateLimited, Rule, spend
from realtime.engine import Engine
from realtime.sockets import CloseCode

log = structlog.get_logger("parley.socket")

SUBPROTOCOL = "parley.v1"
TOKEN_PREFIX = "bearer."  # noqa: S105

_CODES: dict[type[DomainError], CloseCode] = {
    RateLimited: CloseCode.FLOOD,
    Unavailable: CloseCode.UNAVAILABLE,
}

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[Any]]


class TokenHandshake:
    """ASGI middleware: sets `scope["principal"]`, or `scope["refusal"]` to the code to close with."""

    def __init__(self, application: Application, *, engine: Engine) -> None:
        self.application = application
        self.engine = engine

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        """Identify the client and pass the socket on, refused or not."""
        scope = dict(scope)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scope["subprotocol"] = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
        scope["address"] = client_address(
            peer=(scope.get("client") or [None])[0],
            forwarded_for=headers.get(b"x-forwarded-for"),
            trusted_proxies=settings.PARLEY_TRUSTED_PROXIES,
        )
        scope["principal"] = None
        scope["refusal"] = await self._refusal(scope, headers)
        # An idle socket stays in the next line for days: what only the handshake needed goes before.
        headers.clear()
        scope["headers"].clear()
        return await self.application(scope, receive, send)

    async def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> CloseCode | None:
        if not origin_is_allowed(headers.get(b"origin"), host=headers.get(b"host", "")):
            return _refused(scope, CloseCode.ORIGIN_NOT_ALLOWED, "origin_not_allowed")
        token = offered_token(headers.get(b"authorization"), scope.get("subprotocols", ()))
        if token is None:
            return _refused(scope, CloseCode.UNAUTHENTICATED, "not_authenticated")
        try:
            spend(Rule.SOCKET, scope["address"])
            scope["principal"] = await self.engine.in_database(authenticate_access_token, token=token)
        except DomainError as error:
            return _refused(scope, _CODES.get(type(error), CloseCode.UNAUTHENTICATED), error.code)
        except Exception:  # the socket boundary: a client can tell "come back later" from a broken handshake
            log.exception("socket.handshake_failed")
            return _refused(scope, CloseCode.UNAVAILABLE, "unavailable")
        return None


def _refused(scope: Scope, code: CloseCode, reason: str) -> CloseCode:
    log.info("socket.refused", code=reason, close=int(code), address=scope["address"])
    return code


def origin_is_allowed(origin: str | None, *, host: str) -> bool:
    """Tell whether a page of this origin may open a socket: our own host, or one of `PARLEY_ALLOWED_ORIGINS`.

    Only browsers send an origin, and they always do; a client without one is not a page.
    """
    if origin is None:
        return True
    if origin in settings.CORS_ALLOWED_ORIGINS:
        return True
    try:
        page = urlsplit(origin).netloc.lower()
    except ValueError:  # no URL at all
        return False
    # The host must be ours, not merely the same: a page can point its own name at our address (DNS rebinding).
    domain, _ = split_domain_port(page)
    return bool(domain) and page == host.lower() and validate_host(domain, settings.ALLOWED_HOSTS)


def offered_token(authorization: str | None, subprotocols: Any) -> str | None:
    """Return the access token of the handshake, or None."""
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None
    for protocol in subprotocols:
        if protocol.startswith(TOKEN_PREFIX):
            return str(protocol[len(TOKEN_PREFIX) :]) or None
    return None
