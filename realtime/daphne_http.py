"""Bounds what Daphne 4 would keep of a request and its answer without end.

Daphne waits for a head as long as a byte of it comes now and then, takes a whole body before the application sees the
request, and writes an answer to a peer that does not read until memory is gone. Here a head has its time, a body beyond
every limit is refused while it arrives, and an answer is written as fast as it is read.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from daphne import http_protocol, server
from twisted.web import http

from chatproject.body_limit import KIB, UPLOADS
from realtime.daphne_wire import OUTBOUND_BYTES, unsent_bytes

LARGEST_BODY = max(UPLOADS.values()) + KIB * KIB
READER_SECONDS = 0.01
"""How often a waiting answer looks whether its reader has caught up."""
STALLED_SECONDS = 20.0
"""How long a reader of an answer may take nothing."""
ANSWER_SECONDS = 3.0
"""How long requests under way may take to be answered once the process is to end."""
LINGER_SECONDS = 10.0
"""How long the rest of a refused body is read and dropped, so that its sender reads the refusal."""
LINGER_BYTES = 64 * KIB * KIB
"""How much of it, at the most."""

_REFUSAL_BODY = b'{"error":{"code":"body_too_large","message":"The body is too large.","fields":{},"requestId":null}}'
_REFUSAL = (
    b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSAL_BODY), _REFUSAL_BODY)
)


class BoundedChannel(http.HTTPChannel):
    """An HTTP connection on which the head of a request has a minute in all, not a minute for each of its bytes."""

    _in_head = False

    def resetTimeout(self) -> None:  # noqa: N802
        """Wait anew for what comes next, but for the rest of a head."""
        if not self._in_head:
            super().resetTimeout()  # type: ignore[no-untyped-call]
        self._in_head = bool(self.line_mode)

    def allHeadersReceived(self) -> None:  # noqa: N802
        """Go on to the body."""
        self._in_head = False
        super().allHeadersReceived()  # type: ignore[no-untyped-call]


class BoundedRequest(http_protocol.WebRequest):  # type: ignore[misc]
    """A request whose body ends the connection when it passes every limit, and whose answer waits for its reader.

    A refused body is read on for a moment: a connection that is closed while its peer still sends is reset, and with
    it goes the answer (RFC 9112, section 9.6).
    """

    refused = False
    """Whether its body was too large: it has its answer, and what still comes is dropped."""
    _taken = 0

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Refuse by the declared length."""
        super().gotLength(length)
        if length is not None and length > LARGEST_BODY:
            self.requestHeaders.removeHeader(b"expect")  # who asks whether to send it is not told to
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Refuse by what has come."""
        self._taken += len(data)
        if self._taken > LARGEST_BODY:
            self._refuse()
        if not self.refused:
            super().handleContentChunk(data)
        elif self._taken > LARGEST_BODY + LINGER_BYTES:
            self._hang_up()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Pass a whole request on."""
        if self.refused:
            self._hang_up()
        else:
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
        if not self.refused:
            self.refused = True
            self.channel.transport.write(_REFUSAL)
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        if self.channel is not None:
            self.channel.transport.loseConnection()


async def answer_requests(daphne: server.Server) -> None:
    """Let the requests under way have their answers, the last ones of their connections.

    What takes longer than a moment is cut off.
    """

    def under_way() -> list[BoundedRequest]:
        requests = [one for one, state in daphne.connections.items() if "disconnected" not in state]
        return [one for one in requests if isinstance(one, BoundedRequest) and not one.refused]

    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            while requests := under_way():
                for request in requests:
                    request.end_connection()
                await asyncio.sleep(READER_SECONDS)
