"""Says frames of `realtime.frames` in Socket.IO's words: `2["event",data]`; with an id `27[...]`, the ack `37[...]`.

Everything behind the door knows one way of writing a frame; this module alone knows the other (Socket.IO protocol 5,
"Packet encoding"). Values are copied between the two, not read.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket

from realtime.frames import (
    FRAME_BYTES,
    LARGEST_FRAME_ID,
    ClientFrame,
    FrameId,
    FrameTooLarge,
    MalformedFrame,
    encode,
    size_of,
)

CONNECT: Final = "0"
DISCONNECT: Final = "1"
EVENT: Final = "2"
ACK: Final = "3"

_HEAD = re.compile(r"(?P<type>[25])(?:(?P<attachments>\d{1,9})-)?(?P<id>\d{1,16})?(?=\[)", re.ASCII)


class MalformedPacket(MalformedFrame):
    """A packet that is not an event with one argument; binary ones are none either."""

    message = 'An event has one argument, which is JSON: emit("message:send", {...}, callback).'


class _Frame(msgspec.Struct):
    """A frame of the server, with its values as they were written."""

    event: str = ""
    ack: FrameId | None = None
    data: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_read_frame = msgspec.json.Decoder(_Frame).decode
_read_arguments = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_name = msgspec.json.Decoder(str).decode


def attachments_of(packet: str) -> int:
    """Return how many binary packets belong to this one."""
    head = _HEAD.match(packet)
    return int(head["attachments"] or 0) if head else 0


def read(packet: str | bytes) -> ClientFrame:
    """Return the frame of a client's event packet. Raises `FrameTooLarge` or `MalformedPacket`."""
    head = None if isinstance(packet, bytes) else _HEAD.match(packet)
    if head is None or isinstance(packet, bytes):
        raise MalformedPacket
    frame_id = None if head["id"] is None else int(head["id"])
    if frame_id is not None and frame_id > LARGEST_FRAME_ID:
        raise MalformedPacket
    if size_of(packet) > FRAME_BYTES:
        raise FrameTooLarge(frame_id)
    if head["type"] != EVENT:
        raise MalformedPacket(frame_id)
    try:
        name, *arguments = _read_arguments(packet[head.end() :])
        event = _read_name(name)
    except (ValueError, msgspec.DecodeError, RecursionError):  # of no event at all, or no JSON
        raise MalformedPacket(frame_id) from None
    if len(arguments) > 1:
        raise MalformedPacket(frame_id)
    return ClientFrame(event, frame_id, *arguments)


def written(frame: str) -> str:
    """Return a frame of the server as a packet."""
    parts = _read_frame(frame)
    argument: Any = {"error": parts.error} if bytes(parts.error) else parts.data
    if parts.ack is None:
        return EVENT + encode([parts.event, argument]).decode()
    return f"{ACK}{parts.ack}{encode([argument]).decode()}"


class Writer:
    """Makes the packet of a frame once, however many sockets get it one after the other."""

    def __init__(self) -> None:
        self._frame = ""
        self._packet = EnginePacket()

    def packet(self, frame: str) -> EnginePacket:
        """Return the Engine.IO message that carries the frame."""
        if frame is not self._frame:
            self._packet = EnginePacket(MESSAGE, written(frame))
            self._frame = frame
        return self._packet
