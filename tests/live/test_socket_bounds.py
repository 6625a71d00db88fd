"""Sockets that do not read, or send what no client needs: each stays within a mebibyte and ends with a named code."""

from __future__ import annotations

import asyncio
import socket as sockets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from tests.live.clients import (
    CLOSE,
    KIB,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Account,
    Talker,
    bare_socket,
    closed_codes,
    masked_frame,
    register,
    resident_kib,
)
from tests.live.server import Daphne
from tests.live.witness import Witness

pytestmark = pytest.mark.live

DEAF = 100
SOCKETS_OF_ONE = 50
MIB_IN_KIB = KIB
SLACK_KIB = 40 * KIB
"""What a busy server's memory moves by on its own."""
SLOW_CONSUMER, FLOOD, TOO_BIG = 4408, 4429, 1009


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What the test opens is closed after it."""
    with ExitStack() as opened:
        yield opened


async def until(condition: Callable[[], Any], *, seconds: float = 20) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def open_group(server: Daphne, owner: Account, *members: Account) -> str:
    """Open a group and return its id."""
    body = {"participantIds": [one.id for one in members], "title": "Everybody"}
    async with httpx.AsyncClient(base_url=server.url, headers=owner.headers) as client:
        answer = await client.post("/chat", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def pour(connection: sockets.socket, data: bytes, *, seconds: float = 5) -> int:
    """Send the same data as fast as the server takes it, up to its end or for some seconds; return the bytes."""
    deadline, sent = time.monotonic() + seconds, 0
    connection.settimeout(0.5)
    while time.monotonic() < deadline:
        try:
            sent += connection.send(data)
        except TimeoutError:
            continue
        except OSError:
            break
    return sent


@pytest.mark.parametrize("pings", [0, 20], ids=["silent", "with pings"])
async def test_a_hundred_that_never_read(live_server_process: Daphne, stack: ExitStack, pings: int) -> None:
    """Each of them costs a mebibyte at most and is closed with 4408, asking for pongs all the while or not.

    What is said to them is twice what may wait for them.
    """
    server = live_server_process
    ada, deaf, deafer = [await register(server, name) for name in ("ada", "deaf", "deafer")]
    group = await open_group(server, ada, deaf, deafer)
    people = [deaf] * SOCKETS_OF_ONE + [deafer] * (DEAF - SOCKETS_OF_ONE)

    async with Witness(server), Talker(server, ada) as on_ada:
        connections = [stack.enter_context(await asyncio.to_thread(bare_socket, server, one)) for one in people]
        before = highest = resident_kib(server)
        for number in range(150):
            if number % 30 == 0:
                for connection in connections:
                    with suppress(OSError):
                        connection.sendall(masked_frame(b"?", PING) * pings)
            await on_ada.say("x" * 16_000, chatId=group)
            highest = max(highest, resident_kib(server))
            if number % 10 == 0 and len(closed_codes(server, deaf) + closed_codes(server, deafer)) == DEAF:
                break
        async with asyncio.timeout(PATIENCE):
            while len(closed_codes(server, deaf) + closed_codes(server, deafer)) < DEAF:
                await asyncio.sleep(0.2)
                highest = max(highest, resident_kib(server))

    print(f"{DEAF} deaf sockets: {(highest - before) / KIB:.0f} MiB more at the most")  # noqa: T201
    assert closed_codes(server, deaf) + closed_codes(server, deafer) == [SLOW_CONSUMER] * DEAF
    assert highest - before < DEAF * MIB_IN_KIB + SLACK_KIB


async def test_a_reader_that_is_slow_but_reads(live_server_process: Daphne, stack: ExitStack) -> None:
    """It is not closed, and gets everything in order."""
    server = live_server_process
    ada, slow = await register(server, "ada"), await register(server, "slow")
    connection = stack.enter_context(await asyncio.to_thread(bare_socket, server, slow))
    messages, received = 60, b""

    async with Witness(server), Talker(server, ada) as on_ada:
        for number in range(messages):
            await on_ada.say(f"<{number}>" + "x" * 16_000, receiverId=slow.id)
            received += await asyncio.to_thread(connection.recv, 8 * KIB)
        while f"<{messages - 1}>".encode() not in received:
            received += await asyncio.to_thread(connection.recv, 64 * KIB)

    places = [received.index(f"<{number}>".encode()) for number in range(messages)]
    assert places == sorted(places)
    assert closed_codes(server, slow) == []


FRAGMENT = masked_frame(b"x", 0, final=False)
FLOODS = {
    "pings": masked_frame(b"x" * 125, PING),
    "empty pings": masked_frame(b"", PING),
    "pongs": masked_frame(b"x" * 12, PONG),
    "fragments of a byte": FRAGMENT,
    "empty fragments": masked_frame(b"", 0, final=False),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_that_no_queue_sees(live_server_process: Daphne, stack: ExitStack, name: str) -> None:
    """Control frames, and messages that never end: closed with 4429, within the bounds, and nobody waits for it."""
    server, flooder = live_server_process, await register(live_server_process, "flooder")
    connection = stack.enter_context(await asyncio.to_thread(bare_socket, server, flooder))
    if "fragments" in name:
        connection.sendall(masked_frame(b"{", TEXT, final=False))
    before = resident_kib(server)

    async with Witness(server):
        sent = await asyncio.to_thread(pour, connection, FLOODS[name] * 2_000)
        await until(lambda: closed_codes(server, flooder))

    assert sent > 0
    assert closed_codes(server, flooder) == [FLOOD]
    assert resident_kib(server) - before < MIB_IN_KIB + SLACK_KIB


async def test_a_message_in_fragments(live_server_process: Daphne, stack: ExitStack) -> None:
    """It is put together and answered, with a ping answered in between; so is one that comes byte by byte."""
    server, ada = live_server_process, await register(live_server_process, "ada")
    connection = stack.enter_context(await asyncio.to_thread(bare_socket, server, ada))
    connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    text = b'{"event":"ping","id":"whole"}'
    pieces = [masked_frame(text[:1], TEXT, final=False)]
    pieces += [masked_frame(text[place : place + 1], 0, final=False) for place in range(1, len(text) - 1)]

    connection.sendall(b"".join(pieces))
    connection.sendall(masked_frame(b"between", PING))
    connection.sendall(masked_frame(text[-1:], 0))
    for byte in masked_frame(b'{"event":"ping","id":"drop by drop"}'):
        connection.sendall(bytes([byte]))

    received = b""
    while b"drop by drop" not in received:
        received += await asyncio.to_thread(connection.recv, 64 * KIB)
    assert received.index(b"between") < received.index(b'"ack":"whole"') < received.index(b'"ack":"drop by drop"')


async def test_a_frame_that_is_only_announced(live_server_process: Daphne, stack: ExitStack) -> None:
    """Exabytes end the socket with 1009 at once; what fits takes no memory before it comes."""
    server, ada = live_server_process, await register(live_server_process, "ada")
    announced = [stack.enter_context(await asyncio.to_thread(bare_socket, server, ada)) for _ in range(40)]
    greedy = stack.enter_context(await asyncio.to_thread(bare_socket, server, ada))
    before = resident_kib(server)

    async with Witness(server):
        for connection in announced:
            connection.sendall(b"\x81\xff" + (KIB * KIB).to_bytes(8, "big") + bytes(4) + b"{")
        greedy.sendall(b"\x81\xff" + (2**62).to_bytes(8, "big") + bytes(4) + b"{")
        received = b""
        with suppress(OSError):
            while chunk := await asyncio.to_thread(greedy.recv, 64 * KIB):
                received += chunk

    assert TOO_BIG.to_bytes(2, "big") in received
    assert resident_kib(server) - before < SLACK_KIB


async def test_a_close_that_is_not_answered(live_server_process: Daphne, stack: ExitStack) -> None:
    """The server waits a moment, then ends the connection."""
    server, ada = live_server_process, await register(live_server_process, "ada")
    connection = stack.enter_context(await asyncio.to_thread(bare_socket, server, ada))
    async with httpx.AsyncClient(base_url=server.url, headers=ada.headers) as client:
        assert (await client.post("/auth/logout")).status_code == 204

    received = b""
    with suppress(ConnectionResetError):
        while chunk := await asyncio.to_thread(connection.recv, 64 * KIB):
            received += chunk

    assert b"session:end" in received
    assert (4401).to_bytes(2, "big") + b"unauthenticated" in received
    await until(lambda: closed_codes(server, ada) == [4401])


async def test_a_good_bye_of_one_that_does_not_read(live_server_process: Daphne, stack: ExitStack) -> None:
    """What waits for it goes nowhere; its socket is let go all the same, and with it the memory."""
    server = live_server_process
    ada, deaf = await register(server, "ada"), await register(server, "deaf")
    connection = stack.enter_context(await asyncio.to_thread(bare_socket, server, deaf))
    async with Talker(server, ada) as on_ada:
        for _ in range(40):
            await on_ada.say("x" * 16_000, receiverId=deaf.id)

        connection.sendall(masked_frame((1000).to_bytes(2, "big"), CLOSE))

        await until(lambda: closed_codes(server, deaf), seconds=15)
    assert closed_codes(server, deaf) == [1000]
