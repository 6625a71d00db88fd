"""Tests of the frame protocol; they need neither a database nor a loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproject.errors import DomainError, InvalidInput
from chatproject.ids import uuid7
from realtime import frames
from realtime.commands import COMMANDS

CHAT, MESSAGE = str(uuid7()), str(uuid7())

VALID: dict[type[frames.Data], dict[str, Any]] = {
    frames.SendMessage: {"chatId": CHAT, "content": "hi", "type": "image", "clientId": MESSAGE},
    frames.UpdateMessage: {"chatId": CHAT, "messageId": MESSAGE, "content": ""},
    frames.DeleteMessage: {"chatId": CHAT, "messageId": MESSAGE},
    frames.Mark: {"chatId": CHAT, "seq": 2**53 - 1},
    frames.Typing: {"chatId": CHAT, "typing": False},
    frames.SetStatus: {"status": "away"},
    frames.Sync: {"cursors": {CHAT: 0}},
    frames.RenewSession: {"accessToken": "x.y.z"},
    frames.Ping: {},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what the call returns, or the domain error that it raises; any other error fails the test."""
    try:
        return call()
    except DomainError as error:
        return error


def codes(failure: pytest.ExceptionInfo[InvalidInput]) -> dict[str, str]:
    """Return the first code of each field at fault."""
    return {name: problems[0]["code"] for name, problems in failure.value.fields.items()}


# --- Frames -----------------------------------------------------------------------------------------------------------


@given(st.text() | st.binary())
def test_no_input_raises_anything_but_a_domain_error(text: str | bytes) -> None:
    """Whatever comes, it is a frame or an error that can be shown."""
    result = outcome(lambda: frames.parse(text))

    assert isinstance(result, (frames.ClientFrame, frames.MalformedFrame))


@given(st.fixed_dictionaries({}, optional={"event": JSON, "id": JSON, "data": JSON, "more": JSON}))
def test_any_json_object_is_a_frame_or_malformed(document: dict[str, Any]) -> None:
    """The event decides; an id that an ack can carry survives even in a malformed frame."""
    text = json.dumps(document)

    result = outcome(lambda: frames.parse(text))

    if isinstance(result, frames.ClientFrame):
        assert (result.event, result.id) == (document["event"], document.get("id"))
    else:
        assert result.frame_id is None or result.frame_id == document["id"]
        assert json.loads(frames.error_frame(result.frame_id, result))["error"]["code"] == "malformed_json"


@given(st.sampled_from(sorted(VALID, key=lambda kind: kind.__name__)), JSON)
def test_no_data_raises_anything_but_invalid_input(kind: type[frames.Data], document: Any) -> None:
    """Any JSON is the data of a command, or an error that names a field."""
    raw = msgspec.Raw(json.dumps(document).encode())

    result = outcome(lambda: frames.parse_data(kind, raw))

    if not isinstance(result, kind):
        assert json.loads(frames.error_frame(1, result))["error"]["fields"]


@pytest.mark.parametrize("frame_id", [None, 0, -5, 2**53 - 1, "a", "x" * 64, "☕"])
def test_ids_that_an_ack_can_carry(frame_id: int | str | None) -> None:
    """Safe integers and short texts come back as they were."""
    assert frames.parse(json.dumps({"event": "ping", "id": frame_id})).id == frame_id


@pytest.mark.parametrize("frame_id", [2**53, -(2**53), 10**400, "x" * 65, 1.5, True, [1], {}])
def test_ids_that_no_ack_can_carry(frame_id: Any) -> None:
    """They make the frame malformed, and its error has no ack."""
    with pytest.raises(frames.MalformedFrame) as failure:
        frames.parse(json.dumps({"event": "ping", "id": frame_id}))

    assert failure.value.frame_id is None


@pytest.mark.parametrize("text", ['{"id": 7}', '{"event": 5, "id": 7}', '{"event": null, "id": 7, "data": {}}'])
def test_a_malformed_frame_keeps_its_id(text: str) -> None:
    """Its sender waits for the ack of that id."""
    with pytest.raises(frames.MalformedFrame) as failure:
        frames.parse(text)

    assert failure.value.frame_id == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        b"",
        " ",
        "null",
        "[]",
        '"ping"',
        '{"event": "ping"',
        '{"event": "ping"} {}',
        "\ud800",
        '{"event": "\\ud800"}',
        b"\xff\xfe",
        '{"event": ' + "1" * 60_000 + "}",
        '{"event": "ping", "id": ' + "1" * 60_000 + "}",
        '{"event": "ping", "data": ' + "[" * 60_000,
        '{"event": "ping", "data": ' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"event": "ping", "more": ' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}",
    ],
)
def test_what_is_no_frame(text: str | bytes) -> None:
    """Half a frame, a bare value, half a surrogate pair, a number without end, nesting without end."""
    result = outcome(lambda: frames.parse_data(frames.Ping, frames.parse(text).data))

    assert isinstance(result, DomainError)
    assert result.code in ("malformed_json", "invalid")


@pytest.mark.parametrize("letter", ["a", "é", "☕", "😀"])
def test_the_limit_counts_bytes(letter: str) -> None:
    """A frame of exactly 64 KiB passes, one byte more does not, whatever it is written with."""
    head, tail = '{"event": "ping", "data": {"x": "', '"}}'
    room = frames.FRAME_BYTES - len(head) - len(tail)
    padding = letter * (room // len(letter.encode())) + "." * (room % len(letter.encode()))

    assert frames.parse(head + padding + tail).event == "ping"
    with pytest.raises(frames.FrameTooLarge):
        frames.parse(head + padding + "." + tail)


def test_a_binary_frame_is_read_as_its_text() -> None:
    """The opcode makes no difference."""
    assert frames.parse(b'{"event": "ping", "id": "x"}') == frames.parse('{"event": "ping", "id": "x"}')


# --- Data -------------------------------------------------------------------------------------------------------------


def test_every_command_has_its_example() -> None:
    """A new command's data gets its line above."""
    assert {command.data for command in COMMANDS.values()} | {frames.SendMessage} == set(VALID)


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_data_round_trip(kind: type[frames.Data]) -> None:
    """The fields are camelCase, and what is read can be written again."""
    data = frames.parse_data(kind, msgspec.Raw(json.dumps(VALID[kind]).encode()))

    assert json.loads(frames.encode(data)).items() >= VALID[kind].items()


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_an_unknown_field_is_named(kind: type[frames.Data]) -> None:
    """A typing error in a field's name is told instead of ignored."""
    with pytest.raises(InvalidInput) as failure:
        frames.parse_data(kind, msgspec.Raw(json.dumps({**VALID[kind], "chat_id": 1}).encode()))

    assert codes(failure) == {"chat_id": "unknown_field"}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, name)
        for kind in VALID
        for name in VALID[kind]
        if kind not in (frames.SendMessage, frames.Sync)  # theirs have defaults; `check` looks at them together
        and name != "typing"
    ],
)
def test_a_missing_field_is_named(kind: type[frames.Data], field: str) -> None:
    """Each field without a default is required."""
    rest = {name: value for name, value in VALID[kind].items() if name != field}

    with pytest.raises(InvalidInput) as failure:
        frames.parse_data(kind, msgspec.Raw(json.dumps(rest).encode()))

    assert codes(failure) == {field: "required"}


def test_a_sign_of_typing_needs_no_value() -> None:
    """To say it at all means to type."""
    assert frames.parse_data(frames.Typing, msgspec.Raw(json.dumps({"chatId": CHAT}).encode())).typing is True


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        (frames.SendMessage, {"content": 5}, "content"),
        (frames.SendMessage, {"content": None}, "content"),
        (frames.SendMessage, {"type": "system"}, "type"),
        (frames.SendMessage, {"chatId": "not-a-uuid"}, "chatId"),
        (frames.Mark, {"seq": -1}, "seq"),
        (frames.Mark, {"seq": 2**53}, "seq"),
        (frames.Mark, {"seq": 1.5}, "seq"),
        (frames.Mark, {"seq": "1"}, "seq"),
        (frames.Typing, {"typing": 1}, "typing"),
        (frames.SetStatus, {"status": "busy"}, "status"),
        (frames.Sync, {"cursors": []}, "cursors"),
        (frames.RenewSession, {"accessToken": None}, "accessToken"),
    ],
)
def test_a_wrong_value_names_its_field(kind: type[frames.Data], change: dict[str, Any], field: str) -> None:
    """The error carries the name that the client knows."""
    with pytest.raises(InvalidInput) as failure:
        frames.parse_data(kind, msgspec.Raw(json.dumps({**VALID[kind], **change}).encode()))

    assert codes(failure) == {field: "invalid"}


@pytest.mark.parametrize("cursors", [{"no-uuid": 1}, {CHAT: -1}, {CHAT: "x"}, {CHAT: None}])
def test_wrong_cursors_are_named(cursors: dict[str, Any]) -> None:
    """A key or value inside of the cursors is the cursors' fault."""
    with pytest.raises(InvalidInput) as failure:
        frames.parse_data(frames.Sync, msgspec.Raw(json.dumps({"cursors": cursors}).encode()))

    assert all(name.startswith("cursors") for name in failure.value.fields)


@pytest.mark.parametrize("raw", [b"null", b"[]", b"1", b'"x"', b"[" * 30_000 + b"]" * 30_000])
def test_data_that_is_no_object(raw: bytes) -> None:
    """The data as a whole is at fault."""
    with pytest.raises(InvalidInput) as failure:
        frames.parse_data(frames.Ping, msgspec.Raw(raw))

    assert codes(failure) == {"data": "invalid"}


def test_half_a_surrogate_pair_in_the_data() -> None:
    """It cannot be written as UTF-8, so it is refused before anything else looks at it."""
    with pytest.raises(InvalidInput) as failure:
        frames.parse_data(frames.RenewSession, msgspec.Raw(b'{"accessToken": "\\ud800"}'))

    assert codes(failure) == {"data": "invalid"}


# --- The server's frames ----------------------------------------------------------------------------------------------


def test_the_shapes_of_frames() -> None:
    """Events, acks and errors are as docs/protocol.md has them."""
    error = InvalidInput.of("content", "It is empty.", code="blank")

    assert json.loads(frames.event_frame("sync", {"chatId": CHAT})) == {"event": "sync", "data": {"chatId": CHAT}}
    assert json.loads(frames.ack_frame("a", {})) == {"ack": "a", "data": {}}
    assert json.loads(frames.error_frame(7, error)) == {
        "ack": 7,
        "error": {
            "code": "invalid",
            "message": "Some fields are not valid.",
            "fields": {"content": [{"code": "blank", "message": "It is empty."}]},
            "requestId": None,
        },
    }
    assert json.loads(frames.error_frame(None, error))["event"] == "error"
    assert json.loads(frames.error_frame(0, error))["ack"] == 0
