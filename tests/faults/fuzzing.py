"""How fuzz is made, sent and judged, whichever door it knocks at."""

from __future__ import annotations

import json
import socket as sockets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.live.clients import CLOSE, log_lines
from tests.live.server import Daphne

Example = TypeVar("Example")

NAMED = {1002, 1007, 1009, 4401, 4403, 4404, 4408, 4409, 4429}
"""Closes that a frame may bring about: those of RFC 6455 for what is no frame or no text, and our own."""
ERRORS = {
    *("malformed_json", "unknown_event", "invalid", "body_too_large", "invalid_token", "token_expired"),
    *("session_ended", "chat_not_found", "message_not_found", "user_not_found", "not_message_sender"),
    *("message_deleted", "client_id_reused"),
}
"""What is said of a bad frame; `internal_error` would be our own failure."""


class Attempt:
    """What a frame carries, and the bytes by which it is sent; no dataclass, which hypothesis would show in full."""

    def __init__(self, payload: bytes, sent: bytes) -> None:
        self.payload, self.sent = payload, sent

    def __repr__(self) -> str:
        """Show the beginning: the whole could be a mebibyte."""
        return f"Attempt({len(self.payload)} bytes, {self.payload[:200]!r}, {len(self.sent)} sent, {self.sent[:40]!r})"


class Door(Protocol):
    """A client that sends one attempt after the other; what ends its connection is followed by a new one."""

    answers: Counter[Any]

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def attempt(self, attempt: Attempt) -> None:
        """Send it, and wait until it is answered or the connection is closed. Raises `AssertionError`."""


def judged(answer: Any) -> Any:
    """Return an answer's code. Raises `AssertionError` where it is not one that a bad frame may get."""
    assert answer in NAMED | ERRORS | {"ok"}, answer
    return answer


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


@contextmanager
def nobody_notices(server: Daphne) -> Iterator[None]:
    """No traceback and no failed command is in the log afterwards."""
    yield
    assert "Traceback" not in server.log, server.log[max(0, server.log.index("Traceback") - 2_000) :][:5_000]
    assert log_lines(server, "socket.failed") == []
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    # The suite's PostgreSQL does not wait for the disk, which the start rightly complains of.
    assert [line for line in lines if line.get("level") == "error" and line["event"] != "start.problem"] == []
