"""The Socket.IO door: two clients for strange packets, over WebSocket and by polling, and strategies for these."""

from __future__ import annotations

import http.client
import json
import socket as sockets
from collections import Counter
from typing import Any, Self

from hypothesis import strategies as st

from tests.faults.fuzzing import Attempt, Wire, judged
from tests.faults.native_frames import BINARY, EVENTS, commands, damaged, nested, objects, split, written
from tests.live.clients import CLOSE, TEXT, Account, masked_frame
from tests.live.server import LOOPBACK, Daphne

PATIENCE = 10.0
SEPARATOR = b"\x1e"
SENTINEL = 9_007_199_254_740_990
"""The ack id of the ping behind each attempt: nothing else uses one as large."""
PING = b'42%d["ping"]' % SENTINEL
PONG = f"43{SENTINEL}["
HEADS = (
    *(
        b"42",
        b"427",
        b"42/,",
        b"42/x,",
        b"42/x,7",
        b"429007199254740991",
        b"4299999999999999999",
        b"42-1",
        b"42\xc2\xb2",
    ),
    *(
        b"451-",
        b"451-7",
        b"459-/x,",
        b"45999999999-",
        b"4599999999999999-",
        b"45-",
        b"43",
        b"4399",
        b"43/x,1",
        b"461-3",
    ),
    *(b"40", b"40/x,", b"41", b"1", b"41/x,", b"44", b"47", b"4", b"3", b"2", b"6", b"9", b"b", b"", b"2probe", b"0"),
)
LARGE = (64 * 1024, 140_000, 1024 * 1024)


def packets(known: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Return packets of Engine.IO: events with nearly right data, and everything else that begins with a digit."""
    frames = st.one_of(commands(known), commands(known), objects(known).filter(lambda one: isinstance(one, dict)))
    right = frames.map(lambda frame: _event(frame, b"42%d" % abs(hash(str(frame)) % 10**6)))
    headed = st.builds(_event, frames, st.sampled_from(HEADS))
    arguments = st.builds(
        lambda head, event, more: head + written([event, *more]),
        st.sampled_from(HEADS),
        st.sampled_from((*EVENTS, "", "x", None, 7, "connect", "disconnect", "__proto__")),
        st.lists(st.one_of(objects(known), st.just({"_placeholder": True, "num": 0})), max_size=3),
    )
    return st.one_of(
        *[right] * 5,
        headed,
        arguments,
        st.builds(lambda head, value: head + written(value), st.sampled_from(HEADS), objects(known)),
        st.builds(damaged, right, st.integers(0, 300), st.binary(max_size=4)),
        st.builds(lambda whole, size: whole[: size % (len(whole) + 1)], right, st.integers(0, 300)),
        st.binary(max_size=40),
        st.builds(
            nested,
            st.sampled_from((b"[", b'{"a":')),
            st.sampled_from((b"", b"]", b"}")),
            st.sampled_from((100, 20_000)),
            st.sampled_from((b"42", b'421["ping",', b"40", b"451-")),
        ).map(lambda whole: whole[:60_000]),
    )


def _event(frame: dict[str, Any], head: bytes) -> bytes:
    return head + written([frame.get("event"), *([frame["data"]] if "data" in frame else [])])


def messages(known: tuple[str, ...]) -> st.SearchStrategy[Attempt]:
    """Return packets in WebSocket messages: text or binary, in one frame or several, and now and then too large."""
    small = packets(known)
    large = st.sampled_from(LARGE).map(lambda size: b'421["ping",{"x":"' + b"x" * size + b'"}]')
    sizes, shapes, opcodes = st.integers(0, 40), st.integers(0, 3), st.sampled_from((TEXT, TEXT, TEXT, TEXT, BINARY))
    places = st.lists(st.integers(0, 500), min_size=1, max_size=5)

    @st.composite
    def message(draw: st.DrawFn) -> Attempt:
        payload = draw(large if draw(sizes) == 40 else small)
        opcode = draw(opcodes)
        if draw(shapes):
            return Attempt(payload, masked_frame(payload, opcode))
        return Attempt(payload, split(payload, opcode, draw(places), interrupted=False))

    return message()


def bodies(known: tuple[str, ...]) -> st.SearchStrategy[Attempt]:
    """Return bodies of polling clients: some packets, or what is none, or more than a request may hold."""
    packet = packets(known)
    several = st.lists(packet, min_size=2, max_size=4).map(SEPARATOR.join)
    large = st.sampled_from((SEPARATOR * 3_000, b"42" + b"x" * 140_000, b'421["ping",{"x":"' + b"x" * 70_000 + b'"}]'))
    sizes, shapes = st.integers(0, 40), st.integers(0, 3)

    @st.composite
    def body(draw: st.DrawFn) -> Attempt:
        small = packet if draw(shapes) else several
        sent = draw(large if draw(sizes) == 40 else small)
        return Attempt(sent, sent)

    return body()


def is_answered(packet: str) -> str | None:
    """Return the code by which a packet of the server answers an event; None where it does not."""
    if packet.startswith("43") and "[" in packet:
        answer = json.loads(packet[packet.index("[") :])[0]
    elif packet.startswith('42["error"'):
        answer = json.loads(packet[2:])[1]
    else:
        return None
    return str(answer["error"]["code"]) if isinstance(answer, dict) and "error" in answer else "ok"


class OverWebSocket:
    """A client with a WebSocket."""

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
        """Send a message and a ping behind it, and wait until the ping is answered or the socket is closed."""
        if self.wire is None:
            self.wire = self._connected()
        self.wire.connection.sendall(attempt.sent + masked_frame(PING))
        for opcode, payload in self.wire.frames():
            if opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big")
                # A packet may say good-bye, or come too early, or be for python-socketio, which ends what it dislikes.
                self.answers[code if code in (1000, 1005) or not payload else judged(code)] += 1
                break
            packet = payload.decode()
            if packet == "2":
                self.wire.connection.sendall(masked_frame(b"3"))
            if packet.startswith(PONG):
                return
            if (code := is_answered(packet)) is not None:
                self.answers[judged(code)] += 1
        else:
            self.answers["ended"] += 1
        self.__exit__()

    def _connected(self) -> Wire:
        connection = sockets.create_connection((LOOPBACK, self.server.port), timeout=PATIENCE)
        connection.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        connection.sendall(masked_frame(b"40" + json.dumps({"token": self.account.token}).encode()))
        wire = Wire(connection)
        for _, payload in wire.frames():
            if payload.startswith(b'42["hello"'):
                return wire
        raise AssertionError("It did not say hello.")


class ByPolling:
    """A client that polls."""

    def __init__(self, server: Daphne, account: Account) -> None:
        self.server, self.account = server, account
        self.path = ""
        self.answers: Counter[Any] = Counter()

    def __enter__(self) -> Self:
        self.http = http.client.HTTPConnection(LOOPBACK, self.server.port, timeout=PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def attempt(self, attempt: Attempt) -> None:
        """Post a body and a ping, and poll until the ping is answered or the connection has ended."""
        if not self.path:
            self._connect()
        posted = [self._ask("POST", body)[0] for body in (attempt.sent, PING)]
        for status in posted:
            assert status in (200, 400, 413), status
            if status != 200:
                self.answers[status] += 1
        while 200 in posted[1:]:
            status, body = self._ask("GET")
            if status != 200:
                assert status == 400, status
                break
            received = body.decode().split(SEPARATOR.decode())
            for code in filter(None, (is_answered(packet) for packet in received if not packet.startswith(PONG))):
                self.answers[judged(code)] += 1
            if any(packet.startswith(PONG) for packet in received):
                return
            if "2" in received:
                self._ask("POST", b"3")
        self.path = ""

    def _connect(self) -> None:
        self.path = "/socket.io/?EIO=4&transport=polling"
        _, body = self._ask("GET")
        self.path += f"&sid={json.loads(body[1:])['sid']}"
        assert self._ask("POST", b"40" + json.dumps({"token": self.account.token}).encode()) == (200, b"OK")
        while b'42["hello"' not in self._ask("GET")[1]:
            pass

    def _ask(self, method: str, body: bytes | None = None) -> tuple[int, bytes]:
        self.http.request(method, self.path, body)
        with self.http.getresponse() as answer:
            return answer.status, answer.read()
