"""Bounds what Daphne 4 would buffer for a socket without end, and puts all that is changed in Daphne into it.

Daphne writes to a peer that does not read until memory is gone, queues inbound frames as fast as they come, and answers
pings whether or not the answers are read. Here a socket's reading pauses while its frames wait to be handled, and a
socket that still overruns its bounds is closed with a named code. `realtime.daphne_http` does it for requests. On
another ASGI server this module does nothing.
"""

from __future__ import annotations

import asyncio
import socket as sockets
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from daphne import http_protocol, server, ws_protocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.web import http

from chatproject.body_limit import KIB
from realtime.daphne_http import BoundedChannel, BoundedRequest, answer_requests
from realtime.daphne_memory import Inbox, LeanSocket
from realtime.daphne_wire import OUTBOUND_BYTES
from realtime.sockets import CloseCode
from realtime.wire import WIRE

INBOUND_FRAMES = 64
"""Frames waiting to be handled at which reading pauses."""
INBOUND_LIMIT = 1024
"""Frames waiting at which the socket is closed: one read can bring more than the pause can stop."""
MESSAGE_PIECES = 1024
"""Pieces in which one message may come, by its fragments or by the network: each takes much more memory than a byte."""
CONTROL_FRAMES = 64
"""Pings and pongs that may come within a second; answering more would hold up everybody else."""
KERNEL_BYTES = 128 * KIB
"""What the kernel may hold for a socket besides; it doubles this, and left alone goes up to megabytes."""
CLOSING_SECONDS = 5.0
"""How long a peer that has said good-bye may take for what was written before."""

INVALID_PAYLOAD = 1007
LISTEN_BACKLOG = 4096
"""Connections that may wait to be accepted; with Twisted's 50 the kernel drops clients that come back together."""
SHUTDOWN_SECONDS = 8
"""How long sockets and what is under way may take to end; Daphne's own end follows."""

log = structlog.get_logger("parley.daphne")


class BoundedSocket(LeanSocket):
    """A WebSocket that buffers within bounds in both directions."""

    failByDrop = False  # noqa: N815  a message above autobahn's limit is answered by its close code, not by a reset
    utf8validateIncoming = False  # noqa: N815  checked here, where it is decoded, and not twice
    openHandshakeTimeout = 30  # noqa: N815  Daphne's 5 s are too few when thousands come back at once
    _paused = False
    _shut_with: CloseCode | None = None
    _pieces = 0
    _controls = 0
    _controls_since = 0.0

    def onConnect(self, request: Any) -> Any:  # noqa: N802
        """Take subprotocols that are no ASCII for none: Daphne would fail at them and answer 500."""
        if not request.headers.get("sec-websocket-protocol", "").isascii():
            request.headers["sec-websocket-protocol"] = ""
        return super().onConnect(request)

    def applicationCreateWorked(self, application_queue: Inbox) -> None:  # noqa: N802
        """Follow how far the application has read."""
        application_queue.on_take(self._resume)
        super().applicationCreateWorked(application_queue)

    def _resume(self, waiting: int) -> None:
        """Read on when the application has caught up."""
        if self._paused and waiting < INBOUND_FRAMES // 2:
            self._paused = False
            self.transport.resumeProducing()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Offer a text to the application at once, or queue it; what is no UTF-8 ends the socket (section 8.1)."""
        text: str | None = None
        if not isBinary:
            try:
                text = payload.decode("utf-8")
            except UnicodeDecodeError:
                self.muted = True
                self.sendCloseFrame(code=INVALID_PAYLOAD, reasonUtf8=b"invalid UTF-8", isReply=False)
                return
        if self.muted:
            return
        self.last_ping = time.time()
        waiting = self.application_queue.qsize()
        if text is not None and not waiting and self.take is not None and self.take(text):
            return
        if waiting >= INBOUND_LIMIT:
            self._shut(CloseCode.FLOOD)
            return
        kind, content = ("bytes", payload) if text is None else ("text", text)
        self.application_queue.put_nowait({"type": "websocket.receive", kind: content})
        if waiting >= INBOUND_FRAMES and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def onOpen(self) -> None:  # noqa: N802
        """Keep the kernel's buffer small as well."""
        if handle := getattr(self.transport, "getHandle", lambda: None)():
            handle.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, KERNEL_BYTES)
        super().onOpen()

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: N802, N803
        """Begin to count the pieces of a message."""
        self._pieces = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802
        """Take note of a fragment."""
        self._count_piece()
        super().onMessageFrameBegin(length)

    def onMessageFrameData(self, payload: bytes) -> None:  # noqa: N802
        """Keep a piece of a fragment."""
        self._count_piece()
        super().onMessageFrameData(payload)

    def _count_piece(self) -> None:
        self._pieces += 1
        if self._pieces > MESSAGE_PIECES:
            self._shut(CloseCode.FLOOD)

    def onPing(self, payload: bytes) -> None:  # noqa: N802
        """Answer a ping, unless the peer does not read the answers or sends too many."""
        self._count_control()
        if self.backlog() > OUTBOUND_BYTES:
            self._shut(CloseCode.SLOW_CONSUMER)
        super().onPing(payload)

    def onPong(self, payload: bytes) -> None:  # noqa: N802
        """Take a pong, asked for or not."""
        self._count_control()
        super().onPong(payload)

    def _count_control(self) -> None:
        now = time.monotonic()
        if now - self._controls_since > 1:
            self._controls_since, self._controls = now, 0
        self._controls += 1
        if self._controls > CONTROL_FRAMES:
            self._shut(CloseCode.FLOOD)

    def onAutoPingTimeout(self) -> None:  # noqa: N802
        """Close a socket whose peer has not answered a ping: autobahn would drop it without a word."""
        self.autoPingTimeoutCall = None
        self._shut(CloseCode.SLOW_CONSUMER)

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802
        """End the connection; a peer that says good-bye and still does not read must not keep it open for ever.

        A peer that did wrong is told so even when autobahn takes its wrong close for the answer to ours.
        """
        abort = abort and not (self.failedByMe and not self.wasCloseHandshakeTimeout)
        super().dropConnection(abort)
        if not abort:
            asyncio.get_running_loop().call_later(CLOSING_SECONDS, self.transport.abortConnection)

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802
        """Write a frame for an application that does not use the wire itself."""
        if isinstance(content, str) and not binary:
            self.write(content)
        elif self.state == self.STATE_OPEN:
            super().serverSend(content, binary)

    def overrun(self) -> None:
        """Close: what the peer missed it will get by its cursors when it comes back."""
        self._shut(CloseCode.SLOW_CONSUMER)

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
            self.failedByMe = True  # autobahn keeps nothing of what still comes
            if code is CloseCode.FLOOD:
                self.data = b""


def _endpoint(reactor: Any, description: str) -> Any:
    """Return the endpoint of a description as Daphne writes it, with a longer queue of connections."""
    if description.startswith("tcp:") and "backlog=" not in description:
        description += f":backlog={LISTEN_BACKLOG}"
    return serverFromString(reactor, description)  # type: ignore[no-untyped-call]


def install(*, on_start: Callable[[], None], on_shutdown: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Put the bounds into Daphne; where another server serves, nothing uses them.

    `on_start` is called before Daphne listens. `on_shutdown` runs after SIGTERM or SIGINT, when no new connection is
    accepted any more and before the applications of the open ones are cancelled, which is the first that Daphne itself
    would do.
    """
    run = server.Server.run
    kill_all_applications = server.Server.kill_all_applications
    create_application = server.Server.create_application
    handle_reply = server.Server.handle_reply

    def start_and_run(self: server.Server) -> None:
        on_start()
        run(self)

    def create_with_wire(self: server.Server, protocol: Any, scope: dict[str, Any]) -> Any:
        if not isinstance(protocol, BoundedSocket):
            return create_application(self, protocol, scope)
        inbox = Inbox()
        scope.update(asgi={"version": "3.0"}, extensions={WIRE: protocol})
        application = self.application(scope=scope, receive=inbox.get, send=partial(self.handle_reply, protocol))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(application)
        return inbox

    async def reply_and_wait(self: server.Server, protocol: Any, message: dict[str, Any]) -> None:
        await handle_reply(self, protocol, message)
        if isinstance(protocol, BoundedRequest):
            await protocol.reader()

    async def drain(self: server.Server) -> None:
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await answer_requests(self)
                await on_shutdown()
                await answer_requests(self)
        except TimeoutError:
            log.warning("daphne.drain_cut_short", seconds=SHUTDOWN_SECONDS)

    def drain_and_kill(self: server.Server) -> Deferred[Any]:
        for listening in self.listeners:
            listening.addCallback(lambda port: port.stopListening())
        drained = Deferred.fromFuture(asyncio.ensure_future(drain(self)))
        drained.addErrback(lambda failure: log.error("daphne.drain_failed", error=failure.getErrorMessage()))
        drained.addCallback(lambda _: kill_all_applications(self))
        return drained

    server.Server.run = start_and_run
    server.Server.kill_all_applications = drain_and_kill
    server.Server.create_application = create_with_wire
    server.Server.handle_reply = reply_and_wait

    server.serverFromString = _endpoint
    ws_protocol.WebSocketFactory.protocol = BoundedSocket
    http_protocol.WebRequest = BoundedRequest
    http.HTTPChannel = BoundedChannel  # type: ignore[misc]
