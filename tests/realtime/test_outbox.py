"""Tests of the way out to one socket, with servers that wait for their peer and servers that do not."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from realtime.outbox import DRAINED_BYTES, QUEUED_FRAMES, Outbox
from realtime.sockets import CloseCode
from tests.realtime.conftest import make_socket, until

Message = MutableMapping[str, Any]


class Server:
    """What an ASGI server gives as `send`: it holds frames back while its gate is shut."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.sent: list[Message] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = error

    async def send(self, message: Message) -> None:
        """Take a frame once the peer reads."""
        if not self.gate.is_set():
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(message)

    @property
    def texts(self) -> list[str]:
        """The text frames so far."""
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def closes(self) -> list[tuple[int, str]]:
        """The close frames so far."""
        return [(message["code"], message["reason"]) for message in self.sent if message["type"] == "websocket.close"]


def never() -> None:
    """Fail: there is room."""
    pytest.fail("The outbox overflowed.")


async def test_a_server_that_takes_all_needs_no_task() -> None:
    """The frame is out when `push` returns."""
    server = Server()
    outbox = Outbox(server.send, overflow=never)
    tasks = asyncio.all_tasks()

    for number in range(500):
        outbox.push(str(number))

    assert server.texts == [str(number) for number in range(500)]
    assert asyncio.all_tasks() == tasks


async def test_a_server_that_waits_keeps_the_order() -> None:
    """What is pushed meanwhile goes out behind it, and afterwards frames are written at once again."""
    server = Server()
    outbox = Outbox(server.send, overflow=never)
    server.gate.clear()

    for number in range(QUEUED_FRAMES):
        outbox.push(str(number))
    assert server.texts == []
    server.gate.set()
    await outbox.drained()
    outbox.push("at once")

    assert server.texts == [*map(str, range(QUEUED_FRAMES)), "at once"]


async def test_a_server_that_waits_more_than_once() -> None:
    """A `send` that suspends several times is carried on to its end."""
    sent = []

    async def send(message: Message) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        sent.append(message["text"])

    outbox = Outbox(send, overflow=never)
    outbox.push("a")
    outbox.push("b")
    await outbox.drained()

    assert sent == ["a", "b"]


class Bare:
    """What a server in another language may return: an iterator that waits some times, and no coroutine."""

    def __init__(self, message: Message, taken: list[Message]) -> None:
        self.message, self.taken, self.steps = message, taken, 3

    def __await__(self) -> Bare:
        return self

    def __iter__(self) -> Bare:
        return self

    def __next__(self) -> None:
        if self.steps:
            self.steps -= 1
            return
        self.taken.append(self.message)
        raise StopIteration


async def test_a_server_whose_send_is_no_coroutine() -> None:
    """Its awaitable can only be asked for the next step, as granian's; everything goes out, in order."""
    taken: list[Message] = []
    outbox = Outbox(lambda message: Bare(message, taken), overflow=lambda: None)  # type: ignore[arg-type,return-value]

    for number in range(5):
        outbox.push(str(number))
    outbox.close(1012)
    await until(lambda: len(taken) == 6)

    assert [message.get("text") for message in taken] == [*"01234", None]


async def test_such_a_send_that_is_abandoned() -> None:
    """It cannot be told that nobody waits any more."""
    taken: list[Message] = []
    outbox = Outbox(lambda message: Bare(message, taken), overflow=lambda: None)  # type: ignore[arg-type,return-value]
    outbox.push("0")
    await asyncio.sleep(0)
    outbox.abandon()
    await asyncio.sleep(0.01)

    assert taken == []


async def test_overflow_is_told_once() -> None:
    """One frame is on its way, 64 wait; the next one is too many, and nothing is kept after that."""
    server = Server()
    overflows = []
    outbox = Outbox(server.send, overflow=lambda: (overflows.append(1), outbox.abandon())[0])
    server.gate.clear()

    for number in range(QUEUED_FRAMES + 1):
        outbox.push(str(number))
    assert overflows == []
    for _ in range(10):
        outbox.push("too many")

    assert overflows == [1]


async def test_a_socket_that_overflows_is_closed_ahead_of_its_queue() -> None:
    """The peer is told 4408, and gets nothing of what it did not read."""
    server = Server()
    socket = make_socket(server.send)
    server.gate.clear()

    for number in range(QUEUED_FRAMES + 2):
        socket.push(str(number))
    socket.push("later")
    server.gate.set()
    await until(lambda: server.sent)

    assert server.closes == [(4408, "slow_consumer")]
    assert server.texts == []
    assert socket.closing is CloseCode.SLOW_CONSUMER


async def test_an_overflow_with_a_peer_that_is_gone() -> None:
    """That the close cannot be sent either is nobody's error."""
    server = Server(error=ConnectionResetError())
    socket = make_socket(server.send)
    server.gate.clear()

    for number in range(QUEUED_FRAMES + 2):
        socket.push(str(number))
    server.gate.set()
    await asyncio.sleep(0.01)

    assert server.sent == []


async def test_the_close_goes_after_what_is_queued() -> None:
    """And nothing goes behind it."""
    server = Server()
    socket = make_socket(server.send)
    server.gate.clear()

    socket.push("last words")
    socket.push("more")
    socket.close(CloseCode.UNAUTHENTICATED)
    socket.push("behind")
    socket.close(CloseCode.RESTARTING)
    server.gate.set()
    await until(lambda: server.closes)

    assert server.texts == ["last words", "more"]
    assert server.closes == [(4401, "unauthenticated")]


async def test_the_close_does_not_wait_behind_a_full_queue() -> None:
    """A peer that does not read is closed all the same."""
    server = Server()
    socket = make_socket(server.send)
    server.gate.clear()
    for number in range(QUEUED_FRAMES + 1):
        socket.push(str(number))

    socket.close(CloseCode.UNAUTHENTICATED)
    server.gate.set()
    await until(lambda: server.closes)

    assert server.closes == [(4401, "unauthenticated")]
    assert server.texts == []


@pytest.mark.parametrize("error", [ConnectionResetError(), RuntimeError("closed")], ids=["gone", "broken"])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_send_that_fails_ends_this_socket_only(error: Exception, waits: bool) -> None:
    """Who pushes to many sockets is not stopped by one of them."""
    server = Server(error=error)
    outbox = Outbox(server.send, overflow=never)
    if waits:
        server.gate.clear()

    outbox.push("a")
    outbox.push("b")
    server.gate.set()
    await asyncio.sleep(0.01)
    server.error = None
    outbox.push("c")

    assert server.sent == []


async def test_abandoning_drops_the_queue() -> None:
    """Once the peer is gone nothing is written any more."""
    server = Server()
    outbox = Outbox(server.send, overflow=never)
    server.gate.clear()
    outbox.push("a")
    outbox.push("b")
    await asyncio.sleep(0)

    outbox.abandon()
    server.gate.set()
    await asyncio.sleep(0.01)

    assert server.sent == []


async def test_drained_waits_for_a_server_that_takes_all() -> None:
    """Where the server holds the bytes itself, its backlog is what counts."""
    backlog = DRAINED_BYTES + 1
    outbox = Outbox(Server().send, overflow=never, backlog=lambda: backlog)

    waiting = asyncio.ensure_future(outbox.drained())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    backlog = DRAINED_BYTES

    await asyncio.wait_for(waiting, 1)


async def test_texts_go_to_the_wire() -> None:
    """And the close to the server, after which nothing more is written."""
    server, written = Server(), []
    outbox = Outbox(server.send, overflow=never, write=written.append)

    outbox.push("one")
    outbox.close(4401, "unauthenticated")
    outbox.push("behind")

    assert written == ["one"]
    assert [message["type"] for message in server.sent] == ["websocket.close"]
