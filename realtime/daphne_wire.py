"""Reads and writes the frames that chat is made of past autobahn, and hands it everything else.

Nearly every frame that comes is one masked text frame, whole, in one read; nearly every frame that goes is a text
frame. For these a call into autobahn, Daphne's queue and Twisted's write loop cost five times the work of the frame
itself. So a whole text frame is unmasked here and offered to the application at once, and frames that are written in
one turn of the event loop go to the kernel together, with one system call. A fragment, a control frame, a binary frame,
one that is cut in two by the network, or any fault in the protocol is left to autobahn, byte for byte.

The modules called `daphne_*` are all that know Daphne, Twisted and autobahn from inside. On another ASGI server they do
nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from daphne import ws_protocol
from twisted.internet.tcp import Connection

KIB = 1024
OUTBOUND_BYTES = KIB * KIB
"""Bytes written and not yet taken by the peer's kernel at which the socket is closed."""
WRITE_BYTES = 64
"""What each write costs beside its bytes while it waits: a mebibyte of empty pongs would be 30."""
OUTBOUND_WRITES = 64
"""Writes that may wait in this process for a peer whose kernel takes no more.

What is told in one turn of the event loop is one write, be it a frame or the whole burst of a batch: that makes nobody
slow.
"""

_WHOLE_TEXT = 0x81
_MASKED = 0x80
_TWO_BYTE_LENGTH = 126
_EIGHT_BYTE_LENGTH = 127

_unflushed: list[PlainSocket] = []
_last_text: str | None = None
_last_frame: bytes = b""


def text_frame(text: str) -> bytes:
    """Return a server's text frame (RFC 6455, section 5.2). The last one is kept: a group gets the same text."""
    global _last_text, _last_frame
    if text is _last_text:
        return _last_frame
    payload = text.encode("utf-8")
    size = len(payload)
    if size < _TWO_BYTE_LENGTH:
        head = bytes((_WHOLE_TEXT, size))
    elif size < 1 << 16:
        head = bytes((_WHOLE_TEXT, _TWO_BYTE_LENGTH)) + size.to_bytes(2, "big")
    else:
        head = bytes((_WHOLE_TEXT, _EIGHT_BYTE_LENGTH)) + size.to_bytes(8, "big")
    _last_text, _last_frame = text, head + payload
    return _last_frame


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """Return a payload XORed with its 4-byte mask (section 5.3). One large number is quicker than a loop."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def unsent_bytes(transport: Any) -> int:
    """Return how much a Twisted TCP transport holds for its peer, with what each write costs beside its bytes."""
    inner = getattr(transport, "transport", transport)  # a TLS wrapper holds the TCP transport
    return _buffered(inner) + len(getattr(inner, "_tempDataBuffer", ())) * WRITE_BYTES


def _buffered(transport: Any) -> int:
    inner = getattr(transport, "transport", transport)
    held = len(getattr(inner, "dataBuffer", b"")) - getattr(inner, "offset", 0)
    return int(held + getattr(inner, "_tempDataLen", 0))


def _flush_all() -> None:
    waiting = _unflushed.copy()
    _unflushed.clear()
    for socket in waiting:
        socket.flush()


class PlainSocket(ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """A WebSocket with a short way for whole text frames. `take` is offered each one and tells whether it took it."""

    take: Callable[[str], bool] | None = None
    _out: list[bytes] | None = None
    _held: deque[int] | None = None
    _held_bytes = 0
    _send: Callable[[bytes], int] | None = None
    """The kernel's own `send`, where nothing (such as TLS) stands between."""

    def onOpen(self) -> None:  # noqa: N802
        """Begin to write."""
        if isinstance(self.transport, Connection) and not self.transport.TLS:
            self._send = self.transport.socket.send
        super().onOpen()

    # --- In -----------------------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take the whole text frames that the bytes begin with; the rest is autobahn's."""
        if self.state == self.STATE_OPEN and self.current_frame is None and not self.inside_message and not self.data:
            data = data[self._take_frames(data) :]
        if data:
            self._dataReceived(data)

    def _take_frames(self, data: bytes) -> int:
        """Handle whole text frames from the start, and return where the first thing that is none of them begins."""
        place, end = 0, len(data)
        while end - place > 6 and data[place] == _WHOLE_TEXT and data[place + 1] & _MASKED:
            size, start = data[place + 1] & 0x7F, place + 6
            if size >= _TWO_BYTE_LENGTH:
                size, start = data[place + 2] << 8 | data[place + 3], place + 8
                if data[place + 1] & 0x7F == _EIGHT_BYTE_LENGTH or size < _TWO_BYTE_LENGTH:
                    break
            if start + size > end:
                break
            payload = unmasked(data[start : start + size], data[start - 4 : start])
            place = start + size
            self.onMessage(payload, False)
            if self.state != self.STATE_OPEN:
                break
        return place

    # --- Out ----------------------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Send a text frame at the end of this turn of the event loop."""
        if self.state != self.STATE_OPEN:
            return
        if self._out is None:
            if not _unflushed:
                asyncio.get_running_loop().call_soon(_flush_all)
            _unflushed.append(self)
            self._out = []
        self._out.append(text_frame(text))

    def flush(self) -> None:
        """Give what was written to the kernel, and to Twisted what the kernel does not take."""
        frames, self._out = self._out, None
        if frames is None or self.state == self.STATE_CLOSED:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        transport, sent = self.transport, 0
        if self._send is not None and not transport.dataBuffer and not transport._tempDataBuffer:
            try:
                sent = self._send(data)
            except OSError:  # full, or gone: Twisted finds out which
                sent = 0
            if sent == len(data):
                self._held = None
                return
        waiting = unsent_bytes(transport)
        if waiting and waiting + len(data) > OUTBOUND_BYTES:
            self.overrun()
            return
        transport.write(data[sent:] if sent else data)
        if self._writes_held(len(data) - sent) > OUTBOUND_WRITES:
            self.overrun()

    def _writes_held(self, size: int) -> int:
        """Note a write of so many bytes, forget those that have left the transport, and return how many wait."""
        if self._held is None:
            self._held, self._held_bytes = deque(), 0
        held = self._held
        held.append(size)
        self._held_bytes += size
        waiting = _buffered(self.transport)
        while held and self._held_bytes - held[0] >= waiting:
            self._held_bytes -= held.popleft()
        return len(held)

    def overrun(self) -> None:
        """End a socket whose peer does not read."""
        raise NotImplementedError

    def backlog(self) -> int:
        """Return the bytes that wait for the peer; none once the socket is closing."""
        if self.state != self.STATE_OPEN:
            return 0
        return unsent_bytes(self.transport) + sum(map(len, self._out or ()))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        """Write what is autobahn's own, a pong or a close, behind what was written before."""
        self.flush()
        super().sendData(data, sync, chopsize)
