"""A server that is told to stop: nothing acked is lost, and every socket hears why it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import websockets

from tests.conftest import DaphneFactory
from tests.stores import reading

pytestmark = pytest.mark.live

SENDS = 200


async def register(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Return the answer to a new account."""
    body = {"username": name, "email": f"{name}@example.org", "password": "quiet purple harbour"}
    answer = await client.post("/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def read_acks(socket: Any) -> tuple[dict[int, dict[str, Any]], int]:
    """Read until the socket ends; return the acked messages by frame id, and the close code."""
    acked: dict[int, dict[str, Any]] = {}
    try:
        async for text in socket:
            frame = json.loads(text)
            if "ack" in frame and "data" in frame:
                acked[frame["ack"]] = frame["data"]["message"]
    except websockets.ConnectionClosed:
        pass
    return acked, socket.close_code


async def test_sigterm_acks_what_is_committed_and_closes_with_1012(daphne: DaphneFactory) -> None:
    """Under load SIGTERM closes each socket with 1012 within 10 s, and every acked message is there afterwards."""
    server = daphne(PARLEY_RATE_LIMITS="off")
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as client:
        ada, bob = await register(client, "ada"), await register(client, "bob")
        headers = {"Authorization": f"Bearer {ada['accessToken']}"}
        socket = await websockets.connect(server.ws_url, additional_headers=headers)
        idle = await websockets.connect(server.ws_url, additional_headers=headers)
        for number in range(SENDS):
            data = {"receiverId": bob["user"]["id"], "content": f"message {number}", "clientId": str(uuid4())}
            await socket.send(json.dumps({"event": "message:send", "id": number, "data": data}))
        await socket.recv()  # hello
        first = json.loads(await socket.recv())  # from now on there is something to lose

        started = time.monotonic()
        server.send(signal.SIGTERM)
        (acked, code), (_, idle_code) = await asyncio.gather(read_acks(socket), read_acks(idle))
        await asyncio.to_thread(server.wait, seconds=10)
        took = time.monotonic() - started

    assert (code, idle_code) == (1012, 1012)
    assert took < 10
    acked[first["ack"]] = first["data"]["message"]
    stored = {str(UUID(str(row["_id"]))): row["seq"] for row in reading.rows(server.database_url, "messages")}
    assert {message["id"]: message["seq"] for message in acked.values()}.items() <= stored.items()
    assert sorted(stored.values()) == list(range(1, len(stored) + 1))
