"""Tests of the short way for whole text frames, on a real TCP connection where it matters."""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport

from realtime.daphne_bounds import BoundedSocket
from realtime.daphne_memory import Inbox
from realtime.daphne_wire import OUTBOUND_BYTES, OUTBOUND_WRITES, WRITE_BYTES, text_frame, unmasked, unsent_bytes
from tests.live.clients import masked_frame


class Heard:
    """A socket in memory: what the application, autobahn and the peer get of it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.left: list[bytes] = []
        self.closes: list[tuple[int, str]] = []
        self.protocol = BoundedSocket()
        self.protocol.transport = StringTransport()
        self.protocol.state = BoundedSocket.STATE_OPEN
        self.protocol.current_frame = None
        self.protocol.inside_message = False
        self.protocol.data = b""
        self.protocol.muted = False
        self.protocol.application_queue = Inbox()
        self.protocol.take = self.take
        self.protocol._dataReceived = self.left.append
        self.protocol.sendClose = lambda code, reason: self.closes.append((code, reason))

    def take(self, text: str) -> bool:
        """Note a text that was offered."""
        self.texts.append(text)
        return True

    def receive(self, data: bytes) -> None:
        """Let bytes come from the peer."""
        self.protocol.dataReceived(data)


@pytest.fixture
def heard() -> Heard:
    """A socket in memory."""
    return Heard()


# --- In ---------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=600), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(payload: bytes, mask: bytes) -> None:
    """And does what RFC 6455 says, byte by byte."""
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))

    assert unmasked(masked, mask) == payload
    assert unmasked(payload, mask) == masked


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), max_size=5))
def test_whole_texts_are_taken_in_their_order(texts: list[str]) -> None:
    """However many come in one read, of every length."""
    heard = Heard()

    heard.receive(b"".join(masked_frame(text.encode()) for text in texts))

    assert heard.texts == texts
    assert heard.left == []


def test_a_large_text_is_taken(heard: Heard) -> None:
    """Up to what a length of two bytes can say."""
    heard.receive(masked_frame(b"x" * 65_535))

    assert [len(text) for text in heard.texts] == [65_535]


PING = b"\x89\x80\0\0\0\0"


@pytest.mark.parametrize(
    "other",
    [
        PING,
        b"\x82" + masked_frame(b"{}")[1:],
        b"\x01" + masked_frame(b"part")[1:],
        b"\xc1" + masked_frame(b"reserved")[1:],
        b"\x81\x02{}",
        b"\x81\xfe\x00\x05\0\0\0\0short",
        masked_frame(b"x" * 65_536),
    ],
    ids=["ping", "binary", "fragment", "reserved", "unmasked", "overlong", "eight"],
)
def test_everything_else_is_left_to_autobahn(heard: Heard, other: bytes) -> None:
    """Byte for byte, and all that follows it; what came before was taken."""
    tail = other + masked_frame(b"after")

    heard.receive(masked_frame(b"before") + tail)

    assert heard.texts == ["before"]
    assert heard.left == [tail]


@pytest.mark.parametrize("cut", range(1, len(masked_frame(b"x" * 126))))
def test_a_text_that_is_cut_in_two_is_left_to_autobahn(heard: Heard, cut: int) -> None:
    """Wherever the network cuts it."""
    part = masked_frame(b"x" * 126)[:cut]

    heard.receive(masked_frame(b"before") + part)

    assert (heard.texts, heard.left) == (["before"], [part])


@pytest.mark.parametrize(
    "between",
    [{"current_frame": object()}, {"inside_message": True}, {"data": b"\x81"}],
    ids=["frame", "message", "rest"],
)
def test_nothing_is_taken_while_autobahn_is_at_work(heard: Heard, between: dict[str, Any]) -> None:
    """The bytes may belong to what it has begun."""
    for name, value in between.items():
        setattr(heard.protocol, name, value)

    heard.receive(masked_frame(b"text"))

    assert (heard.texts, heard.left) == ([], [masked_frame(b"text")])


async def test_a_text_that_is_not_taken_waits_in_the_queue(heard: Heard) -> None:
    """And the ones behind it as well: nothing overtakes."""
    heard.protocol.take = lambda text: text == "later"

    heard.receive(masked_frame(b"first") + masked_frame(b"later"))

    queue = heard.protocol.application_queue
    assert [(await queue.get())["text"] for _ in range(queue.qsize())] == ["first", "later"]


def test_a_text_that_is_no_utf8_ends_the_socket(heard: Heard) -> None:
    """With 1007 (RFC 6455, section 8.1); nothing behind it is taken."""
    frames: list[tuple[int, bytes]] = []
    heard.protocol.sendCloseFrame = lambda code, reasonUtf8, isReply: frames.append((code, reasonUtf8))  # noqa: N803

    heard.receive(masked_frame(b"\xff") + masked_frame(b"after"))

    assert frames == [(1007, b"invalid UTF-8")]
    assert heard.texts == []


# --- Out --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_text_frame(size: int) -> None:
    """Its head is the shortest that can say the length."""
    text = "x" * size
    head = {0: bytes([0x81, size & 0x7F])}.get(size // 126)
    if head is None:
        head = b"\x81\x7e" + struct.pack("!H", size) if size < 65_536 else b"\x81\x7f" + struct.pack("!Q", size)

    assert text_frame(text) == head + text.encode()


def test_the_same_text_is_made_once() -> None:
    """A group's members get one and the same frame."""
    text = "to everybody " * 2

    assert text_frame(text) is text_frame(text)
    assert text_frame("something else") != text_frame(text)


@pytest.fixture
def pair() -> Iterator[tuple[BoundedSocket, sockets.socket]]:
    """An open socket on a real TCP connection, and its peer, which reads when it is told to."""
    listener = sockets.create_server(("127.0.0.1", 0))
    peer = sockets.socket()
    peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    peer.connect(listener.getsockname())
    accepted, _ = listener.accept()
    accepted.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    protocol = BoundedSocket()
    reactor = SimpleNamespace(addReader=lambda _: None, addWriter=lambda _: None, removeWriter=lambda _: None)
    protocol.transport = Connection(accepted, protocol, reactor)
    protocol.transport.connected = 1
    protocol._send = accepted.send
    protocol.state = BoundedSocket.STATE_OPEN
    protocol.closes = []
    protocol.sendClose = lambda code, reason: protocol.closes.append((code, reason))
    yield protocol, peer
    for each in (peer, accepted, listener):
        each.close()


async def test_what_is_written_in_one_turn_goes_together(
    pair: tuple[BoundedSocket, sockets.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one system call at the end of the turn, in order."""
    protocol, peer = pair

    protocol.write("one")
    protocol.write("two")
    waiting = protocol.backlog()
    await asyncio.sleep(0.01)

    assert waiting == 10
    assert peer.recv(100) == text_frame("one") + text_frame("two")
    assert protocol.backlog() == 0


async def test_a_peer_that_does_not_read_is_closed_by_bytes(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """What waits for it in this process stays within the bound."""
    protocol, _ = pair
    for _ in range(40):
        protocol.write("x" * 60_000)
        protocol.flush()

    assert protocol.closes[0] == (4408, "slow_consumer")
    assert unsent_bytes(protocol.transport) <= OUTBOUND_BYTES


async def test_a_peer_that_does_not_read_is_closed_by_writes(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """Small ones count as well: no more than the bound wait beyond what the kernel took."""
    protocol, peer = pair
    flushed = 0
    while not protocol.closes and flushed < 10_000:
        protocol.write(f"{flushed:05}" * 20)
        protocol.flush()
        flushed += 1

    assert protocol.closes[0] == (4408, "slow_consumer")
    assert len(protocol._held) == OUTBOUND_WRITES + 1
    assert sum(protocol._held) >= protocol.backlog() - len(protocol.transport._tempDataBuffer) * WRITE_BYTES
    assert peer.recv(2) == b"\x81\x64"


async def test_a_burst_makes_nobody_slow(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """However many frames a batch brings in one turn, they are one write."""
    protocol, _ = pair
    for number in range(1000):
        protocol.write(f"{number:05}" * 20)
    protocol.flush()

    assert protocol.closes == []
    assert len(protocol._held) == 1
    assert protocol.backlog() > 50_000


async def test_a_reader_that_catches_up_is_not_closed(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """Frames that have left no longer count, and nothing of them is lost or doubled."""
    protocol, peer = pair
    sent, got = b"", b""
    for number in range(300):
        text = f"{number:05}" * 40
        sent += text_frame(text)
        protocol.write(text)
        protocol.flush()
        if unsent_bytes(protocol.transport):
            got += peer.recv(1 << 16)
            protocol.transport.doWrite()
    while len(got) < len(sent):
        protocol.transport.doWrite() if unsent_bytes(protocol.transport) else None
        got += peer.recv(1 << 16)

    assert protocol.closes == []
    assert got == sent


async def test_autobahn_s_own_frames_keep_their_place(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """A pong or a close goes out behind what was written before it."""
    protocol, peer = pair
    protocol.send_queue, protocol.logOctets = [], False
    protocol.trafficStats = SimpleNamespace(outgoingOctetsWireLevel=0)

    protocol.write("text")
    protocol.sendData(b"\x8a\x00")
    protocol.transport.doWrite()
    await asyncio.sleep(0)

    assert peer.recv(100) == text_frame("text") + b"\x8a\x00"


async def test_nothing_is_written_to_a_socket_that_closes(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """And nobody waits for it."""
    protocol, peer = pair
    protocol.write("before")
    protocol.flush()
    protocol.state = BoundedSocket.STATE_CLOSING

    protocol.write("behind")
    protocol.flush()

    assert protocol.backlog() == 0
    assert peer.recv(100) == text_frame("before")


async def test_a_connection_that_is_gone_is_twisted_s_matter(pair: tuple[BoundedSocket, sockets.socket]) -> None:
    """The write does not raise; Twisted finds the end and tells it."""
    protocol, peer = pair
    peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    await asyncio.sleep(0.05)

    protocol.write("x")
    protocol.flush()

    assert unsent_bytes(protocol.transport) == 3 + WRITE_BYTES


def test_unsent_bytes_under_tls() -> None:
    """The bytes are counted where they wait: in the TCP transport below."""
    below = SimpleNamespace(dataBuffer=b"x" * 100, offset=40, _tempDataLen=7)

    assert unsent_bytes(below) == 67
    assert unsent_bytes(SimpleNamespace(transport=below)) == 67
    assert unsent_bytes(SimpleNamespace()) == 0


def test_small_writes_cost_more_than_their_bytes() -> None:
    """Twisted keeps each of them in an object of its own until the peer reads."""
    transport = SimpleNamespace(dataBuffer=b"", offset=0, _tempDataLen=20, _tempDataBuffer=[b"\x8a\0"] * 10)

    assert unsent_bytes(transport) == 20 + 10 * WRITE_BYTES
