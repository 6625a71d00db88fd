"""Downloads from a real server: they cost no more memory than their readers take, and a damaged one is cut off."""

from __future__ import annotations

import os
import socket as sockets
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.clients import KIB, Account, register, resident_kib
from tests.live.server import LOOPBACK, Daphne

pytestmark = pytest.mark.live

MIB = KIB * KIB
FILE_BYTES = 20 * MIB
STALLED_READERS = 10
GROWTH_KIB = 60 * KIB
"""Far below the 200 MiB that the stalled answers would take."""


@pytest.fixture
async def uploaded(live_server_process: Daphne) -> tuple[Account, dict[str, Any], bytes]:
    """A large file in the chat of two people."""
    ada, bob = await register(live_server_process, "ada"), await register(live_server_process, "bob")
    content = os.urandom(FILE_BYTES)
    async with httpx.AsyncClient(base_url=live_server_process.url, headers=ada.headers, timeout=30) as client:
        chat = (await client.post("/chat", json={"participantIds": [bob.id]})).json()
        files = {"file": ("noise.bin", content, "application/octet-stream")}
        answer = await client.post("/attachment", data={"chatId": chat["id"]}, files=files)
    assert answer.status_code == 201, answer.text
    return ada, answer.json(), content


async def test_stalled_readers_cost_little(
    live_server_process: Daphne, uploaded: tuple[Account, dict[str, Any], bytes]
) -> None:
    """Ten people who begin a download and read nothing of it hold little memory, and an eleventh gets the file."""
    account, attachment, content = uploaded
    before = resident_kib(live_server_process)
    request = (
        f"GET {attachment['url']} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {account.token}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        for _ in range(STALLED_READERS):
            connection = stack.enter_context(sockets.create_connection((LOOPBACK, live_server_process.port)))
            connection.sendall(request)
        async with httpx.AsyncClient(base_url=live_server_process.url, headers=account.headers, timeout=30) as client:
            answer = await client.get(attachment["url"])
        grown = resident_kib(live_server_process) - before

    assert answer.content == content
    assert grown < GROWTH_KIB


async def download(client: httpx.AsyncClient, url: str, received: list[bytes]) -> None:
    """Read an answer piece by piece."""
    async with client.stream("GET", url) as answer:
        async for chunk in answer.aiter_bytes():
            received.append(chunk)  # noqa: PERF401  what came before the end is kept


async def test_a_damaged_file_is_cut_off(
    live_server_process: Daphne, uploaded: tuple[Account, dict[str, Any], bytes]
) -> None:
    """What was altered on disk never goes out: the answer ends in the middle, at once, and the server lives on."""
    account, attachment, content = uploaded
    (path,) = (Path(live_server_process.data_dir) / "media").rglob(attachment["id"])
    with path.open("r+b") as file:
        file.seek(FILE_BYTES // 2)
        file.write(bytes(64))
    received: list[bytes] = []
    started = time.monotonic()

    async with httpx.AsyncClient(base_url=live_server_process.url, headers=account.headers, timeout=30) as client:
        with pytest.raises(httpx.TransportError):
            await download(client, attachment["url"], received)
        took = time.monotonic() - started
        alive = await client.get("/user/me")

    assert took < 10
    assert content.startswith(b"".join(received))
    assert len(b"".join(received)) <= FILE_BYTES // 2
    assert alive.status_code == 200
