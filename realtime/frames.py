"""The frame protocol: what clients may send, checked by type, and how the server's frames are written.

One frame is one JSON text of at most 64 KiB (docs/protocol.md, docs/asyncapi.yaml).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec

from chatproject.errors import DomainError, InvalidInput, body_of
from realtime.catalogue import Told

FRAME_BYTES: Final = 64 * 1024
FRAME_ID_LENGTH: Final = 64
LARGEST_FRAME_ID: Final = 2**53 - 1

FrameId = int | str
Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_FRAME_ID)]
"""A seq or rev: small enough to be exact in every client."""


class BadFrame(DomainError):
    """A frame that cannot be read."""

    def __init__(self, frame_id: FrameId | None = None) -> None:
        """`frame_id` is the frame's id where it can be made out all the same."""
        super().__init__()
        self.frame_id = frame_id


class FrameTooLarge(BadFrame):
    """A frame above 64 KiB."""

    code = "body_too_large"
    status = 413
    message = f"A frame has at most {FRAME_BYTES} bytes."


class MalformedFrame(BadFrame):
    """A frame that is not the JSON object `{event, id?, data?}`."""

    code = "malformed_json"
    message = 'A frame is a JSON object: {"event": "...", "id": 1, "data": {...}}.'


class UnknownEvent(DomainError):
    """An event that clients cannot send."""

    code = "unknown_event"
    message = "There is no such event."


D = TypeVar("D", bound="Data")


class Data(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The `data` of a client's frame."""


class SendMessage(Data):
    """`message:send`."""

    content: str = ""
    type: Literal["text", "image", "file"] = "text"
    chat_id: UUID | None = None
    receiver_id: UUID | None = None
    client_id: UUID | None = None
    attachment_id: UUID | None = None


class UpdateMessage(Data):
    """`message:update`."""

    chat_id: UUID
    message_id: UUID
    content: str


class DeleteMessage(Data):
    """`message:delete`."""

    chat_id: UUID
    message_id: UUID


class Mark(Data):
    """`message:read` and `message:delivered`."""

    chat_id: UUID
    seq: Number


class Typing(Data):
    """`user:typing`."""

    chat_id: UUID
    typing: bool = True


class SetStatus(Data):
    """`user:status`."""

    status: Literal["online", "away", "offline"]


class Sync(Data):
    """`sync`: the revs that the client holds."""

    cursors: dict[UUID, Number] = {}


class RenewSession(Data):
    """`session:renew`."""

    access_token: str


class Ping(Data):
    """`ping`."""


class ClientFrame(msgspec.Struct, frozen=True):
    """A client's frame before its data is looked at."""

    event: str
    id: FrameId | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


_decode_frame = msgspec.json.Decoder(ClientFrame).decode
encode = msgspec.json.Encoder().encode

_NAMED_FIELD = re.compile(r"field `(?P<name>[^`]*)`")


def parse(text: str | bytes) -> ClientFrame:
    """Return the frame. Raises `FrameTooLarge` or `MalformedFrame`."""
    if size_of(text) > FRAME_BYTES:
        raise FrameTooLarge
    try:
        frame = _decode_frame(text)
    except msgspec.ValidationError:
        raise MalformedFrame(_salvage_id(text)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise MalformedFrame from None
    if not _usable_id(frame.id):
        raise MalformedFrame
    return frame


def parse_data(kind: type[D], data: msgspec.Raw) -> D:
    """Return the frame's data as its type. Raises `InvalidInput` naming the field at fault."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise InvalidInput.of("data", "The text holds half of a surrogate pair or is no JSON.") from None


def _invalid(problem: str) -> InvalidInput:
    """Turn msgspec's sentence, such as "Expected `str`, got `int` - at `$.content`", into the error of a field."""
    sentence, _, place = problem.partition(" - at `")
    path = place.rpartition("$")[2].strip("`.[]") or "data"
    named = _NAMED_FIELD.search(sentence)
    if named and "unknown field" in sentence:
        return InvalidInput.of(named["name"], "There is no such field.", code="unknown_field")
    if named and "missing required field" in sentence:
        return InvalidInput.of(named["name"], "This field is required.", code="required")
    return InvalidInput.of(path, sentence + ".")


def size_of(text: str | bytes) -> int:
    """Return the frame's size in bytes."""
    if isinstance(text, bytes) or text.isascii():
        return len(text)
    return len(text.encode("utf-8", "surrogatepass"))


def _salvage_id(text: str | bytes) -> FrameId | None:
    """Return the id of a JSON object that is no frame, so that its sender still gets the ack."""
    try:
        frame_id = msgspec.json.decode(text, type=_OnlyId).id
    except (msgspec.DecodeError, RecursionError):
        return None
    return frame_id if _usable_id(frame_id) else None


class _OnlyId(msgspec.Struct, frozen=True):
    id: FrameId | None = None


def _usable_id(frame_id: FrameId | None) -> bool:
    """Tell whether an ack can carry this id: a safe integer or a short text."""
    if isinstance(frame_id, str):
        return len(frame_id) <= FRAME_ID_LENGTH
    return frame_id is None or -LARGEST_FRAME_ID <= frame_id <= LARGEST_FRAME_ID


def event_frame(name: str, data: Any) -> str:
    """Write `{"event", "data"}`."""
    return encode({"event": name, "data": data}).decode()


def ack_frame(frame_id: FrameId, data: Any) -> str:
    """Write `{"ack", "data"}`."""
    return encode({"ack": frame_id, "data": data}).decode()


def error_frame(frame_id: FrameId | None, error: DomainError) -> str:
    """Write the error of one frame: an ack where it had an id, the event `error` otherwise."""
    head: dict[str, Any] = {"event": Told.ERROR} if frame_id is None else {"ack": frame_id}
    return encode({**head, **body_of(error)}).decode()
