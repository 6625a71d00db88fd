"""Bounds what Daphne 4 would buffer without end: the only place that knows Daphne, Twisted and autobahn from inside.

Daphne writes to a peer that does not read until memory is gone, queues inbound frames as fast as they come, and takes a
whole request body before the application sees the request. Here a socket's reading pauses while its frames wait to be
handled, a socket that still overruns its bounds is closed with a named code, a body beyond every limit is refused while
it arrives, and an answer is written as fast as it is read. On another ASGI server this module does nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from daphne import http_protocol, server, ws_protocol
from twisted.internet.defer import Deferred

from chatproject.body_limit import KIB, UPLOADS
from realtime.sockets import CloseCode

INBOUND_FRAMES = 64
"""Frames waiting to be handled at which reading pauses."""
INBOUND_LIMIT = 1024
"""Frames waiting at which the socket is closed: one read can bring more than the pause can stop."""
OUTBOUND_BYTES = KIB * KIB
"""Bytes written and not yet taken by the peer's kernel at which the socket is closed."""
LARGEST_BODY = max(UPLOADS.values()) + KIB * KIB

INVALID_PAYLOAD = 1007
BACKLOG = "parley.backlog"
"""The ASGI extension by which a socket's application can ask how many bytes wait for its peer."""
READER_SECONDS = 0.01
"""How often a waiting answer looks whether its reader has caught up."""
STALLED_SECONDS = 20.0
"""How long a reader of an answer may take nothing."""
ANSWER_SECONDS = 3.0
"""How long requests under way may take to be answered once the process is to end."""
SHUTDOWN_SECONDS = 8
"""How long sockets and what is under way may take to end; Daphne's own end follows."""

log = structlog.get_logger("parley.daphne")

_REFUSAL_BODY = b'{"error":{"code":"body_too_large","message":"The body is too large.","fields":{},"requestId":null}}'
_REFUSAL = (
    b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSAL_BODY), _REFUSAL_BODY)
)


def unsent_bytes(transport: Any) -> int:
    """Return how much a Twisted TCP transport holds for its peer."""
    inner = getattr(transport, "transport", transport)  # a TLS wrapper holds the TCP transport
    held = len(getattr(inner, "dataBuffer", b"")) - getattr(inner, "offset", 0)
    return int(held + getattr(inner, "_tempDataLen", 0))


def is_utf8(payload: bytes) -> bool:
    """Tell whether the bytes are UTF-8."""
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class BoundedSocket(ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """A WebSocket that buffers within bounds in both directions."""

    failByDrop = False  # noqa: N815  a message above autobahn's limit is answered by its close code, not by a reset
    utf8validateIncoming = False  # noqa: N815  checked here, where it is decoded, and not twice
    _paused = False
    _shut_with: CloseCode | None = None

    def applicationCreateWorked(self, application_queue: asyncio.Queue[Any]) -> None:  # noqa: N802
        """Resume reading when the application has caught up."""
        take = application_queue._get

        def take_and_resume() -> Any:
            item = take()
            if self._paused and application_queue.qsize() < INBOUND_FRAMES // 2:
                self._paused = False
                self.transport.resumeProducing()
            return item

        application_queue._get = take_and_resume  # type: ignore[method-assign]
        super().applicationCreateWorked(application_queue)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Queue a frame for the application; text that is no UTF-8 ends the socket (RFC 6455, section 8.1)."""
        if not isBinary and not is_utf8(payload):
            self.muted = True
            self.sendCloseFrame(code=INVALID_PAYLOAD, reasonUtf8=b"invalid UTF-8", isReply=False)
            return
        waiting = self.application_queue.qsize()
        if waiting >= INBOUND_LIMIT:
            self._shut(CloseCode.FLOOD)
        super().onMessage(payload, isBinary)
        if waiting >= INBOUND_FRAMES and not self._paused and not self.muted:
            self._paused = True
            self.transport.pauseProducing()

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802
        """Write a frame, unless the peer has stopped reading."""
        if self.backlog() > OUTBOUND_BYTES:
            self._shut(CloseCode.SLOW_CONSUMER)
        if self.state not in (self.STATE_CLOSING, self.STATE_CLOSED):  # autobahn raises at those
            super().serverSend(content, binary)

    def backlog(self) -> int:
        """Return the bytes that wait for the peer; none once the socket is closing."""
        return unsent_bytes(self.transport) if self.state == self.STATE_OPEN else 0

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802
        """Close with the name of the code as its reason, which Daphne drops, and with 1012, which autobahn refuses."""
        names = {int(known): known.name.lower() for known in CloseCode}
        self.sendCloseFrame(code=code or 1000, reasonUtf8=names.get(code or 0, "").encode(), isReply=False)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N802, N803
        """Tell the application of the end, also when it was a bound that ended the socket."""
        self.muted = False
        super().onClose(wasClean, self._shut_with or code, reason)

    def _shut(self, code: CloseCode) -> None:
        """Close; a peer that does not answer the close is dropped by autobahn's handshake time-out."""
        if self.state == self.STATE_OPEN:
            self.muted = True
            self._shut_with = code
            self.sendClose(code=int(code), reason=code.name.lower())


class BoundedRequest(http_protocol.WebRequest):  # type: ignore[misc]
    """A request whose body ends the connection when it passes every limit, and whose answer waits for its reader."""

    _taken = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Refuse by the declared length."""
        super().gotLength(length)
        if length is not None and length > LARGEST_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Refuse by what has come."""
        self._taken += len(data)
        if self._taken > LARGEST_BODY:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Pass a whole request on."""
        if not self._refused:
            super().requestReceived(command, path, version)

    def handle_exception(self, exception: Exception) -> None:
        """Cut an answer off that fails half-way; Daphne would begin a second one, fail at that, and leave it open."""
        if self._response_started and self.channel is not None:
            self.channel.transport.abortConnection()
        else:
            super().handle_exception(exception)

    async def reader(self) -> None:
        """Wait until the peer has taken most of what was written; one that takes nothing for a while is let go."""
        last, moved_at = 0, time.monotonic()
        while not self.finished and self.channel is not None:
            waiting = unsent_bytes(self.channel.transport)
            if waiting <= OUTBOUND_BYTES:
                return
            if waiting != last:
                last, moved_at = waiting, time.monotonic()
            elif time.monotonic() - moved_at > STALLED_SECONDS:
                self.channel.transport.abortConnection()
                return
            await asyncio.sleep(READER_SECONDS)

    def end_connection(self) -> None:
        """Let this be the last request of its connection (RFC 9112, section 9.6)."""
        if self.channel is not None:
            self.channel.persistent = False
        if not self._response_started:
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self.channel.transport.write(_REFUSAL)
            self.channel.transport.loseConnection()


async def _answer_requests(daphne: server.Server) -> None:
    """Let the requests under way have their answers, the last ones of their connections.

    What takes longer than a moment is cut off.
    """

    def under_way() -> list[BoundedRequest]:
        states = daphne.connections.items()
        return [one for one, state in states if isinstance(one, BoundedRequest) and "disconnected" not in state]

    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            while requests := under_way():
                for request in requests:
                    request.end_connection()
                await asyncio.sleep(READER_SECONDS)


def install(*, on_shutdown: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Put the bounds into Daphne; where another server serves, nothing uses them.

    `on_shutdown` runs after SIGTERM or SIGINT, when no new connection is accepted any more and before the applications
    of the open ones are cancelled, which is the first that Daphne itself would do.
    """
    kill_all_applications = server.Server.kill_all_applications
    create_application = server.Server.create_application
    handle_reply = server.Server.handle_reply

    def create_with_backlog(self: server.Server, protocol: Any, scope: dict[str, Any]) -> Any:
        if isinstance(protocol, BoundedSocket):
            scope["extensions"] = {BACKLOG: protocol.backlog}
        return create_application(self, protocol, scope)

    async def reply_and_wait(self: server.Server, protocol: Any, message: dict[str, Any]) -> None:
        await handle_reply(self, protocol, message)
        if isinstance(protocol, BoundedRequest):
            await protocol.reader()

    async def drain(self: server.Server) -> None:
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await _answer_requests(self)
                await on_shutdown()
                await _answer_requests(self)
        except TimeoutError:
            log.warning("daphne.drain_cut_short", seconds=SHUTDOWN_SECONDS)

    def drain_and_kill(self: server.Server) -> Deferred[Any]:
        for listening in self.listeners:
            listening.addCallback(lambda port: port.stopListening())
        drained = Deferred.fromFuture(asyncio.ensure_future(drain(self)))
        drained.addErrback(lambda failure: log.error("daphne.drain_failed", error=failure.getErrorMessage()))
        drained.addCallback(lambda _: kill_all_applications(self))
        return drained

    server.Server.kill_all_applications = drain_and_kill
    server.Server.create_application = create_with_backlog
    server.Server.handle_reply = reply_and_wait
    ws_protocol.WebSocketFactory.protocol = BoundedSocket
    http_protocol.WebRequest = BoundedRequest
