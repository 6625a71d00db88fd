"""Ten thousand frames a door that no client of ours would send: each gets an error or a named close.

They come from hypothesis, and go over few connections of a real server; a witness writes all the while and does not
notice.
"""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from tests.faults import native_frames, socketio_packets
from tests.faults.fuzzing import NAMED, Attempt, Door, Wire, examples, nobody_notices
from tests.live.clients import Account, Talker, bare_socket, register
from tests.live.server import LOOPBACK, Daphne
from tests.live.witness import Witness

pytestmark = pytest.mark.live

PATIENCE = 10.0
MESSAGES = {"native": 9_000, "Socket.IO over WebSocket": 8_000, "Socket.IO by polling": 2_000}
BATCH = 25
VIOLATIONS, GARBAGE, HANDSHAKES = 400, 400, 300


@pytest.fixture(scope="module")
def server(live_server_process: Daphne) -> Daphne:
    """The server under attack."""
    return live_server_process


async def attacker(server: Daphne) -> tuple[Account, tuple[str, ...]]:
    """Register somebody who has written a message, and return the ids that they know."""
    account, friend = await register(server, "mallory"), await register(server, "friend")
    async with Talker(server, account) as talker:
        message = await talker.say("hello", receiverId=friend.id)
    return account, (message["chatId"], message["id"], account.id, friend.id, message["clientId"])


# --- Frames ---

DOORS: dict[str, tuple[Callable[[Daphne, Account], Door], Callable[..., st.SearchStrategy[Attempt]], set[object]]] = {
    "native": (
        native_frames.Native,
        native_frames.messages,
        {"malformed_json", "unknown_event", "invalid", "body_too_large", "chat_not_found", 1007, 1009},
    ),
    "Socket.IO over WebSocket": (
        socketio_packets.OverWebSocket,
        socketio_packets.messages,
        {"malformed_json", "unknown_event", "invalid", "body_too_large", "chat_not_found", 1007, 1009},
    ),
    "Socket.IO by polling": (
        socketio_packets.ByPolling,
        socketio_packets.bodies,
        {"malformed_json", "invalid", "chat_not_found", 400},
    ),
}
"""Each door's client, its frames, and answers that must be among those it gives."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", DOORS)
async def test_frames(server: Daphne, name: str) -> None:
    """JSON and not, wrong types, huge numbers, deep nesting, binary, empty, split, oversized, no UTF-8."""
    open_door, frames, expected = DOORS[name]
    account, known = await attacker(server)
    batches = examples(st.lists(frames(known), min_size=BATCH, max_size=BATCH), MESSAGES[name] // BATCH)
    attempts = [attempt for batch in batches for attempt in batch]

    def attack() -> None:
        for attempt in attempts:
            try:
                door.attempt(attempt)
            except Exception as error:
                raise AssertionError(f"{attempt!r}: {error!r}") from error

    with nobody_notices(server), open_door(server, account) as door:
        async with Witness(server):
            await asyncio.to_thread(attack)

    print(f"{name}: {len(attempts)} frames: {dict(sorted(door.answers.items(), key=str))}")  # noqa: T201
    assert len(attempts) >= MESSAGES[name] * 0.9
    assert {"ok", *expected} <= set(door.answers)


# --- Bytes ------------------------------------------------------------------------------------------------------------


async def attack_with(
    server: Daphne, strategy: st.SearchStrategy[bytes], count: int, attempt: Callable[[bytes], None]
) -> None:
    """Make an attempt with each of about so many examples while the witness writes."""
    attempts = examples(strategy, count)

    def attack() -> None:
        for sent in attempts:
            attempt(sent)

    with nobody_notices(server):
        async with Witness(server):
            await asyncio.to_thread(attack)
    print(f"{len(attempts)} attempts")  # noqa: T201
    assert len(attempts) >= count * 0.9


async def test_what_the_standard_forbids(server: Daphne) -> None:
    """Each violation of RFC 6455 is answered by a close with a code that says so."""
    account, _ = await attacker(server)

    def attempt(sent: bytes) -> None:
        with bare_socket(server, account) as connection:
            connection.sendall(sent)
            assert Wire(connection).close_code() in {1002, 1007, 1009}

    await attack_with(server, native_frames.violations(), VIOLATIONS, attempt)


async def test_bytes_that_are_no_frames(server: Daphne) -> None:
    """And frames that break off: the connection comes to its end, with a named close or because the peer has gone."""
    account, _ = await attacker(server)

    def attempt(sent: bytes) -> None:
        with bare_socket(server, account) as connection:
            connection.sendall(sent)
            connection.shutdown(sockets.SHUT_WR)
            assert Wire(connection).close_code() in {None, 1000, *NAMED}

    await attack_with(server, native_frames.garbage(), GARBAGE, attempt)


async def test_handshakes(server: Daphne) -> None:
    """A request that is no good gets an answer of HTTP or a named close, or the connection is ended."""

    def attempt(sent: bytes) -> None:
        with sockets.create_connection((LOOPBACK, server.port), timeout=PATIENCE) as connection:
            connection.sendall(sent)
            connection.shutdown(sockets.SHUT_WR)
            answer = b""
            try:
                while chunk := connection.recv(64 * 1024):
                    answer += chunk
            except ConnectionResetError:
                pass
            assert answer == b"" or answer.startswith(b"HTTP/1.")
            assert not answer.startswith(b"HTTP/1.1 5")

    await attack_with(server, native_frames.handshakes(), HANDSHAKES, attempt)


@pytest.mark.parametrize("offered", ["\xff", "parley.v1, caf\xe9", "bearer.%FF"])
async def test_subprotocols_that_are_none(server: Daphne, offered: str) -> None:
    """They are no token either: the socket is closed as unauthenticated, not answered by an error of ours."""
    request = (
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {offered}\r\n\r\n"
    )
    with nobody_notices(server), sockets.create_connection((LOOPBACK, server.port), timeout=PATIENCE) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = await asyncio.to_thread(connection.recv, 4096)
        answer += await asyncio.to_thread(connection.recv, 4096) if b"unauth" not in answer else b""

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert (4401).to_bytes(2, "big") + b"unauthenticated" in answer
