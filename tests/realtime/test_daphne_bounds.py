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
from twisted.web import http

from realtime import daphne_bounds, daphne_http
from realtime.daphne_bounds import (
    CONTROL_FRAMES,
    INBOUND_FRAMES,
    INBOUND_LIMIT,
    MESSAGE_PIECES,
    OUTBOUND_BYTES,
    BoundedSocket,
)
from realtime.daphne_memory import Inbox
from realtime.sockets import CloseCode
from realtime.wire import WIRE
from tests.realtime.daphne_parts import Transport, Upload


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
    protocol.closeHandshakeTimeout = 0
    protocol.failedByMe, protocol.websocket_version = False, 13
    protocol.maxMessagePayloadSize = protocol.maxFramePayloadSize = OUTBOUND_BYTES
    protocol.applicationCreateWorked(Inbox())
    return protocol


async def test_reading_pauses_while_frames_wait(socket: BoundedSocket) -> None:
    """And goes on when half of them are handled."""
    for _ in range(INBOUND_FRAMES):
        socket.onMessage(b"{}", False)
    assert socket.transport.producerState == "paused"

    while socket.application_queue.qsize() >= INBOUND_FRAMES // 2:
        assert socket.transport.producerState == "paused"
        await socket.application_queue.get()

    assert socket.transport.producerState == "producing"
    assert socket.closed == []


def test_a_flood_is_closed(socket: BoundedSocket) -> None:
    """One read can bring more than a pause stops; what comes after the close is not kept."""
    for _ in range(2 * INBOUND_LIMIT):
        socket.onMessage(b"{}", False)

    assert socket.closed == [(4429, "flood")]
    assert socket.application_queue.qsize() == INBOUND_LIMIT


@pytest.mark.parametrize("code", list(CloseCode))
def test_each_close_code_has_its_name(socket: BoundedSocket, code: CloseCode) -> None:
    """The reserved ones as well, which autobahn would refuse."""
    socket.serverClose(int(code))

    assert socket.closed == [(int(code), code.name.lower())]


def test_a_close_without_a_code(socket: BoundedSocket) -> None:
    """It is a normal one."""
    socket.serverClose()

    assert socket.closed == [(1000, "")]


async def test_the_application_learns_of_the_end(socket: BoundedSocket) -> None:
    """Also after a close by a bound, from when on Daphne would be mute."""
    for _ in range(INBOUND_LIMIT + 1):
        socket.onMessage(b"{}", False)
    while socket.application_queue.qsize():
        await socket.application_queue.get()

    socket.onClose(False, 1006, "the peer did not answer the close")

    assert await socket.application_queue.get() == {"type": "websocket.disconnect", "code": 4429}


def test_pongs_that_nobody_reads(socket: BoundedSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count towards the bound as any other frame: a peer that only sends pings is closed as well."""
    monkeypatch.setattr(daphne_bounds, "CONTROL_FRAMES", 10**9)
    socket.sendPong = socket.transport.write
    for _ in range(2 * OUTBOUND_BYTES // 125):
        socket.onPing(b"x" * 125)

    assert socket.closed == [(4408, "slow_consumer")]
    assert OUTBOUND_BYTES < len(socket.transport.value()) <= OUTBOUND_BYTES + 125


@pytest.mark.parametrize("kind", ["onPing", "onPong"])
def test_a_flood_of_control_frames_is_closed(socket: BoundedSocket, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a client needs within a second; as many in each of several seconds are none."""
    socket.sendPong = lambda payload: None
    now = 100.0
    monkeypatch.setattr(daphne_bounds.time, "monotonic", lambda: now)
    for _ in range(3):
        now += 1.5
        for _ in range(CONTROL_FRAMES):
            getattr(socket, kind)(b"")
    assert socket.closed == []

    getattr(socket, kind)(b"")

    assert socket.closed == [(4429, "flood")]


def test_a_message_in_too_many_pieces_is_closed(socket: BoundedSocket) -> None:
    """Each piece takes memory of its own, so a message that trickles in is more than its bytes."""
    for _ in range(2):
        socket.onMessageBegin(False)
        socket.onMessageFrameBegin(MESSAGE_PIECES)
        for _ in range(MESSAGE_PIECES - 1):
            socket.onMessageFrameData(b"x")
        socket.onMessageFrameEnd()
    assert socket.closed == []

    socket.onMessageFrameData(b"x")

    assert socket.closed == [(4429, "flood")]


def test_a_ping_without_an_answer_is_closed(socket: BoundedSocket) -> None:
    """With a name, for the log and for a peer that wakes up."""
    socket.onAutoPingTimeout()

    assert socket.closed == [(4408, "slow_consumer")]


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
        (server, "serverFromString"),
        (http, "HTTPChannel"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(server.Server, "run", lambda self: done.append("ran"))
    monkeypatch.setattr(server.Server, "kill_all_applications", lambda self: done.append("killed"))
    return done


def nothing() -> None:
    """Do nothing at the start."""


async def end(server_object: Any) -> None:
    """Run the end of a server and wait for it."""
    finished: Deferred[Any] = server.Server.kill_all_applications(server_object)
    await asyncio.wait_for(finished.asFuture(asyncio.get_running_loop()), 5)


def test_the_start_is_told_before_the_server_runs(restored: list[str]) -> None:
    """So that it is said even when nobody connects."""

    async def drain() -> None:
        """Nothing ends here."""

    daphne_bounds.install(on_start=lambda: restored.append("told"), on_shutdown=drain)

    server.Server.run(SimpleNamespace())

    assert restored == ["told", "ran"]


async def test_the_engine_stops_before_the_applications(restored: list[str]) -> None:
    """No new connection is accepted, then the drain, then Daphne's own end."""

    async def drain() -> None:
        restored.append("drained")

    port = SimpleNamespace(stopListening=lambda: restored.append("deaf"))
    daphne_bounds.install(on_start=nothing, on_shutdown=drain)

    await end(SimpleNamespace(listeners=[succeed(port)], connections={}))

    assert restored == ["deaf", "drained", "killed"]


async def test_requests_under_way_are_answered_first(restored: list[str]) -> None:
    """And are the last ones of their connections; those that are over, and sockets, are not waited for."""
    upload = Upload()
    state: dict[str, float] = {}

    async def drain() -> None:
        restored.append("drained")

    daphne_bounds.install(on_start=nothing, on_shutdown=drain)
    connections = {upload: state, object(): {}}
    ending = asyncio.ensure_future(end(SimpleNamespace(listeners=[], connections=connections)))
    await asyncio.sleep(5 * daphne_http.READER_SECONDS)
    assert restored == []
    assert not upload.channel.persistent
    assert upload.responseHeaders.getRawHeaders(b"connection") == [b"close"]

    state["disconnected"] = 1.0
    await ending

    assert restored == ["drained", "killed"]


async def test_a_refused_upload_is_not_waited_for(restored: list[str]) -> None:
    """It has its answer already; what its sender still sends is only read on so that it reads the answer."""
    upload = Upload()
    upload.refused = True

    async def drain() -> None:
        restored.append("drained")

    daphne_bounds.install(on_start=nothing, on_shutdown=drain)

    async with asyncio.timeout(daphne_http.ANSWER_SECONDS / 2):
        await end(SimpleNamespace(listeners=[], connections={upload: {}}))

    assert restored == ["drained", "killed"]


async def test_a_request_that_takes_too_long_is_left(restored: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is not held up by a reader of a large file."""
    monkeypatch.setattr(daphne_http, "ANSWER_SECONDS", 0.05)

    async def drain() -> None:
        restored.append("drained")

    daphne_bounds.install(on_start=nothing, on_shutdown=drain)

    await end(SimpleNamespace(listeners=[], connections={Upload(): {}}))

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

    daphne_bounds.install(on_start=nothing, on_shutdown=drain)

    await end(SimpleNamespace(listeners=[], connections={}))

    assert restored == ["killed"]


async def test_applications_get_the_wire(
    restored: list[str], socket: BoundedSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scope of a socket carries it as an extension; that of a request is left to Daphne."""
    scopes: list[dict[str, Any]] = []
    monkeypatch.setattr(server.Server, "create_application", lambda self, protocol, scope: scopes.append(scope))

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send(await receive())

    async def drain() -> None:
        """Nothing to do."""

    replies: list[tuple[Any, Any]] = []

    async def handle_reply(protocol: Any, message: Any) -> None:
        replies.append((protocol, message))

    daphne_bounds.install(on_start=nothing, on_shutdown=drain)
    daphne = SimpleNamespace(application=application, handle_reply=handle_reply, connections={socket: {}})
    inbox = server.Server.create_application(daphne, socket, {"type": "websocket"})
    server.Server.create_application(daphne, object(), {"type": "http"})
    inbox.put_nowait({"type": "websocket.connect"})
    await daphne.connections[socket]["application_instance"]

    request, opened = scopes
    assert opened["extensions"][WIRE] is socket
    assert opened["asgi"] == {"version": "3.0"}
    assert replies == [(socket, {"type": "websocket.connect"})]
    assert "extensions" not in request


@pytest.mark.parametrize(
    ("description", "backlog"),
    [("tcp:port=8000:interface=127.0.0.1", daphne_bounds.LISTEN_BACKLOG), ("tcp:port=8000:backlog=7", 7)],
)
async def test_many_connections_may_wait_to_be_accepted(restored: list[str], description: str, backlog: int) -> None:
    """More than Twisted's fifty, unless whoever starts the server says how many."""

    async def drain() -> None:
        """Nothing to do."""

    daphne_bounds.install(on_start=nothing, on_shutdown=drain)
    from twisted.internet import reactor

    assert server.serverFromString(reactor, description)._backlog == backlog
