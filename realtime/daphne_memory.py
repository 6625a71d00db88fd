"""Lets go of what a socket needs for its handshake alone: an idle one then costs half the memory.

Daphne and autobahn keep, for each socket and for ever, the HTTP request with its headers four times over, a copy of
every option of the server, some sixty variables at their first value, and queues made of five deques. Measured with
2,000 sockets: 33 KB each before, 14 after.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from autobahn.websocket import protocol as autobahn

from realtime.daphne_wire import PlainSocket

_HANDSHAKE = frozenset(
    {
        "application_deferred", "http_headers", "http_headers_cnt", "http_request_data", "http_request_host",
        "http_request_params", "http_request_path", "http_request_uri", "http_response_data", "http_status_line",
        "protocol_to_accept", "root_path", "server_addr", "utf8validator", "websocket_extensions",
        "websocket_origin", "websocket_protocols", "_raw_query_string",
        "_transport_details", "_wskey",
    }
)  # fmt: skip
"""What Daphne and autobahn note of the upgrade and read no more once the socket is open."""

_FIRST_VALUES: dict[str, Any] = {
    **dict.fromkeys(
        (
            "autoPingPending", "autoPingPendingCall", "autoPingPendingSent", "autoPingTimeoutCall",
            "closeHandshakeTimeoutCall", "current_frame", "localCloseCode", "localCloseReason",
            "openHandshakeTimeoutCall", "remoteCloseCode", "remoteCloseReason", "trackedTimings",
            "wasNotCleanReason", "websocket_protocol_in_use", "_perMessageCompress",
        )
    ),
    **dict.fromkeys(
        (
            "closedByMe", "droppedByMe", "failedByMe", "inside_message", "triggered", "wasClean",
            "wasCloseHandshakeTimeout", "wasMaxFramePayloadSizeExceeded", "wasMaxMessagePayloadSizeExceeded",
            "wasOpenHandshakeTimeout", "wasServerConnectionDropTimeout", "wasServingFlashSocketPolicyFile",
        ),
        False,
    ),
    "autoPingPendingSeq": 0,
    "send_state": autobahn.WebSocketProtocol.SEND_STATE_GROUND,
    "data": b"",
    "clean_headers": (),
    "send_queue": (),
    "websocket_extensions_in_use": (),
}  # fmt: skip
"""What autobahn sets to the same for every socket; the class has it, and a socket its own once it differs."""

_ABSENT = object()


class Inbox:
    """The messages of one socket on their way to its application, which reads them one at a time."""

    __slots__ = ("_messages", "_taken", "_waiter")

    def __init__(self) -> None:
        self._messages: deque[dict[str, Any]] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._taken: Callable[[int], None] | None = None

    def on_take(self, taken: Callable[[int], None]) -> None:
        """Call `taken` with the number of messages left, each time one is read."""
        self._taken = taken

    def qsize(self) -> int:
        """Return how many messages wait."""
        return len(self._messages) if self._messages else 0

    def put_nowait(self, message: dict[str, Any]) -> None:
        """Add a message."""
        if self._messages is None:
            self._messages = deque()
        self._messages.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> dict[str, Any]:
        """Return the next message (ASGI's `receive`)."""
        while not self._messages:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._messages.popleft()
        left = len(self._messages)
        if not left:
            self._messages = None  # an empty deque is 600 bytes
        if self._taken is not None:
            self._taken(left)
        return message


class _Path:
    """What is kept of the upgrade request: the path, which Daphne logs at the end."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class LeanSocket(PlainSocket):
    """A WebSocket that keeps what is its own."""

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        """Let all sockets share the server's options: autobahn copies those alone that the class does not have."""
        kind = type(self)
        for option in self.CONFIG_ATTRS:
            if not hasattr(kind, option):
                value = getattr(self.factory, option)
                setattr(kind, option, staticmethod(value) if callable(value) else value)
        super().makeConnection(transport)

    def onOpen(self) -> None:  # noqa: N802
        """Forget the handshake."""
        super().onOpen()
        self._leave_http()
        self.request: Any = _Path(self.request.path)
        self.clean_headers = self.send_queue = self.websocket_extensions_in_use = ()
        kind = type(self)
        # A dictionary does not shrink by itself, so the socket gets a new one.
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _HANDSHAKE and getattr(kind, name, _ABSENT) is not value
        }

    def _leave_http(self) -> None:
        """Take the connection from Twisted's HTTP side, which would keep the request with it."""
        channel = getattr(self.transport, "producer", None)
        if channel is None:
            return
        self.transport.unregisterProducer()
        for request in getattr(channel, "requests", ()):
            request.channel = None
            request.__dict__.pop("requestHeaders", None)


for _name, _value in _FIRST_VALUES.items():
    setattr(LeanSocket, _name, _value)

# It lays out every option of every socket, at its handshake, for a log line that is off.
setattr(autobahn, "pformat", repr)  # noqa: B010
