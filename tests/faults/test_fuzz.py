"""Ten thousand frames that no client of ours would send: each gets an error or a named close, and nobody else notices.

The frames come from hypothesis, in batches over few connections of a real server; a witness writes all the while.
"""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.faults import native_frames
from tests.live.clients import CLOSE, Account, Talker, bare_socket, log_lines, masked_frame, register
from tests.live.server import LOOPBACK, Daphne
from tests.live.witness import Witness

pytestmark = pytest.mark.live

Example = TypeVar("Example")

PATIENCE = 10.0
MESSAGES, BATCH = 9_000, 25
VIOLATIONS, GARBAGE, HANDSHAKES = 400, 400, 300
NAMED = {1002, 1007, 1009, 4401, 4403, 4404, 4408, 4409, 4429}
"""Closes that a frame may bring about: those of RFC 6455 for what is no frame or no text, and our own."""
SENTINEL = b'{"event":"ping","id":"sentinel"}'


def examples(strategy: st.SearchStrategy[Example], count: int) -> list[Example]:
    """Let hypothesis make about so many examples, before anything else runs: it wants `random` for itself."""
    made: list[Example] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Example) -> None:
        made.append(example)

    collect()
    return made


class Wire:
    """A WebSocket by hand that takes the server's frames apart."""

    def __init__(self, connection: sockets.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield `(opcode, payload)` up to the end of the connection."""
        while True:
            while (head := self._head()) is None:
                try:
                    chunk = self.connection.recv(64 * 1024)
                except ConnectionResetError:
                    return
                if not chunk:
                    return
                self.buffer += chunk
            start, end = head
            opcode, payload = self.buffer[0] & 0x0F, self.buffer[start:end]
            self.buffer = self.buffer[end:]
            yield opcode, payload

    def _head(self) -> tuple[int, int] | None:
        if len(self.buffer) < 2:
            return None
        size = self.buffer[1]
        start = {126: 4, 127: 10}.get(size, 2)
        if start > 2:
            size = int.from_bytes(self.buffer[2:start], "big")
        return (start, start + size) if len(self.buffer) >= max(start, start + size) else None

    def close_code(self) -> int | None:
        """Read up to the server's close and return its code; None where the connection ended without one."""
        for opcode, payload in self.frames():
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")
        return None


@pytest.fixture(scope="module")
def server(live_server_process: Daphne) -> Daphne:
    """The server under attack."""
    return live_server_process


@contextmanager
def nobody_notices(server: Daphne) -> Iterator[None]:
    """No traceback and no failed command is in the log afterwards."""
    yield
    assert "Traceback" not in server.log, server.log[max(0, server.log.index("Traceback") - 2_000) :][:5_000]
    assert log_lines(server, "socket.failed") == []
    errors = [line for line in server.log.splitlines() if '"level": "error"' in line or '"level":"error"' in line]
    assert errors == []


async def attacker(server: Daphne) -> tuple[Account, tuple[str, ...]]:
    """Register somebody who has written a message, and return the ids that they know."""
    account, friend = await register(server, "mallory"), await register(server, "friend")
    async with Talker(server, account) as talker:
        message = await talker.say("hello", receiverId=friend.id)
    return account, (message["chatId"], message["id"], account.id, friend.id, message["clientId"])


# --- Frames -----------------------------------------------------------------------------------------------------------


def may_stay_silent(payload: bytes) -> bool:
    """Tell whether this is a good frame without an id, which gets no ack: such a frame is none of those we count."""
    try:
        frame = json.loads(payload)
    except RecursionError:
        return True
    except ValueError:
        return False
    return isinstance(frame, dict) and frame.get("event") in native_frames.EVENTS and frame.get("id") is None


ERRORS = {
    *("malformed_json", "unknown_event", "invalid", "body_too_large", "invalid_token", "token_expired"),
    *("session_ended", "chat_not_found", "message_not_found", "user_not_found", "not_message_sender"),
    *("message_deleted", "client_id_reused"),
}
"""What is said of a bad frame; `internal_error` would be our own failure."""


class Native:
    """The native door, through which frames go one after the other; a close is followed by a new connection."""

    def __init__(self, server: Daphne, account: Account) -> None:
        self.server, self.account = server, account
        self.wire: Wire | None = None
        self.answers: dict[Any, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.wire is not None:
            self.wire.connection.close()
            self.wire = None

    def try_message(self, attempt: native_frames.Attempt) -> None:
        """Send a message and a ping behind it, and wait until both are answered or the socket is closed."""
        if self.wire is None:
            self.wire = Wire(bare_socket(self.server, self.account, receive_buffer=64 * 1024))
        self.wire.connection.sendall(attempt.sent + masked_frame(SENTINEL))
        answered, settled = may_stay_silent(attempt.payload), False
        for opcode, text in self.wire.frames():
            if opcode == CLOSE:
                self._note(int.from_bytes(text[:2], "big"))
                self.__exit__()
                return
            if opcode != 1:
                continue
            frame = json.loads(text)
            if frame.get("ack") == "sentinel":
                settled = True
            elif "ack" in frame or frame.get("event") == "error":
                self._note(frame["error"]["code"] if "error" in frame else "ok")
                answered = True
            if answered and settled:
                return
        raise AssertionError("The connection ended without a close.")

    def _note(self, answer: Any) -> None:
        assert answer in NAMED | ERRORS | {"ok"}, answer
        self.answers[answer] = self.answers.get(answer, 0) + 1


async def test_frames(server: Daphne) -> None:
    """JSON and not, wrong types, huge numbers, deep nesting, binary, empty, split, oversized, no UTF-8."""
    account, known = await attacker(server)
    batches = examples(st.lists(native_frames.messages(known), min_size=BATCH, max_size=BATCH), MESSAGES // BATCH)
    attempts = [attempt for batch in batches for attempt in batch]

    def attack() -> None:
        for attempt in attempts:
            try:
                door.try_message(attempt)
            except Exception as error:
                raise AssertionError(f"{attempt!r}: {error!r}") from error

    with nobody_notices(server), Native(server, account) as door:
        async with Witness(server):
            await asyncio.to_thread(attack)

    print(f"{len(attempts)} frames: {dict(sorted(door.answers.items(), key=str))}")  # noqa: T201
    assert len(attempts) >= MESSAGES * 0.9
    assert {"ok", "malformed_json", "unknown_event", "invalid", "body_too_large", "chat_not_found"} <= set(door.answers)
    assert {1007, 1009} <= set(door.answers)


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
