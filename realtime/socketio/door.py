"""The ASGI applications of `/socket.io/`: who may come in, and what reaches python-engineio of what they send.

The library takes what a client sends for what it should be, so each packet is looked at here first, and events do not
reach it at all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import structlog
from django.conf import settings

from chatproject.addresses import client_address
from chatproject.errors import DomainError
from chatproject.limits import Rule, spend
from realtime.engine import Engine
from realtime.engine import engine as process_engine
from realtime.frames import FRAME_BYTES
from realtime.handshake import origin_is_allowed
from realtime.socketio.server import ADDRESS, Server

log = structlog.get_logger("parley.socket")

PATHS = frozenset({"/socket.io/", "/socket.io"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_FOR_LIBRARY = re.compile(r"4[01]|[13]\Z")


class OriginNotAllowed(DomainError):
    """The page comes from an origin that is not allowed."""

    code = "origin_not_allowed"
    status = 403
    message = "Pages of this origin may not connect."


class BadHandshake(DomainError):
    """A request that is not Engine.IO 4, or names a connection that is not here."""

    message = "There is no such connection here: open a new one with EIO=4."


def is_for_library(packet: str) -> bool:
    """Tell whether an Engine.IO packet is python-socketio's: connect, disconnect, pong or close.

    Everything else is an event, or part of an upgrade, or nothing that a client sends.
    """
    return _FOR_LIBRARY.match(packet) is not None and len(packet) <= FRAME_BYTES


class Door:
    """What the door's two applications share. A server belongs to one run of the engine, and ends with it."""

    def __init__(self, engine: Engine = process_engine) -> None:
        self.engine = engine
        self._server: Server | None = None
        self._run: object = None

    @property
    def server(self) -> Server:
        """The server of the running engine."""
        if self._server is None or self._run is not self.engine.hub:
            self._run = self.engine.hub
            self._server = Server(self.engine)
            self.engine.background(self._server.watch())
        return self._server

    def knock(self, scope: Scope) -> tuple[Scope, str | None]:
        """Return the scope with the client's address, and the connection that it names, or None for a new one.

        Raises `OriginNotAllowed`, `RateLimited` or `BadHandshake`.
        """
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        address = client_address(
            peer=(scope.get("client") or [None])[0],
            forwarded_for=headers.get(b"x-forwarded-for"),
            trusted_proxies=settings.PARLEY_TRUSTED_PROXIES,
        )
        try:
            if not origin_is_allowed(headers.get(b"origin"), host=headers.get(b"host", "")):
                raise OriginNotAllowed
            sid = self._named(scope)
            if sid is None:
                spend(Rule.SOCKET, address)
        except DomainError as error:
            log.info("socket.refused", code=error.code, address=address)
            raise
        return {**scope, ADDRESS: address}, sid

    def _named(self, scope: Scope) -> str | None:
        query: dict[str, list[str]] = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        transport = "websocket" if scope["type"] == "websocket" else "polling"
        if query.get("EIO") != ["4"] or query.get("transport") != [transport] or "j" in query:
            raise BadHandshake
        if "sid" not in query:
            return None
        sid = query["sid"][0]
        if sid not in self.server.sessions:
            raise BadHandshake
        return sid


door = Door()
"""This process's door."""
