"""People who talk to real servers: over REST, over a real WebSocket, and over a bare connection that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket as sockets
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import websockets

from tests.live.server import LOOPBACK, Daphne

PASSWORD = "correct horse battery staple"
PATIENCE = 15.0
KIB = 1024

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who has just registered."""

    id: str
    token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        """The header that REST and sockets take."""
        return {"Authorization": f"Bearer {self.token}"}


async def register(server: Daphne, name: str) -> Account:
    """Register somebody whose name begins like this."""
    username = f"{name}{next(_numbers)}.{os.getpid()}"
    body = {"username": username, "email": f"{username}@example.org", "password": PASSWORD}
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        answer = await client.post("/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return Account(id=body["user"]["id"], token=body["accessToken"], refresh_token=body["refreshToken"])


@dataclass
class Talker:
    """A socket of a person; as a context manager it is open."""

    server: Daphne
    account: Account
    inbox: list[dict[str, Any]] = field(default_factory=list)
    connection: Any = None
    _ids: Any = field(default_factory=lambda: count(1))
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __aenter__(self) -> Self:
        self.connection = await websockets.connect(self.server.ws_url, additional_headers=self.account.headers)
        await self.event("hello")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(websockets.WebSocketException, OSError):
            await self.connection.close()

    async def call(self, event: str, data: Any, *, patience: float = PATIENCE) -> dict[str, Any]:
        """Send a frame and return its ack."""
        number = next(self._ids)
        await self.connection.send(json.dumps({"event": event, "id": number, "data": data}))
        return await self.find(lambda frame: frame.get("ack") == number, patience=patience)

    async def say(self, content: str, **where: str) -> dict[str, Any]:
        """Send a message and return it as acked."""
        answer = await self.call("message:send", {"content": content, **where})
        assert "data" in answer, answer
        return dict(answer["data"]["message"])

    async def event(self, name: str, *, patience: float = PATIENCE, **expected: Any) -> dict[str, Any]:
        """Return the data of the next event of this name with these values."""

        def matches(frame: dict[str, Any]) -> bool:
            data = frame.get("data", {})
            return frame.get("event") == name and all(data.get(key) == value for key, value in expected.items())

        return dict((await self.find(matches, patience=patience)).get("data", {}))

    async def find(self, matches: Any, *, patience: float = PATIENCE) -> dict[str, Any]:
        """Take the first frame that matches out of what has come or will come; several may look at once."""
        async with asyncio.timeout(patience):
            while True:
                for place, frame in enumerate(self.inbox):
                    if matches(frame):
                        return self.inbox.pop(place)
                seen = len(self.inbox)
                async with self._reading:
                    if len(self.inbox) == seen:
                        self.inbox.append(json.loads(await self.connection.recv()))


def bare_socket(server: Daphne, account: Account, *, receive_buffer: int = 4 * KIB) -> sockets.socket:
    """Open a WebSocket by hand, for what no well-behaved library does."""
    connection = sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE)
    connection.connect((LOOPBACK, server.port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        "GET /ws HTTP/1.1",
        f"Host: {LOOPBACK}:{server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {account.token}",
        "\r\n",
    )
    connection.sendall("\r\n".join(lines).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return connection


TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
"""Opcodes of RFC 6455, section 5.2; a fragment that goes on has 0."""


def masked_frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """Return a frame of a client (RFC 6455, section 5.2), masked with zeros."""
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        length = b"\xfe" + len(payload).to_bytes(2, "big")
    else:
        length = b"\xff" + len(payload).to_bytes(8, "big")
    return bytes([opcode | 0x80 * final]) + length + b"\0\0\0\0" + payload


def closed_codes(server: Daphne, account: Account) -> list[int]:
    """Return the codes with which this person's sockets have ended, as the server logged them."""
    return [line["code"] for line in log_lines(server, "socket.closed") if line["user_id"] == account.id]


def resident_kib(server: Daphne) -> int:
    """Return the memory that the server holds."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("The process has no memory.")


def log_lines(server: Daphne, event: str) -> list[dict[str, Any]]:
    """Return the server's log lines of one kind."""
    lines = (json.loads(line) for line in server.log.splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event]
