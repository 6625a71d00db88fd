"""The WebSocket of a Socket.IO client: from the start, or after an upgrade from polling."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from structlog.contextvars import clear_contextvars

from chatproject.errors import DomainError
from realtime.socketio.door import BadHandshake, Door, Receive, Scope, Send, door, is_for_library
from realtime.socketio.server import SESSION
from realtime.socketio.session import Session
from realtime.sockets import CloseCode

UPGRADE = frozenset({"2probe", "5"})
"""The packets of an upgrade."""
UPGRADE_SECONDS = 10.0
"""How long an upgrade may take; until then events wait."""


class Relay:
    """Stands between the ASGI server and python-engineio for one WebSocket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.is_open = True

    @property
    def session(self) -> Session | None:
        """The client; the library makes it after it has taken the first message."""
        return self._scope.get(SESSION)

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next message that the library understands; the client is told of others, as of any bad frame."""
        while True:
            message = await self._next()
            session = self.session
            if message["type"] == "websocket.disconnect":
                self.is_open = False
                if session is not None and session.close_code is None:
                    session.close_code = int(message.get("code") or 1005)
            elif message["type"] == "websocket.receive" and session is not None:
                text = message.get("text")
                if text is None or not (is_for_library(text) or text in UPGRADE):
                    await session.take(b"" if text is None else text.removeprefix("4"))
                    continue
            return message

    async def _next(self) -> MutableMapping[str, Any]:
        session = self.session
        if session is None or session.connection.upgraded:
            return await self._receive()
        try:
            async with asyncio.timeout(UPGRADE_SECONDS):
                return await self._receive()
        except TimeoutError:
            return {"type": "websocket.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a message on; a close says why."""
        if message["type"] == "websocket.close":
            if not self.is_open:
                return
            self.is_open = False
            code = self.session.close_code if self.session is not None else None
            if code is not None and code in CloseCode.__members__.values():
                message = {**message, "code": int(code), "reason": CloseCode(code).name.lower()}
        await self._send(message)


class WebSocketDoor:
    """ASGI application for WebSockets to `/socket.io/`.

    Who may not come in gets 403, which a client reports at once; of a close before the first packet it says nothing.
    """

    def __init__(self, at: Door = door) -> None:
        self._door = at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        clear_contextvars()
        try:
            scope, sid = self._door.knock(scope)
            session = None if sid is None else self._door.server.sessions[sid]
            if session is not None and (session.connection.upgrading or session.connection.upgraded):
                raise BadHandshake
        except DomainError:
            await receive()
            await send({"type": "websocket.close"})
            return
        if session is not None:
            scope[SESSION] = session
            session.writes_to(scope)
        relay = Relay(scope, receive, send)
        await self._door.server.handle_request(scope, relay.receive, relay.send)
        if session is not None and not session.connection.upgraded:
            session.connection.upgrading = False  # the library leaves a failed upgrade open, and events with it
        await relay.send({"type": "websocket.close"})
