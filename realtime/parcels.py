"""Events as they travel between processes: already serialised, with the people they are for.

The channel layer encrypts what it carries (`symmetric_encryption_keys`), so a parcel is readable nowhere in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from accounts.events import SessionEnded, StatusChosen
from chatproject.events import Event
from messaging.events import MessageEvent
from realtime.frames import encode as encode_json
from realtime.frames import event_frame

UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Parcel:
    """One event: the finished frame, its recipients, and the socket that needs no copy.

    `data` is the event's encoded data alone, for the ack that carries the same message.

    `ended_session` closes that session's sockets after the frame; `chosen_by` asks for a person's presence to be shown
    anew, by the process that took the choice.
    """

    recipients: tuple[UUID, ...]
    text: str
    data: bytes = b""
    origin: str | None = None
    message_id: UUID | None = None
    ended_session: UUID | None = None
    chosen_by: UUID | None = None


class _Wire(msgspec.Struct, array_like=True):
    """A parcel on the bus."""

    recipients: bytes
    text: str
    ended_session: UUID | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Wire])


def pack(event: Event) -> Parcel:
    """Serialise an event."""
    data = encode_json(event.encodable())
    return Parcel(
        recipients=event.recipients,
        text=event_frame(event.name, msgspec.Raw(data)),
        data=data,
        origin=event.origin if isinstance(event, MessageEvent) else None,
        message_id=event.message_id if isinstance(event, MessageEvent) else None,
        ended_session=event.session_id if isinstance(event, SessionEnded) else None,
        chosen_by=event.user_id if isinstance(event, StatusChosen) else None,
    )


def encode(parcels: Sequence[Parcel]) -> bytes:
    """Write parcels for the bus. The origin stays behind: that socket lives in the sending process."""
    return _encoder.encode(
        [_Wire(b"".join(one.bytes for one in p.recipients), p.text, p.ended_session) for p in parcels]
    )


def decode(payload: bytes) -> list[Parcel]:
    """Read what `encode` wrote. Raises `msgspec.DecodeError`."""
    return [
        Parcel(
            recipients=tuple(
                UUID(bytes=wire.recipients[start : start + UUID_BYTES])
                for start in range(0, len(wire.recipients), UUID_BYTES)
            ),
            text=wire.text,
            ended_session=wire.ended_session,
        )
        for wire in _decoder.decode(payload)
    ]
