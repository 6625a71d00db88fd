"""Tests of Daphne's bounds, on its own protocol classes with a transport in memory."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from daphne import http_protocol, server, ws_protocol
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.web.http_headers import Headers

from realtime import daphne_bounds
from realtime.daphne_bounds import BACKLOG, INBOUND_FRAMES, INBOUND_LIMIT, OUTBOUND_BYTES, BoundedRequest, BoundedSocket
from realtime.sockets import CloseCode


class Transport(StringTransport):
    """A TCP transport whose peer reads when it is told to."""

    dataBuffer = b""  # noqa: N815  Twisted's name
    offset = 0

    @property
    def _tempDataLen(self) -> int:  # noqa: N802
        return len(self.value())


@pytest.fixture
def socket() -> BoundedSocket:
    """An open socket whose frames go to a queue that nobody has read yet."""
    protocol = BoundedSocket()
    protocol.transport = Transport()
    protocol.state = BoundedSocket.STATE_OPEN
    protocol.factory = SimpleNamespace(_callLater=lambda *_: SimpleNamespace(cancel=lambda: None))
    protocol.server = SimpleNamespace(log_action=lambda *_: None, protocol_disconnected=lambda _: None)
    protocol.request = SimpleNamespace(path="/ws")
    protocol.client_addr = None
    protocol.closed = []
    protocol.sendFrame = lambda opcode, payload=b"", **_: (
        protocol.closed.append((struct.unpack("!H", payload[:2])[0], payload[2:].decode())) if opcode == 8 else None
    )
    protocol.sendMessage = lambda content, binary: protocol.transport.write(content)
    protocol.closeHandshakeTimeout = 0
    protocol.applicationCreateWorked(asyncio.Queue())
    return protocol


def test_reading_pauses_while_frames_wait(socket: BoundedSocket) -> None:
    """And goes on when half of them are handled."""
    for _ in range(INBOUND_FRAMES):
        socket.onMessage(b"{}", False)
    assert socket.transport.producerState == "paused"

    while socket.application_queue.qsize() >= INBOUND_FRAMES // 2:
        assert socket.transport.producerState == "paused"
        socket.application_queue.get_nowait()

    assert socket.transport.producerState == "producing"
    assert socket.closed == []


def test_a_flood_is_closed(socket: BoundedSocket) -> None:
    """One read can bring more than a pause stops; what comes after the close is not kept."""
    for _ in range(2 * INBOUND_LIMIT):
        socket.onMessage(b"{}", False)

    assert socket.closed == [(4429, "flood")]
    assert socket.application_queue.qsize() == INBOUND_LIMIT


def test_a_peer_that_does_not_read_is_closed(socket: BoundedSocket) -> None:
    """What is written for it stays within the bound and one frame."""
    for _ in range(3 * OUTBOUND_BYTES // 10_000):
        socket.serverSend("x" * 10_000)

    assert socket.closed == [(4408, "slow_consumer")]
    assert OUTBOUND_BYTES < len(socket.transport.value()) <= OUTBOUND_BYTES + 10_000


def test_one_large_frame_is_no_slow_reader(socket: BoundedSocket) -> None:
    """Only what was there before it counts."""
    socket.serverSend("x" * (2 * OUTBOUND_BYTES))

    assert socket.closed == []
    assert socket.backlog() == 2 * OUTBOUND_BYTES


def test_a_closing_socket_has_no_backlog(socket: BoundedSocket) -> None:
    """Nobody waits for a peer that will read no more, and nothing more is written to it."""
    socket.serverSend("x" * 1000)
    socket.serverClose(4401)
    socket.serverSend("behind")

    assert socket.backlog() == 0
    assert socket.closed == [(4401, "unauthenticated")]
    assert socket.transport.value() == b"x" * 1000


@pytest.mark.parametrize("code", list(CloseCode))
def test_each_close_code_has_its_name(socket: BoundedSocket, code: CloseCode) -> None:
    """The reserved ones as well, which autobahn would refuse."""
    socket.serverClose(int(code))

    assert socket.closed == [(int(code), code.name.lower())]


def test_a_close_without_a_code(socket: BoundedSocket) -> None:
    """It is a normal one."""
    socket.serverClose()

    assert socket.closed == [(1000, "")]


def test_the_application_learns_of_the_end(socket: BoundedSocket) -> None:
    """Also after a close by a bound, from when on Daphne would be mute."""
    for _ in range(INBOUND_LIMIT + 1):
        socket.onMessage(b"{}", False)
    while not socket.application_queue.empty():
        socket.application_queue.get_nowait()

    socket.onClose(False, 1006, "the peer did not answer the close")

    assert socket.application_queue.get_nowait() == {"type": "websocket.disconnect", "code": 4429}


def test_unsent_bytes_under_tls() -> None:
    """The bytes are counted where they wait: in the TCP transport below."""
    below = SimpleNamespace(dataBuffer=b"x" * 100, offset=40, _tempDataLen=7)

    assert daphne_bounds.unsent_bytes(below) == 67
    assert daphne_bounds.unsent_bytes(SimpleNamespace(transport=below)) == 67
    assert daphne_bounds.unsent_bytes(SimpleNamespace()) == 0


# --- Bodies -----------------------------------------------------------------------------------------------------------


class Upload(BoundedRequest):
    """A request whose other half is noted instead of served."""

    def __init__(self) -> None:
        self.channel = SimpleNamespace(transport=StringTransport())
        self.responseHeaders = Headers()
        self._response_started = False
        self.content = None
        self.kept = 0


@pytest.fixture
def upload(monkeypatch: pytest.MonkeyPatch) -> Upload:
    """A request that is just arriving."""
    monkeypatch.setattr(daphne_bounds, "LARGEST_BODY", 100)
    base = http_protocol.WebRequest if http_protocol.WebRequest is not BoundedRequest else BoundedRequest.__mro__[1]
    monkeypatch.setattr(base, "gotLength", lambda self, length: None)
    monkeypatch.setattr(base, "handleContentChunk", lambda self, data: setattr(self, "kept", self.kept + len(data)))
    monkeypatch.setattr(base, "requestReceived", lambda self, *line: setattr(self, "passed_on", line))
    return Upload()


def answer(upload: Upload) -> bytes:
    """Return what was written to the client."""
    return bytes(upload.channel.transport.value())


def test_a_declared_length_beyond_every_limit(upload: Upload) -> None:
    """It is refused before the body comes, once, and not a byte is kept."""
    upload.gotLength(101)
    upload.handleContentChunk(b"x" * 60)
    upload.handleContentChunk(b"x" * 60)
    upload.requestReceived(b"POST", b"/", b"HTTP/1.1")

    assert answer(upload).startswith(b"HTTP/1.1 413 ")
    assert answer(upload).count(b"body_too_large") == 1
    assert upload.channel.transport.disconnecting
    assert upload.kept == 0
    assert not hasattr(upload, "passed_on")


def test_a_body_that_grows_beyond_every_limit(upload: Upload) -> None:
    """Without a declared length it is counted while it comes."""
    upload.gotLength(None)
    for _ in range(5):
        upload.handleContentChunk(b"x" * 30)

    assert answer(upload).startswith(b"HTTP/1.1 413 ")
    assert upload.kept == 90


def test_a_body_within_the_limit(upload: Upload) -> None:
    """It is passed on whole."""
    upload.gotLength(100)
    upload.handleContentChunk(b"x" * 100)
    upload.requestReceived(b"POST", b"/", b"HTTP/1.1")

    assert (answer(upload), upload.kept) == (b"", 100)
    assert hasattr(upload, "passed_on")


def cut(upload: Upload) -> list[bool]:
    """Note when the connection is aborted."""
    aborted: list[bool] = []
    upload.channel.transport = Transport()
    upload.channel.transport.abortConnection = lambda: aborted.append(True)
    upload.finished = 0
    return aborted


async def test_an_answer_waits_for_its_reader(upload: Upload) -> None:
    """A part of it is asked for once most of the one before is taken."""
    aborted = cut(upload)
    await asyncio.wait_for(upload.reader(), 1)
    upload.channel.transport.write(b"x" * (OUTBOUND_BYTES + 1))

    waiting = asyncio.ensure_future(upload.reader())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    upload.channel.transport.clear()

    await asyncio.wait_for(waiting, 1)
    assert aborted == []


async def test_a_reader_that_takes_nothing_is_let_go(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without a byte."""
    monkeypatch.setattr(daphne_bounds, "STALLED_SECONDS", 0.1)
    aborted = cut(upload)
    upload.channel.transport.write(b"x" * (OUTBOUND_BYTES + 1))

    await asyncio.wait_for(upload.reader(), 2)

    assert aborted == [True]


# --- Installation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let `install` patch, note Daphne's own part of the end, and undo it all."""
    done: list[str] = []
    for owner, name in (
        (server.Server, "create_application"),
        (server.Server, "handle_reply"),
        (ws_protocol.WebSocketFactory, "protocol"),
        (http_protocol, "WebRequest"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(server.Server, "kill_all_applications", lambda self: done.append("killed"))
    return done


async def end(server_object: Any) -> None:
    """Run the end of a server and wait for it."""
    finished: Deferred[Any] = server.Server.kill_all_applications(server_object)
    await asyncio.wait_for(finished.asFuture(asyncio.get_running_loop()), 5)


async def test_the_engine_stops_before_the_applications(restored: list[str]) -> None:
    """No new connection is accepted, then the drain, then Daphne's own end."""

    async def drain() -> None:
        restored.append("drained")

    port = SimpleNamespace(stopListening=lambda: restored.append("deaf"))
    daphne_bounds.install(on_shutdown=drain)

    await end(SimpleNamespace(listeners=[succeed(port)], connections={}))

    assert restored == ["deaf", "drained", "killed"]


async def test_requests_under_way_are_answered_first(restored: list[str], upload: Upload) -> None:
    """And are the last ones of their connections; those that are over, and sockets, are not waited for."""
    state: dict[str, float] = {}

    async def drain() -> None:
        restored.append("drained")

    daphne_bounds.install(on_shutdown=drain)
    connections = {upload: state, object(): {}}
    ending = asyncio.ensure_future(end(SimpleNamespace(listeners=[], connections=connections)))
    await asyncio.sleep(5 * daphne_bounds.READER_SECONDS)
    assert restored == []
    assert not upload.channel.persistent
    assert upload.responseHeaders.getRawHeaders(b"connection") == [b"close"]

    state["disconnected"] = 1.0
    await ending

    assert restored == ["drained", "killed"]


async def test_a_request_that_takes_too_long_is_left(
    restored: list[str], upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is not held up by a reader of a large file."""
    monkeypatch.setattr(daphne_bounds, "ANSWER_SECONDS", 0.05)

    async def drain() -> None:
        restored.append("drained")

    daphne_bounds.install(on_shutdown=drain)

    await end(SimpleNamespace(listeners=[], connections={upload: {}}))

    assert restored == ["drained", "killed"]


@pytest.mark.parametrize("failure", ["slow", "broken"])
async def test_a_drain_that_fails_does_not_hold_the_end(
    restored: list[str], failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daphne ends whatever becomes of it."""
    monkeypatch.setattr(daphne_bounds, "SHUTDOWN_SECONDS", 0.05)

    async def drain() -> None:
        if failure == "broken":
            raise RuntimeError("no")
        await asyncio.sleep(60)

    daphne_bounds.install(on_shutdown=drain)

    await end(SimpleNamespace(listeners=[], connections={}))

    assert restored == ["killed"]


def test_applications_can_ask_for_the_backlog(
    restored: list[str], socket: BoundedSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scope of a socket carries it as an extension; that of a request does not."""
    scopes: list[dict[str, Any]] = []
    monkeypatch.setattr(server.Server, "create_application", lambda self, protocol, scope: scopes.append(scope))

    async def drain() -> None:
        """Nothing to do."""

    daphne_bounds.install(on_shutdown=drain)
    server.Server.create_application(SimpleNamespace(), socket, {"type": "websocket"})
    server.Server.create_application(SimpleNamespace(), object(), {"type": "http"})

    socket.serverSend("x" * 10)
    assert scopes[0]["extensions"][BACKLOG]() == 10
    assert "extensions" not in scopes[1]
