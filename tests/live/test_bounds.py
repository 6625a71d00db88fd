"""A real server and clients that misbehave: its memory stays bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
import websockets

from tests.live.clients import (
    KIB,
    PATIENCE,
    Account,
    Talker,
    bare_socket,
    log_lines,
    masked_frame,
    register,
    resident_kib,
)
from tests.live.server import LOOPBACK, Daphne

pytestmark = pytest.mark.live

MIB = KIB * KIB
GROWTH_KIB = 40 * KIB
"""What the server may grow by during an attack that would otherwise cost hundreds of megabytes."""


@pytest.fixture(scope="module")
def accounts(live_server_process: Daphne) -> tuple[Account, Account]:
    """Ada and Bob."""
    return asyncio.run(register(live_server_process, "ada")), asyncio.run(register(live_server_process, "bob"))


@pytest.fixture
async def pair(live_server_process: Daphne, accounts: tuple[Account, Account]) -> AsyncIterator[tuple[Talker, Talker]]:
    """Sockets of two people who write to each other."""
    ada, bob = accounts
    async with Talker(live_server_process, ada) as on_ada, Talker(live_server_process, bob) as on_bob:
        await on_ada.say("warming up", receiverId=bob.id)
        await on_bob.event("message:receive")
        yield on_ada, on_bob


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What the test opens is closed after it."""
    with ExitStack() as opened:
        yield opened


async def until(condition: Callable[[], Any], *, seconds: float = 20) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def closes_of(server: Daphne, account: Account, code: int) -> list[dict[str, Any]]:
    """Return the log lines of this person's sockets that ended with the code."""
    closed = log_lines(server, "socket.closed")
    return [line for line in closed if line["user_id"] == account.id and line["code"] == code]


async def test_a_reader_that_does_not_read(live_server_process: Daphne, pair: tuple[Talker, Talker]) -> None:
    """It is closed with 4408, the memory stays bounded, and the others go on all the while."""
    on_ada, on_bob = pair
    server, deaf = live_server_process, await register(live_server_process, "deaf")
    slowest = 0.0

    with bare_socket(server, deaf):
        before = resident_kib(server)
        for number in range(60):
            burst = (on_ada.say("x" * 16_000, receiverId=deaf.id) for _ in range(20))
            await asyncio.gather(*burst)
            started = time.monotonic()
            await on_ada.say(f"message {number}", receiverId=on_bob.account.id)
            await on_bob.event("message:receive", content=f"message {number}")
            slowest = max(slowest, time.monotonic() - started)
            if closes_of(server, deaf, 4408):
                break
        async with asyncio.timeout(PATIENCE):
            while not closes_of(server, deaf, 4408):  # noqa: ASYNC110  the log is a file
                await asyncio.sleep(0.1)

    assert resident_kib(server) - before < GROWTH_KIB
    assert slowest < 2


async def test_a_flood_of_frames(live_server_process: Daphne, pair: tuple[Talker, Talker], stack: ExitStack) -> None:
    """It is held back or closed with 4429, the memory stays bounded, and the others go on all the while."""
    on_ada, on_bob = pair
    server, flooder = live_server_process, await register(live_server_process, "flooder")
    connection = stack.enter_context(bare_socket(server, flooder))
    frames = masked_frame(b'{"event":"ping"}') * 2_000
    before = resident_kib(server)
    sent = 0

    def flood() -> int:
        """Send as fast as the server takes it, for three seconds or up to its close."""
        nonlocal sent
        deadline = time.monotonic() + 3
        connection.settimeout(0.5)
        while time.monotonic() < deadline:
            try:
                sent += connection.send(frames)
            except TimeoutError:
                continue
            except OSError:
                break
        return sent

    flooding = asyncio.ensure_future(asyncio.to_thread(flood))
    delays = []
    while not flooding.done():
        started = time.monotonic()
        await on_ada.say("still here", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="still here")
        delays.append(time.monotonic() - started)
    await flooding

    assert sent > 0
    assert max(delays) < 2
    assert resident_kib(server) - before < GROWTH_KIB
    connection.close()
    await until(lambda: [line for line in log_lines(server, "socket.closed") if line["user_id"] == flooder.id])


async def test_a_frame_beyond_the_servers_limit(live_server_process: Daphne, pair: tuple[Talker, Talker]) -> None:
    """2 MB in one frame end the socket with 1009 before they are in memory; the other socket does not notice."""
    on_ada, on_bob = pair

    with suppress(websockets.ConnectionClosed):
        await on_ada.connection.send("x" * 2_000_000)
    await asyncio.wait_for(on_ada.connection.wait_closed(), 10)

    assert on_ada.connection.close_code == 1009
    assert (await on_bob.call("ping", {}))["data"] == {}


async def test_a_frame_beyond_the_protocols_limit(live_server_process: Daphne, pair: tuple[Talker, Talker]) -> None:
    """65 KB get an error frame, and the socket lives on."""
    on_ada, _ = pair

    await on_ada.connection.send(json.dumps({"event": "ping", "id": 1, "data": {"x": "x" * 65 * KIB}}))

    frame = await on_ada.find(lambda one: one.get("event") == "error")
    assert frame["error"]["code"] == "body_too_large"
    assert (await on_ada.call("ping", {}))["data"] == {}


async def test_a_resync_larger_than_the_buffers(live_server_process: Daphne, accounts: tuple[Account, Account]) -> None:
    """Megabytes of missed messages reach a client that reads slowly but reads."""
    server, (friend, _) = live_server_process, accounts
    absent = await register(server, "absent")
    cursors: dict[str, int] = {}
    async with (
        httpx.AsyncClient(base_url=server.url, headers=friend.headers) as client,
        Talker(server, friend) as on_friend,
    ):
        for number in range(10):
            body = {"participantIds": [absent.id], "title": f"Group {number}"}
            chat_id = (await client.post("/chat", json=body)).json()["id"]
            cursors[chat_id] = 0
            await asyncio.gather(*(on_friend.say("x" * 15_000, chatId=chat_id) for _ in range(15)))

    async with Talker(server, absent) as on_absent:
        await on_absent.connection.send(json.dumps({"event": "sync", "id": "s", "data": {"cursors": cursors}}))
        total, names = 0, []
        while "sync:done" not in names:
            text = await asyncio.wait_for(on_absent.connection.recv(), 15)
            await asyncio.sleep(0.05)
            total += len(text)
            names.append(json.loads(text).get("event"))

    assert names.count("sync") == 10
    assert total > 2 * MIB


# --- Bodies -----------------------------------------------------------------------------------------------------------


def talk(server: Daphne, head: str, chunks: Callable[[sockets.socket], None]) -> bytes:
    """Send a request's head, then what `chunks` sends as long as the server takes it; return the answer."""
    with sockets.create_connection((LOOPBACK, server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        with suppress(OSError):  # the server may have hung up
            chunks(connection)
        try:
            return connection.recv(64 * KIB)
        except ConnectionResetError:
            return b""


HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{more}\r\n\r\n"


@pytest.mark.parametrize("path", ["/chat/message", "/attachment", "/nowhere"])
async def test_a_gigabyte_that_is_announced(live_server_process: Daphne, path: str) -> None:
    """It is refused by its length alone, at once, before a byte of it is sent."""
    started = time.monotonic()

    answer = await asyncio.to_thread(
        talk, live_server_process, HEAD.format(path=path, more=f"Content-Length: {1024 * MIB}"), lambda _: None
    )

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer
    assert time.monotonic() - started < 2


async def test_a_body_without_a_length(live_server_process: Daphne) -> None:
    """It is refused while it streams; the server never holds more than its limit."""
    server = live_server_process
    before, sent, most = resident_kib(server), 0, 0
    chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"

    def stream(connection: sockets.socket) -> None:
        nonlocal sent, most
        for _ in range(300):
            connection.sendall(chunk)
            sent += MIB
            most = max(most, resident_kib(server))

    answer = await asyncio.to_thread(
        talk, server, HEAD.format(path="/chat/message", more="Transfer-Encoding: chunked"), stream
    )

    assert sent < 200 * MIB
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert most - before < GROWTH_KIB


# --- Text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"\xff\xfe", b'{"event":"ping","id":1,"data":{"x":"\xc3"}}', b"\xed\xa0\x80"])
async def test_text_that_is_no_utf8(live_server_process: Daphne, pair: tuple[Talker, Talker], payload: bytes) -> None:
    """It ends the socket with 1007 (RFC 6455, section 8.1); the other one goes on, and no traceback is in the log."""
    on_ada, on_bob = pair
    connection = bare_socket(live_server_process, on_ada.account)
    with connection:
        connection.sendall(b"\x81" + bytes([0x80 | len(payload)]) + bytes(4) + payload)
        received = b""
        with suppress(OSError):  # this client does not answer the close
            while chunk := await asyncio.to_thread(connection.recv, 64 * KIB):
                received += chunk

    assert b"\x03\xefinvalid UTF-8" in received
    assert (await on_bob.call("ping", {}))["data"] == {}
    assert "Traceback" not in live_server_process.log
