"""Tests of the bounds on requests and answers, on Daphne's own protocol classes with a transport in memory."""

from __future__ import annotations

import asyncio

import pytest
from daphne import http_protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from realtime import daphne_http
from realtime.daphne_http import OUTBOUND_BYTES, BoundedChannel, BoundedRequest
from tests.realtime.conftest import until
from tests.realtime.daphne_parts import Transport, Upload

# --- Heads ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def channel() -> tuple[BoundedChannel, Clock, StringTransport]:
    """An HTTP connection with a minute's patience, its clock and its transport."""
    clock, transport, channel = Clock(), StringTransport(), BoundedChannel()
    channel.callLater, channel.timeOut = clock.callLater, 60
    channel.makeConnection(transport)
    return channel, clock, transport


def test_a_head_that_does_not_end(channel: tuple[BoundedChannel, Clock, StringTransport]) -> None:
    """A byte now and then does not prolong its minute."""
    connection, clock, transport = channel
    clock.advance(50)
    connection.dataReceived(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(5):
        clock.advance(11)
        connection.dataReceived(b"x")
    assert not transport.disconnecting

    clock.advance(6)

    assert transport.disconnecting


def test_a_body_that_takes_its_time(channel: tuple[BoundedChannel, Clock, StringTransport]) -> None:
    """It has a minute for each of its pieces: its size has a bound, and its reader may be far away."""
    connection, clock, transport = channel
    connection.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    for _ in range(10):
        clock.advance(50)
        connection.dataReceived(b"x")

    assert not transport.disconnecting


# --- Bodies -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def upload(monkeypatch: pytest.MonkeyPatch) -> Upload:
    """A request that is just arriving."""
    monkeypatch.setattr(daphne_http, "LARGEST_BODY", 100)
    base = http_protocol.WebRequest if http_protocol.WebRequest is not BoundedRequest else BoundedRequest.__mro__[1]
    monkeypatch.setattr(base, "gotLength", lambda self, length: None)
    monkeypatch.setattr(base, "handleContentChunk", lambda self, data: setattr(self, "kept", self.kept + len(data)))
    monkeypatch.setattr(base, "requestReceived", lambda self, *line: setattr(self, "passed_on", line))
    return Upload()


def answer(upload: Upload) -> bytes:
    """Return what was written to the client."""
    return bytes(upload.channel.transport.value())


async def test_a_declared_length_beyond_every_limit(upload: Upload) -> None:
    """It is refused before the body comes, once, and nothing is kept; the connection ends when all of it has come."""
    upload.requestHeaders.setRawHeaders(b"expect", [b"100-continue"])
    upload.gotLength(101)
    upload.handleContentChunk(b"x" * 60)
    upload.handleContentChunk(b"x" * 60)
    assert not upload.channel.transport.disconnecting
    upload.requestReceived(b"POST", b"/", b"HTTP/1.1")

    assert answer(upload).startswith(b"HTTP/1.1 413 ")
    assert answer(upload).count(b"body_too_large") == 1
    assert not upload.requestHeaders.hasHeader(b"expect")
    assert upload.channel.transport.disconnecting
    assert upload.kept == 0
    assert not hasattr(upload, "passed_on")


async def test_a_refused_body_that_does_not_end(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read for some time and to some length, so that its sender reads the refusal, and no further."""
    monkeypatch.setattr(daphne_http, "LINGER_BYTES", 100)
    upload.gotLength(10**9)
    upload.handleContentChunk(b"x" * 200)
    assert not upload.channel.transport.disconnecting

    upload.handleContentChunk(b"x")

    assert upload.channel.transport.disconnecting


async def test_a_refused_body_that_does_not_come(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for long; a connection that has ended by itself is left alone."""
    monkeypatch.setattr(daphne_http, "LINGER_SECONDS", 0.05)
    other = Upload()
    for one in (upload, other):
        one.gotLength(101)
    transport = other.channel.transport
    other.channel = None

    await until(lambda: upload.channel.transport.disconnecting)

    assert not transport.disconnecting


async def test_a_body_that_grows_beyond_every_limit(upload: Upload) -> None:
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
    monkeypatch.setattr(daphne_http, "STALLED_SECONDS", 0.1)
    aborted = cut(upload)
    upload.channel.transport.write(b"x" * (OUTBOUND_BYTES + 1))

    await asyncio.wait_for(upload.reader(), 2)

    assert aborted == [True]
