"""Pins the payload of each event of a chat."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from uuid import UUID

import pytest

from messaging import events

CHAT = UUID("019a8c44-2c5e-7f3a-8d11-7e6f5a4b3c2d")
ADA = UUID("019a8c44-2c5e-7f3a-8d11-000000000001")
GRACE = UUID("019a8c44-2c5e-7f3a-8d11-000000000002")
BODY = {"id": "019a8c45-9b0d-7a6e-bf24-1a2b3c4d5e6f", "chatId": str(CHAT), "rev": 7}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (events.MessageReceived, "message:receive"),
        (events.MessageUpdated, "message:update"),
        (events.MessageDeleted, "message:delete"),
    ],
)
def test_events_of_messages_carry_the_message(kind: type[events.MessageEvent], name: str) -> None:
    """The data is the message document alone; who sent it from which socket stays inside."""
    event = kind(recipients=(ADA, GRACE), message_id=UUID(BODY["id"]), body=BODY, origin="socket-1")

    assert event.name == name
    assert event.data() == BODY


@pytest.mark.parametrize(
    ("kind", "name"),
    [(events.MessageRead, "message:read"), (events.MessageDelivered, "message:delivered")],
)
def test_receipts_carry_both_watermarks(kind: type[events.Receipt], name: str) -> None:
    """`{chatId, rev, userId, deliveredSeq, readSeq}`, ids as text."""
    event = kind(recipients=(ADA,), chat_id=CHAT, rev=9, user_id=GRACE, delivered_seq=8, read_seq=5)

    assert event.name == name
    assert event.data() == {
        "chatId": str(CHAT),
        "rev": 9,
        "userId": str(GRACE),
        "deliveredSeq": 8,
        "readSeq": 5,
    }


def test_a_removal_carries_the_chat() -> None:
    """`{chatId, rev}`."""
    event = events.ChatRemoved(recipients=(ADA,), chat_id=CHAT, rev=3)

    assert event.name == "chat:removed"
    assert event.data() == {"chatId": str(CHAT), "rev": 3}


def test_events_cannot_be_changed() -> None:
    """What was committed stays as it was, whoever holds it."""
    event = events.ChatRemoved(recipients=(ADA,), chat_id=CHAT, rev=3)

    with pytest.raises(FrozenInstanceError):
        event.rev = 4  # type: ignore[misc]
