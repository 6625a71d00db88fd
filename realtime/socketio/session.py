"""One client of the Socket.IO door, from its Engine.IO handshake to its end, over whichever transport it uses now.

Once its token is known it has a `realtime.sockets.Socket` like any other client: its frames go to `realtime.dispatch`,
and what is told to it comes through the socket's outbox into the bounded queue that its transport empties.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

import structlog
from engineio.async_socket import AsyncSocket
from engineio.base_server import BaseServer
from engineio.packet import CLOSE, MESSAGE, NOOP, Packet
from structlog.contextvars import bind_contextvars

from accounts.selectors import Principal
from realtime import doors
from realtime.daphne_bounds import INBOUND_FRAMES
from realtime.engine import CLOSING_SECONDS, Engine
from realtime.frames import event_frame
from realtime.socketio import packets
from realtime.socketio.queue import PacketQueue
from realtime.sockets import CloseCode, Socket
from realtime.wire import WIRE

log = structlog.get_logger("parley.socket")

CLOSE_EVENT = "socket:close"
"""What a close frame says, as an event: `{code, reason}`. Polling has no close frame."""

Reason = BaseServer.reason
"""Why python-engineio says that a client is gone."""


class Session:
    """A client. `connection` is python-engineio's part of it; all methods belong to the event loop's thread."""

    def __init__(self, connection: AsyncSocket, *, engine: Engine, writer: packets.Writer, address: str) -> None:
        self.connection = connection
        self.address = address
        self.principal: Principal | None = None
        self.socket: Socket | None = None
        self.was_refused = False
        self.opened_at = time.monotonic()
        self.close_code: int | None = None
        self.requests: set[str] = set()
        self._backlog: Callable[[], int] = lambda: 0
        self._engine = engine
        self._writer = writer
        self._queue: PacketQueue = connection.queue
        self._inbox: asyncio.Queue[str | bytes] = asyncio.Queue(INBOUND_FRAMES)
        self._attachments = 0
        self._context = contextvars.Context()
        self._worker: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    # --- In -----------------------------------------------------------------------------------------------------------

    async def take(self, packet: str | bytes) -> None:
        """Queue an event, or something that is none, behind those before it; waits while too many are waiting.

        The caller reads on meanwhile, so that a long answer does not keep the client's pong from being heard.
        """
        if isinstance(packet, bytes) and self._attachments:
            self._attachments -= 1  # of an event that was refused
        elif self.socket is None:
            await self.close(Reason.SERVER_DISCONNECT)  # nothing but a connect can come first
        else:
            self._attachments = packets.attachments_of(packet) if isinstance(packet, str) else 0
            await self._inbox.put(packet)
            if self._worker is None:
                loop = asyncio.get_running_loop()
                self._worker = loop.create_task(self._work(self.socket), context=self._context)

    async def _work(self, socket: Socket) -> None:
        try:
            while not self._inbox.empty():
                await doors.take(self._engine, socket, self._inbox.get_nowait(), read=packets.read)
        finally:
            self._worker = None

    # --- Out ----------------------------------------------------------------------------------------------------------

    async def open(self, principal: Principal) -> None:
        """Give the client its socket and greet it."""
        socket = Socket(
            user_id=principal.user_id,
            session_id=principal.session_id,
            expires_at=principal.expires_at,
            send=self._send,
            backlog=lambda: self._queue.held + self._backlog(),
        )
        self.socket = socket
        self._context.run(bind_contextvars, socket=socket.id)
        log.info("socket.opened", user_id=str(socket.user_id), address=self.address, socket=socket.id)
        await doors.greet(self._engine, socket)

    def writes_to(self, scope: MutableMapping[str, Any]) -> None:
        """Count what the server holds for this WebSocket from now on as waiting for the client."""
        if wire := scope.get("extensions", {}).get(WIRE):
            self._backlog = wire.backlog

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        """Take what an outbox sends (ASGI, `websocket` protocol): a frame, or the close."""
        if message["type"] == "websocket.close":
            self._end(CloseCode(message["code"]))
        else:
            await self._queue.room()
            self._queue.put_nowait(self._writer.packet(message["text"]))

    def _end(self, code: CloseCode) -> None:
        """Tell the client why it is closed, and let it go once it has taken that.

        Who has no session any more also gets Socket.IO's disconnect, after which a client does not come back by itself.
        """
        self.close_code = code
        if code is CloseCode.SLOW_CONSUMER:
            self._queue.drop()
        told = event_frame(CLOSE_EVENT, {"code": int(code), "reason": code.name.lower()})
        self._queue.put_nowait(Packet(MESSAGE, packets.written(told)))
        if code is CloseCode.UNAUTHENTICATED:
            self._queue.put_nowait(Packet(MESSAGE, packets.DISCONNECT))
        self._ending = asyncio.ensure_future(self._close_soon())

    async def _close_soon(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._queue.join()
                # Behind, not beside: a client that polls drops the events that come in one answer with the close.
                self._queue.put_nowait(None if self.connection.upgraded else Packet(CLOSE))
                await self._queue.join()
        await self.close(Reason.SERVER_DISCONNECT)

    # --- End ----------------------------------------------------------------------------------------------------------

    async def close(self, reason: str) -> None:
        """End the client's connection at once, whoever asks for it."""
        await self.connection.close(wait=False, abort=True, reason=reason)

    async def left(self, reason: str) -> None:
        """Let the socket go: python-engineio has seen the end. What waits for it is woken, and frames are finished."""
        if not self.connection.upgraded:
            self._queue.put_nowait(Packet(NOOP))  # an empty answer to a poll would be none
        self._queue.put_nowait(None)
        socket = self.socket
        if socket is None:
            return
        socket.outbox.abandon()
        try:
            if self._worker is not None:
                await asyncio.wait([self._worker])
        finally:
            self._engine.leave(socket)
            code = self.close_code or (1000 if reason == Reason.CLIENT_DISCONNECT else 1006)
            log.info("socket.closed", user_id=str(socket.user_id), code=int(code), socket=socket.id)
