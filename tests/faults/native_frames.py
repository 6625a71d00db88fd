"""The native door: a client for strange frames, and strategies for these, for mere bytes and for handshakes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Self

from hypothesis import strategies as st

from tests.faults.fuzzing import Attempt, Wire, judged
from tests.live.clients import CLOSE, PING, TEXT, Account, bare_socket, masked_frame
from tests.live.server import Daphne

BINARY = 2
EVENTS = (
    "message:send",
    "message:update",
    "message:delete",
    "message:read",
    "message:delivered",
    "user:typing",
    "user:status",
    "sync",
    "session:renew",
    "ping",
)
FIELDS = (
    *("chatId", "receiverId", "messageId", "clientId", "attachmentId", "content", "type", "seq", "typing", "status"),
    *("cursors", "accessToken", "marks", "__proto__", "", "data", "event", "id"),
)
NUMBERS = (0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("inf"))
TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "\udfff\ud800",
    "é" * 70,
    "👩‍👩‍👧‍👦",
    "\u202e",
    "null",
    "x" * 20_000,
    "'; drop table users; --",
    "{{7*7}}",
)
DEEP = (100, 1_000, 100_000)
LARGE = (64 * 1024, 300_000, 1024 * 1024, 1024 * 1024 + 1)


def scalars(known: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return values of every JSON type; `known` are ids that the server knows."""
    return st.one_of(
        st.sampled_from((None, True, False)),
        st.sampled_from(NUMBERS),
        st.integers(-100, 100),
        st.sampled_from(TEXTS),
        st.text(max_size=8),
        st.sampled_from(known),
        st.uuids().map(str),
    )


def values(known: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return scalars, and lists and objects of them."""
    return st.recursive(
        scalars(known),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from((*FIELDS, *known)), inner, max_size=4)
        ),
        max_leaves=6,
    )


def objects(known: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return frames that look like ours, with values of any kind in any place."""
    any_value = values(known)
    events = st.one_of(st.sampled_from(EVENTS), st.sampled_from(EVENTS), any_value)
    data = st.one_of(
        st.dictionaries(st.sampled_from(FIELDS), any_value, max_size=5),
        st.fixed_dictionaries({"chatId": st.sampled_from(known)}, optional=dict.fromkeys(FIELDS[1:10], any_value)),
        st.builds(lambda cursors: {"cursors": cursors}, st.dictionaries(st.sampled_from((*known, "x")), any_value)),
        any_value,
    )
    ids = st.one_of(st.integers(0, 10**6), st.integers(0, 10**6), any_value)
    whole = st.fixed_dictionaries({"event": events}, optional={"id": ids, "data": data})
    return st.one_of(whole, whole, whole, any_value)


def commands(known: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return frames whose fields are those of their event, with values that are nearly right."""
    ids = st.one_of(st.sampled_from(known), st.sampled_from(known), st.uuids().map(str), st.sampled_from(TEXTS))
    texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))
    numbers = st.one_of(st.integers(0, 5), st.sampled_from(NUMBERS))
    fields = {
        "message:send": {"chatId": ids, "receiverId": ids, "content": texts, "type": texts, "clientId": ids},
        "message:update": {"chatId": ids, "messageId": ids, "content": texts},
        "message:delete": {"chatId": ids, "messageId": ids},
        "message:read": {"chatId": ids, "seq": numbers},
        "message:delivered": {"chatId": ids, "seq": numbers},
        "user:typing": {"chatId": ids, "typing": st.sampled_from((True, False, None, 1))},
        "user:status": {"status": st.one_of(st.sampled_from(("online", "away", "offline")), texts)},
        "sync": {"cursors": st.dictionaries(ids, numbers, max_size=4)},
        "session:renew": {"accessToken": st.one_of(st.just("a.b.c"), texts)},
        "ping": {"x": texts},
    }
    numbered = st.one_of(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from((*NUMBERS, *TEXTS)))

    def command(event: str) -> st.SearchStrategy[Any]:
        whole, part = st.fixed_dictionaries(fields[event]), st.fixed_dictionaries({}, optional=fields[event])
        return st.fixed_dictionaries({"event": st.just(event), "id": numbered, "data": st.one_of(whole, part)})

    return st.one_of(*map(command, fields))


def written(value: Any) -> bytes:
    """Write JSON as careless clients do: NaN, huge numbers and halves of surrogate pairs as they come."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def damaged(text: bytes, place: int, junk: bytes) -> bytes:
    """Put junk in the place of as many bytes."""
    place %= len(text) + 1
    return text[:place] + junk + text[place + len(junk) :]


def nested(opening: bytes, closing: bytes, depth: int, head: bytes) -> bytes:
    """Return JSON that is nested deeper than a parser's stack, closed again or not."""
    tail = b"}" if head else b""
    return head + opening * depth + b"1" + closing * depth + tail


def payloads(known: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Return what a frame may carry."""
    text = st.one_of(commands(known), commands(known), objects(known)).map(written)
    heads = (b"", b'{"event":"ping","id":1,"data":', b'{"event":"sync","id":2,"x":', b'{"id":')
    return st.one_of(
        *[text] * 8,
        st.builds(damaged, text, st.integers(0, 500), st.binary(max_size=4)),
        st.builds(lambda whole, size: whole[: size % (len(whole) + 1)], text, st.integers(0, 500)),
        st.binary(max_size=40),
        st.builds(
            nested,
            st.sampled_from((b"[", b'{"a":')),
            st.sampled_from((b"", b"]", b"}")),
            st.sampled_from(DEEP),
            st.sampled_from(heads),
        ).map(lambda whole: whole[:500_000]),
    )


def oversized() -> st.SearchStrategy[bytes]:
    """Return payloads around and above the limits of the protocol and of the WebSocket layer."""
    return st.builds(
        lambda size, byte: b'{"event":"ping","id":1,"data":{"x":"' + byte * size + b'"}}',
        st.sampled_from(LARGE),
        st.sampled_from((b"x", b"\xff", b"\\")),
    )


def split(payload: bytes, opcode: int, cuts: list[int], *, interrupted: bool) -> bytes:
    """Return a message in fragments, with a ping between two of them or not."""
    places = sorted({cut % (len(payload) + 1) for cut in cuts})
    pieces = [payload[start:end] for start, end in zip([0, *places], [*places, len(payload)], strict=True)]
    frames = [
        masked_frame(piece, 0 if number else opcode, final=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    ]
    return (masked_frame(b"?", PING) if interrupted else b"").join(frames)


def messages(known: tuple[str, ...]) -> st.SearchStrategy[Attempt]:
    """Return whole messages: text or binary, in one frame or several, and now and then too large."""
    small, large = payloads(known), oversized()
    sizes, shapes, booleans = st.integers(0, 40), st.integers(0, 3), st.booleans()
    opcodes = st.sampled_from((TEXT, TEXT, TEXT, BINARY))
    places = st.lists(st.integers(0, 2_000), min_size=1, max_size=5)

    @st.composite
    def message(draw: st.DrawFn) -> Attempt:
        payload = draw(large if draw(sizes) == 40 else small)
        opcode = draw(opcodes)
        if draw(shapes):
            return Attempt(payload, masked_frame(payload, opcode))
        return Attempt(payload, split(payload, opcode, draw(places), interrupted=draw(booleans)))

    return message()


def violations() -> st.SearchStrategy[bytes]:
    """Return frames that RFC 6455 forbids: each has to be answered by a close."""
    rest = bytes(4)
    first_bytes = st.integers(0, 255)
    reserved_bits = first_bytes.filter(lambda byte: byte & 0x70)
    reserved_codes = st.sampled_from((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)).map(lambda code: 0x80 | code)
    wrong_codes = st.one_of(st.integers(0, 999), st.sampled_from((1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535)))
    return st.one_of(
        reserved_bits.map(lambda byte: bytes([byte, 0x80]) + rest),
        reserved_codes.map(lambda byte: bytes([byte, 0x80]) + rest),
        st.binary(max_size=100).map(lambda text: b"\x81" + bytes([len(text)]) + text),  # not masked
        st.just(masked_frame(b"no beginning", 0)),
        st.just(masked_frame(b"begins", TEXT, final=False) + masked_frame(b"and again", TEXT)),
        st.just(masked_frame(b"", PING, final=False)),
        st.integers(126, 300).map(lambda size: b"\x89\xfe" + size.to_bytes(2, "big") + rest + bytes(size)),
        st.just(masked_frame(b"\x03", CLOSE)),
        wrong_codes.map(lambda code: masked_frame(code.to_bytes(2, "big"), CLOSE)),
        st.just(masked_frame(b"\x03\xe8\xff\xfe", CLOSE)),
        st.integers(0, 125).map(lambda size: b"\x81\xfe" + size.to_bytes(2, "big") + rest),
        st.integers(0, 65_535).map(lambda size: b"\x81\xff" + size.to_bytes(8, "big") + rest),
        st.integers(2**20 + 1, 2**64 - 1).map(lambda size: b"\x81\xff" + size.to_bytes(8, "big") + rest),
    )


def garbage() -> st.SearchStrategy[bytes]:
    """Return bytes after the handshake that may or may not be frames, and frames that break off."""
    return st.one_of(
        st.binary(min_size=1, max_size=200),
        st.builds(lambda whole, size: whole[: 1 + size % (len(whole) - 1)], messages_of_anybody(), st.integers(0, 99)),
        st.just(b"GET / HTTP/1.1\r\n\r\n" * 3),
        st.just(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    )


def messages_of_anybody() -> st.SearchStrategy[bytes]:
    """Return small whole messages."""
    return st.text(max_size=30).map(lambda text: masked_frame(text.encode()))


HEADERS = (
    *("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Host"),
    *("Sec-WebSocket-Extensions", "Origin", "Authorization", "X-Forwarded-For", "Content-Length", "Cookie", "X-Any"),
)
HEADER_VALUES = (
    *(b"websocket", b"Upgrade", b"dGhlIHNhbXBsZSBub25jZQ==", b"13", b"-1", b"99999999999999999999", b"parley.v1"),
    *(b"parley.v1, bearer.x", b"bearer.%FF", b"\xff\xfe", b"caf\xc3\xa9", b"null", b"http://[", b"http://a:b", b"*"),
    *(b"Bearer ", b"Bearer \xe9", b"permessage-deflate; server_max_window_bits=99", b"127.0.0.1", b"a, b", b""),
)
TARGETS = (b"/ws", b"/ws?a=%ff", b"/ws/", b"/", b"/%00", b"/ws#x", b"//ws", b"/\xff", b"http://elsewhere/ws", b"*", b"")


def handshakes() -> st.SearchStrategy[bytes]:
    """Return requests for a socket that are wrong somewhere."""
    good = {
        b"Host": b"127.0.0.1",
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version": b"13",
    }
    value = st.one_of(st.sampled_from(HEADER_VALUES), st.sampled_from(HEADER_VALUES), st.binary(max_size=12))
    wrong = st.dictionaries(st.sampled_from(HEADERS).map(str.encode), value, max_size=4)
    request = st.builds(
        lambda method, target, version, headers, left_out: (
            b"%b %b %b\r\n%b\r\n"
            % (
                method,
                target,
                version,
                b"".join(b"%b: %b\r\n" % one for one in {**good, **headers}.items() if one[0] != left_out),
            )
        ),
        st.sampled_from((b"GET", b"GET", b"GET", b"POST", b"\xff")),
        st.one_of(st.just(b"/ws"), st.sampled_from(TARGETS)),
        st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9", b"")),
        wrong,
        st.one_of(st.none(), st.sampled_from(list(good))),
    )
    return st.one_of(*[request] * 6, st.binary(max_size=60).map(lambda junk: junk + b"\r\n\r\n"))


# --- The client ---

SENTINEL = b'{"event":"ping","id":"sentinel"}'


def may_stay_silent(payload: bytes) -> bool:
    """Tell whether this is a good frame without an id, which gets no ack: such a frame is none of those we count."""
    try:
        frame = json.loads(payload)
    except RecursionError:
        return True
    except ValueError:
        return False
    return isinstance(frame, dict) and frame.get("event") in EVENTS and frame.get("id") is None


class Native:
    """The native door, through which frames go one after the other; a close is followed by a new connection."""

    def __init__(self, server: Daphne, account: Account) -> None:
        self.server, self.account = server, account
        self.wire: Wire | None = None
        self.answers: Counter[Any] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.wire is not None:
            self.wire.connection.close()
            self.wire = None

    def attempt(self, attempt: Attempt) -> None:
        """Send a message and a ping behind it, and wait until both are answered or the socket is closed."""
        if self.wire is None:
            self.wire = Wire(bare_socket(self.server, self.account, receive_buffer=64 * 1024))
        self.wire.connection.sendall(attempt.sent + masked_frame(SENTINEL))
        answered, settled = may_stay_silent(attempt.payload), False
        for opcode, text in self.wire.frames():
            if opcode == CLOSE:
                self.answers[judged(int.from_bytes(text[:2], "big"))] += 1
                self.__exit__()
                return
            if opcode != 1:
                continue
            frame = json.loads(text)
            if frame.get("ack") == "sentinel":
                settled = True
            elif "ack" in frame or frame.get("event") == "error":
                self.answers[judged(frame["error"]["code"] if "error" in frame else "ok")] += 1
                answered = True
            if answered and settled:
                return
        raise AssertionError("The connection ended without a close.")
