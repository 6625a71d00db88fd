"""The Channels consumer of `/ws`: a plain receive loop, without a channel-layer channel for each socket.

`AsyncJsonWebsocketConsumer` subscribes every socket to the layer and costs about ten times as much a message
(docs/decisions/0003-lean-consumer.md).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import partial
from typing import Any

import structlog
from channels.consumer import AsyncConsumer
from structlog.contextvars import bind_contextvars, clear_contextvars

from realtime import doors
from realtime.dispatch import handle_at_once
from realtime.engine import Engine
from realtime.engine import engine as process_engine
from realtime.sockets import CloseCode, Socket
from realtime.wire import WIRE

log = structlog.get_logger("parley.socket")


class ChatConsumer(AsyncConsumer):
    """Serves one socket from its handshake to its end."""

    engine: Engine = process_engine

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Accept the socket, then answer its frames until it ends (ASGI, `websocket` protocol)."""
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocol"]})
        principal, refusal = scope["principal"], scope["refusal"]
        if refusal is None and self.engine.hub.is_full_for(principal.user_id):
            refusal = CloseCode.TOO_MANY_CONNECTIONS
        if refusal is not None:
            await send({"type": "websocket.close", "code": int(refusal), "reason": refusal.name.lower()})
            return
        wire = scope.get("extensions", {}).get(WIRE)
        socket = Socket(
            user_id=principal.user_id,
            session_id=principal.session_id,
            expires_at=principal.expires_at,
            send=send,
            **({} if wire is None else {"backlog": wire.backlog, "write": wire.write}),
        )
        clear_contextvars()
        bind_contextvars(socket=socket.id)
        log.info("socket.opened", user_id=str(socket.user_id), address=scope["address"])
        scope.clear()  # an idle socket needs nothing of it any more
        del principal
        code: int | None = None
        try:
            await doors.greet(self.engine, socket)
            if wire is not None:
                wire.take = partial(handle_at_once, self.engine, socket)
            code = await self._serve(socket, receive)
        finally:
            if wire is not None:
                wire.take = None
            self.engine.leave(socket)
            log.info("socket.closed", user_id=str(socket.user_id), code=int(socket.closing or code or 1006))

    async def _serve(self, socket: Socket, receive: Any) -> int:
        """Answer frames one after the other and return the code of the end."""
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 1005)
            text = message.get("text")
            await doors.take(self.engine, socket, message.get("bytes") or b"" if text is None else text)


class NoSuchPath(AsyncConsumer):
    """Answers sockets to any other path with a close code instead of a traceback."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Accept, and close with 4404."""
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": int(CloseCode.NOT_FOUND), "reason": "not_found"})
