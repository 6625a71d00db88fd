"""Tests of what an idle socket keeps: its own, and nothing of its handshake."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.testing import StringTransport

from realtime.daphne_bounds import BoundedSocket
from realtime.daphne_memory import Inbox

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: testserver\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Long: " + b"x" * 500 + b"\r\n\r\n"
)


OURS = {
    "failByDrop",
    "openHandshakeTimeout",
    "utf8validateIncoming",
    "perMessageCompressionAccept",
}
"""Options that are set in `daphne_bounds`; and each factory makes a function of its own for the last one."""


class Transport(StringTransport):
    """A transport in memory that, as a real one, lets a producer be taken from it twice."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """See `FileDescriptor`."""
        self.producer = None


@pytest.fixture
async def opened() -> BoundedSocket:
    """A socket that autobahn has opened, without a server around it."""
    scopes: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)

    daphne = Server(application, endpoints=["tcp:0"])
    daphne.connections = {}  # `run` makes it
    factory = WebSocketFactory(daphne, server="Daphne")
    factory.protocol = BoundedSocket
    socket = factory.buildProtocol(("127.0.0.1", 1))
    socket._raw_query_string = b""
    socket.makeConnection(Transport())
    socket.dataReceived(UPGRADE)
    socket.serverAccept(None)
    return socket


async def test_the_handshake_is_forgotten(opened: BoundedSocket) -> None:
    """No header is found from the socket any more."""
    assert opened.state == BoundedSocket.STATE_OPEN
    found = [value for value in vars(opened).values() if "x" * 100 in repr(value)]

    assert found == []
    assert sys.getsizeof(vars(opened)) < 1000


async def test_options_are_shared(opened: BoundedSocket) -> None:
    """They stand on the class, at the server's values."""
    assert "maxMessagePayloadSize" not in vars(opened)
    for option in opened.CONFIG_ATTRS:
        if option not in OURS:
            assert getattr(opened, option) == getattr(opened.factory, option)


async def test_a_lean_socket_still_speaks(opened: BoundedSocket) -> None:
    """Pings, fragments and the close handshake are autobahn's, with the values that it set first."""
    texts: list[str] = []
    await opened.application_queue.get()  # websocket.connect
    opened.take = lambda text: not texts.append(text)
    opened.transport.clear()

    opened.dataReceived(b"\x89\x82\0\0\0\0hi")
    opened.dataReceived(b"\x01\x82\0\0\0\0te" + b"\x80\x82\0\0\0\0xt")
    opened.dataReceived(b"\x88\x82\0\0\0\0" + (1000).to_bytes(2, "big"))

    assert texts == ["text"]
    assert opened.transport.value().startswith(b"\x8a\x02hi\x88")
    assert opened.remoteCloseCode == 1000
    assert repr(opened)


async def test_an_inbox_hands_out_in_order() -> None:
    """A reader that is early waits; what is left is told each time."""
    inbox, left = Inbox(), []
    inbox.on_take(left.append)

    early = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    for number in range(3):
        inbox.put_nowait({"number": number})

    assert await asyncio.wait_for(early, 1) == {"number": 0}
    assert [await inbox.get(), await inbox.get()] == [{"number": 1}, {"number": 2}]
    assert left == [2, 1, 0]
    assert inbox.qsize() == 0


async def test_a_reader_that_gives_up_takes_nothing() -> None:
    """The next one gets the message."""
    inbox = Inbox()
    early = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    early.cancel()
    inbox.put_nowait({"number": 1})
    await asyncio.gather(early, return_exceptions=True)

    assert await asyncio.wait_for(inbox.get(), 1) == {"number": 1}


async def test_an_empty_inbox_is_small() -> None:
    """Thousands of idle sockets have one each."""
    inbox = Inbox()
    inbox.put_nowait({})
    await inbox.get()

    held = [each for each in gc.get_referents(inbox) if not isinstance(each, type)]
    assert sum(map(sys.getsizeof, [inbox, *held])) < 200
