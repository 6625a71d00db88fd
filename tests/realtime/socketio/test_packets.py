"""Tests of the second way to write a frame."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from engineio.packet import MESSAGE
from hypothesis import given
from hypothesis import strategies as st

from chatproject.errors import InvalidInput
from realtime.frames import FRAME_BYTES, ClientFrame, FrameTooLarge, ack_frame, error_frame, event_frame
from realtime.socketio import packets
from realtime.socketio.packets import MalformedPacket, Writer, attachments_of, read, written

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("packet", "event", "frame_id", "data"),
    [
        ('2["ping"]', "ping", None, {}),
        ('2["ping",{}]', "ping", None, {}),
        ('20["ping",{}]', "ping", 0, {}),
        ('217["message:send",{"content":"[\\"x\\"]"}]', "message:send", 17, {"content": '["x"]'}),
        ('2["x",null]', "x", None, None),
        ('2["x",[1,2]]', "x", None, [1, 2]),
        ('2["",{}]', "", None, {}),
    ],
)
def test_an_event(packet: str, event: str, frame_id: int | None, data: Any) -> None:
    """Its name, its id and its one argument, which may be left out."""
    frame = read(packet)

    assert (frame.event, frame.id, json.loads(bytes(frame.data))) == (event, frame_id, data)


@pytest.mark.parametrize(
    ("packet", "frame_id"),
    [
        ("", None),
        ("2", None),
        ("27", None),
        ("27{}", None),
        ("2[]", None),
        ("27[]", 7),
        ("27[1]", 7),
        ('27[{"a":1}]', 7),
        ('27["x"', 7),
        ('27["x",{}]]', 7),
        ('27["x",{},{}]', 7),
        ('2/admin,7["x",{}]', None),
        ('37["x"]', None),
        ('4["x"]', None),
        ('451-["x",{}]', None),
        ('51-7["x",{"_placeholder":true,"num":0}]', 7),
        ('5["x"]', None),
        ('29007199254740992["x"]', None),
        ('2' + "9" * 40 + '["x"]', None),
        ('2²["x"]', None),
        ("2" + "[" * 20_000, None),
        ('27["\ud800"]', 7),
        (b'2["ping"]', None),
    ],
)  # fmt: skip
def test_what_is_no_event(packet: str | bytes, frame_id: int | None) -> None:
    """It is refused, with its id where that can be made out."""
    with pytest.raises(MalformedPacket) as refused:
        read(packet)

    assert refused.value.frame_id == frame_id
    assert refused.value.code == "malformed_json"


def test_a_packet_has_a_size() -> None:
    """64 KiB in UTF-8; what is larger is refused with its id, so that its callback is told."""
    fits = '27["x","' + "é" * ((FRAME_BYTES - 10) // 2) + '"]'

    assert read(fits).event == "x"
    with pytest.raises(FrameTooLarge) as refused:
        read('27["x","é' + fits[8:])
    assert refused.value.frame_id == 7


@given(packet=st.text() | st.binary() | st.from_regex(r"[0-9]{0,3}[-/,]?[0-9]{0,20}\[?[\[{\"a0,:\]}]*"))
def test_nothing_else_is_raised(packet: str | bytes) -> None:
    """Whatever comes is an event or refused."""
    with suppress(MalformedPacket):
        assert isinstance(read(packet), ClientFrame)


@given(event=TEXT, number=st.integers(0, 2**53 - 1) | st.none(), data=JSON)
def test_events_are_copied(event: str, number: int | None, data: Any) -> None:
    """What a client writes is what the command reads."""
    frame = read(f"2{'' if number is None else number}" + json.dumps([event, data]))

    assert (frame.event, frame.id, json.loads(bytes(frame.data))) == (event, number, data)


@given(event=TEXT, data=JSON)
def test_frames_are_copied(event: str, data: Any) -> None:
    """What the server writes is what the client reads, whichever way it is written."""
    assert json.loads(written(event_frame(event, data))[1:]) == [event, data]
    assert json.loads(written(ack_frame(7, data)).removeprefix("37")) == [data]


def test_the_way_frames_are_written() -> None:
    """Events, acks and errors, to the letter."""
    error = InvalidInput.of("content", "Too long.")
    shape = json.loads(error_frame(None, error))["error"]

    assert written(event_frame("hello", {"a": 1})) == '2["hello",{"a":1}]'
    assert written(ack_frame(0, {})) == "30[{}]"
    head, _, body = written(error_frame(None, error)).partition("[")
    assert (head, json.loads("[" + body)) == ("2", ["error", {"error": shape}])
    head, _, body = written(error_frame(5, error)).partition("[")
    assert (head, json.loads("[" + body)) == ("35", [{"error": shape}])


@pytest.mark.parametrize(
    ("packet", "count"), [('52-7["x"]', 2), ('5999999999-["x"]', 999_999_999), ('2["x"]', 0), ("5-", 0)]
)
def test_binary_packets_that_follow(packet: str, count: int) -> None:
    """Their number is in the head."""
    assert attachments_of(packet) == count


def test_a_frame_for_many_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub gives the same text to one socket after the other."""
    calls: list[str] = []
    real = packets.written
    monkeypatch.setattr(packets, "written", lambda frame: calls.append(frame) or real(frame))
    writer, one, other = Writer(), event_frame("a", {}), event_frame("b", {})

    sent = [writer.packet(frame) for frame in (one, one, one, other, other)]

    assert calls == [one, other]
    assert sent[0] is sent[1] is sent[2]
    assert [(packet.packet_type, packet.data) for packet in sent[2:4]] == [
        (MESSAGE, '2["a",{}]'),
        (MESSAGE, '2["b",{}]'),
    ]
