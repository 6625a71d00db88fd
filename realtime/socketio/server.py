"""python-socketio's server, fitted to Parley: it and its session know the library from inside.

The library keeps Engine.IO's sessions, transports, upgrades and heartbeats, and Socket.IO's connect. Events do not go
through its handlers, which cannot ack after a commit while the next event is read, but to the client's own queue
(`realtime.socketio.session`). Its client manager has nothing to tell anybody: events come over our own hub and bus.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import engineio
import socketio
import structlog
from engineio.payload import Payload
from socketio.exceptions import ConnectionRefusedError as Refused
from structlog.contextvars import bound_contextvars

from accounts.selectors import Principal, authenticate_access_token
from chatproject.errors import DomainError, Unavailable, body_of
from chatproject.ids import uuid7
from realtime.daphne_bounds import INBOUND_LIMIT
from realtime.engine import Engine
from realtime.socketio import packets
from realtime.socketio.queue import PacketQueue
from realtime.socketio.session import Reason, Session

log = structlog.get_logger("parley.socket")

SESSION: Final = "parley.session"
ADDRESS: Final = "parley.address"

PAYLOAD_BYTES = 128 * 1024
"""What one request of a client that polls may carry; clients are told so, and send more in several requests."""
PING_INTERVAL = 20.0
"""Seconds between a client's pong and the next ping."""
PING_TIMEOUT = 20.0
"""Seconds without an answer to a ping after which a client is gone."""
CONNECT_SECONDS = 10.0
"""How long a client may take from its handshake to its token."""
WATCH_SECONDS = 1.0

# Above its own limit of 16 the library loses a whole request, and answers that all is well.
Payload.max_decode_packets = INBOUND_LIMIT


class TokenMissing(DomainError):
    """The client sent no access token with its connect."""

    code = "not_authenticated"
    status = 401
    message = "Connect with an access token: io(url, {auth: {token}})."


class TooManyConnections(DomainError):
    """The person has as many sockets on this process as one may have."""

    code = "too_many_connections"
    status = 409
    message = "There are too many connections: close one."


class NoSuchNamespace(DomainError):
    """A namespace other than `/`."""

    code = "not_found"
    status = 404
    message = "There is no such namespace."


class EngineServer(engineio.AsyncServer):
    """Engine.IO with bounded queues."""

    def create_queue(self, *args: Any, **kwargs: Any) -> PacketQueue:
        """Return the queue of what waits for one client."""
        return PacketQueue(*args, **kwargs)


class Server(socketio.AsyncServer):
    """The clients of this door in this process."""

    def __init__(self, engine: Engine) -> None:
        """Everything that this server would do by itself and Parley does (CORS, watching, logging) is off.

        The library's log lines hold what people write, so its loggers stay at errors (`chatproject.logs`).
        """
        super().__init__(
            async_mode="asgi",
            namespaces="*",
            logger=logging.getLogger("socketio.server"),
            engineio_logger=logging.getLogger("engineio.server"),
            cors_allowed_origins=[],
            cors_credentials=False,
            cookie=None,
            http_compression=False,
            monitor_clients=False,
            max_http_buffer_size=PAYLOAD_BYTES,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
        )
        self.engine = engine
        self.sessions: dict[str, Session] = {}
        self._writer = packets.Writer()
        self.on("connect", self._admit)
        self.on("connect", self._refuse_namespace, namespace="*")

    def _engineio_server_class(self) -> type[engineio.AsyncServer]:
        return EngineServer

    async def watch(self) -> None:
        """End the clients that do not answer, and those that never say who they are; with the engine's end, all."""
        try:
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                await self._end_overdue()
        finally:
            for session in list(self.sessions.values()):
                await session.close(Reason.SERVER_DISCONNECT)

    async def _end_overdue(self) -> None:
        for session in list(self.sessions.values()):
            pinged_at = session.connection.last_ping
            if session.socket is None and time.monotonic() - session.opened_at > CONNECT_SECONDS:
                await session.close(Reason.SERVER_DISCONNECT)
            elif pinged_at and time.time() - pinged_at > PING_TIMEOUT:
                await session.close(Reason.PING_TIMEOUT)

    # --- Engine.IO ----------------------------------------------------------------------------------------------------

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        scope = environ["asgi.scope"]
        session = Session(
            self.eio.sockets[eio_sid], engine=self.engine, writer=self._writer, address=str(scope[ADDRESS])
        )
        session.writes_to(scope)
        self.sessions[eio_sid] = scope[SESSION] = session
        # What the library would keep of the request, headers and all, for as long as the client is there.
        await super()._handle_eio_connect(eio_sid, {SESSION: session})

    async def _handle_eio_message(self, eio_sid: str, data: str) -> None:
        session = self.sessions.get(eio_sid)
        if session is None:  # it has just been ended
            return
        if data == packets.DISCONNECT:
            await session.close(Reason.CLIENT_DISCONNECT)
        elif session.was_refused or (session.socket is not None and not data.startswith(f"{packets.CONNECT}/")):
            await session.take(data)
        else:
            await self._connect(session, eio_sid, data)

    async def _connect(self, session: Session, eio_sid: str, data: str) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
        except (ValueError, RecursionError):  # no JSON
            await session.take(data)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        session = self.sessions.pop(eio_sid, None)
        if session is not None:
            await session.left(reason)
        await super()._handle_eio_disconnect(eio_sid, reason)
        self.eio.sockets.pop(eio_sid, None)

    # --- Socket.IO ----------------------------------------------------------------------------------------------------

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        """Answer a connect, and greet who was let in; the library's answer comes first."""
        await super()._handle_connect(eio_sid, namespace, data)
        session = self.sessions.get(eio_sid)
        if session is None:  # gone meanwhile; the library has forgotten it before it was let in
            await self._handle_disconnect(eio_sid, namespace)
        elif session.principal is not None and session.socket is None:
            await session.open(session.principal)

    async def _admit(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        """Let a client in by its token. Raises `Refused`, which becomes its `connect_error`."""
        session: Session = environ[SESSION]
        try:
            session.principal = await self._principal(auth)
        except DomainError as error:
            session.was_refused = True
            raise _refusal(error, address=session.address) from None

    async def _principal(self, auth: Any) -> Principal:
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not token:
            raise TokenMissing
        try:
            principal = await self.engine.in_database(authenticate_access_token, token=token)
        except DomainError:
            raise
        except Exception:  # the socket boundary: a client can tell "come back later" from a bad token
            log.exception("socket.handshake_failed")
            raise Unavailable from None
        if self.engine.hub.is_full_for(principal.user_id):
            raise TooManyConnections
        return principal

    @staticmethod
    def _refuse_namespace(namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
        raise _refusal(NoSuchNamespace(), address=environ[SESSION].address)


def _refusal(error: DomainError, *, address: str) -> Refused:
    with bound_contextvars(request_id=str(uuid7())):
        log.info("socket.refused", code=error.code, address=address)
        return Refused(error.message, body_of(error))
