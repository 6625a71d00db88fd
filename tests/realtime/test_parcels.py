"""Tests of events on their way between processes."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from accounts.events import SessionEnded, StatusChosen
from chatproject.events import Event
from chatproject.ids import uuid7
from messaging import events
from realtime.events import StatusChanged, TypingChanged
from realtime.parcels import Parcel, decode, encode, pack

ADA, BOB, CHAT, MESSAGE, SESSION = (uuid7() for _ in range(5))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

RECEIPT = {"chat_id": CHAT, "rev": 3, "user_id": ADA, "delivered_seq": 3, "read_seq": 2}
RECEIPT_DATA = {"chatId": str(CHAT), "rev": 3, "userId": str(ADA), "deliveredSeq": 3, "readSeq": 2}
BOTH = (ADA, BOB)

EVENTS: list[tuple[Event, str, dict[str, object]]] = [
    (events.MessageReceived(recipients=BOTH, message_id=MESSAGE, body={"seq": 1}), "message:receive", {"seq": 1}),
    (events.MessageUpdated(recipients=BOTH, message_id=MESSAGE, body={"seq": 1}), "message:update", {"seq": 1}),
    (events.MessageDeleted(recipients=BOTH, message_id=MESSAGE, body={"seq": 1}), "message:delete", {"seq": 1}),
    (events.MessageRead(recipients=BOTH, **RECEIPT), "message:read", RECEIPT_DATA),
    (events.MessageDelivered(recipients=BOTH, **RECEIPT), "message:delivered", RECEIPT_DATA),
    (events.ChatRemoved(recipients=BOTH, chat_id=CHAT, rev=3), "chat:removed", {"chatId": str(CHAT), "rev": 3}),
    (
        StatusChanged(recipients=BOTH, user_id=ADA, status="away", last_seen=NOON),
        "user:status",
        {"userId": str(ADA), "status": "away", "lastSeen": "2026-01-31T12:00:00.000Z"},
    ),
    (
        TypingChanged(recipients=BOTH, chat_id=CHAT, rev=3, user_id=ADA, typing=True, expires_in=6),
        "user:typing",
        {"chatId": str(CHAT), "rev": 3, "userId": str(ADA), "typing": True, "expiresIn": 6},
    ),
    (SessionEnded(recipients=BOTH, session_id=SESSION, reason="logout"), "session:end", {"reason": "logout"}),
    (
        StatusChosen(recipients=(), user_id=ADA, status="away"),
        "user:status",
        {"userId": str(ADA), "status": "away"},
    ),
]


def _leaves(kind: type[Event]) -> set[type[Event]]:
    below = kind.__subclasses__()
    return {one for child in below for one in _leaves(child)} if below else {kind}


def test_every_event_is_among_the_examples() -> None:
    """A new event gets its payload pinned above."""
    # A dataclass with slots leaves its first version behind; only the one that its module holds counts.
    held = {kind for kind in _leaves(Event) if getattr(sys.modules[kind.__module__], kind.__name__, None) is kind}

    assert held == {type(event) for event, _, _ in EVENTS}


@pytest.mark.parametrize(("event", "name", "data"), EVENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_each_event_packs_into_its_frame(event: Event, name: str, data: dict[str, object]) -> None:
    """The text is the finished frame, the data is what an ack carries, and the bus changes neither."""
    parcel = pack(event)

    assert json.loads(parcel.text) == {"event": name, "data": data}
    assert json.loads(parcel.data) == data
    assert parcel.recipients == event.recipients
    (received,) = decode(encode([parcel]))
    assert (received.text, received.recipients, received.ended_session) == (
        parcel.text,
        parcel.recipients,
        parcel.ended_session,
    )


def test_what_else_a_parcel_says() -> None:
    """The origin stays in its process, the end of a session travels, a choice is settled where it was made."""
    message = events.MessageReceived(recipients=BOTH, message_id=MESSAGE, body={}, origin="socket-1")
    ended = SessionEnded(recipients=(ADA,), session_id=SESSION, reason="revoked")
    chosen = StatusChosen(recipients=(), user_id=ADA, status="away")

    assert (pack(message).origin, pack(message).message_id) == ("socket-1", MESSAGE)
    assert pack(ended).ended_session == SESSION
    assert pack(chosen).chosen_by == ADA
    assert decode(encode([pack(message)]))[0].origin is None
    assert decode(encode([pack(ended)]))[0].ended_session == SESSION


def test_many_parcels_keep_their_order() -> None:
    """Text of any script, and any number of recipients."""
    parcels = [Parcel(recipients=tuple(uuid7() for _ in range(n)), text=f"☕ {n}") for n in range(20)]

    received = decode(encode(parcels))

    assert [(one.text, one.recipients) for one in received] == [(one.text, one.recipients) for one in parcels]
    assert decode(encode([])) == []


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x01", b"nonsense", encode([Parcel((UUID(int=1),), "x")])[:-3]])
def test_what_is_no_payload(payload: bytes) -> None:
    """It raises the one error that the bus expects."""
    with pytest.raises(msgspec.MsgspecError):
        decode(payload)
