"""The proxy does to connections what it is told, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from tests.faults.proxy import FaultProxy, Way
from tests.live.server import LOOPBACK, free_port

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[FaultProxy], Awaitable[Line]]


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(1_000):
                writer.write(chunk)
            writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def say(line: Line, text: bytes, *, patience: float = 2) -> bytes:
    """Send something and return the answer, or nothing when none comes."""
    reader, writer = line
    writer.write(text)
    with suppress(TimeoutError):
        return await asyncio.wait_for(reader.read(1_000), patience)
    return b""


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect through a proxy; the connections are closed after the test."""
    writers: list[asyncio.StreamWriter] = []

    async def connect_through(proxy: FaultProxy) -> Line:
        line = await asyncio.open_connection(LOOPBACK, proxy.port)
        writers.append(line[1])
        return line

    yield connect_through
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


async def test_it_forwards_and_skips_who_is_gone(echo: int, connect: Connect) -> None:
    """An upstream that refuses costs nobody their connection, and an end is passed on."""
    async with FaultProxy(free_port(), echo) as proxy:
        lines = [await connect(proxy) for _ in range(4)]

        assert [await say(line, b"hello") for line in lines] == [b"hello"] * 4
        lines[0][1].write_eof()
        assert await lines[0][0].read() == b""


async def test_it_refuses_and_comes_back(echo: int, connect: Connect) -> None:
    """On the same port; what was open goes on."""
    async with FaultProxy(echo) as proxy:
        before = await connect(proxy)
        assert await say(before, b"a") == b"a"

        await proxy.turn(Way.REFUSE)
        with pytest.raises(OSError, match="Connect call failed"):
            await connect(proxy)
        assert await say(before, b"b") == b"b"

        await proxy.turn(Way.FORWARD)
        assert await say(await connect(proxy), b"c") == b"c"


async def test_a_black_hole_swallows_for_ever(echo: int, connect: Connect) -> None:
    """What was open and what opens then is never answered nor ended, also afterwards; what comes later is."""
    async with FaultProxy(echo) as proxy:
        before = await connect(proxy)
        assert await say(before, b"a") == b"a"

        await proxy.turn(Way.BLACK_HOLE)
        meanwhile = await connect(proxy)
        assert await say(before, b"b", patience=0.2) == await say(meanwhile, b"b", patience=0.2) == b""
        await proxy.turn(Way.FORWARD)

        assert await say(before, b"c", patience=0.2) == await say(meanwhile, b"c", patience=0.2) == b""
        assert not before[0].at_eof()
        assert await say(await connect(proxy), b"d") == b"d"


async def test_it_cuts_and_delays(echo: int, connect: Connect) -> None:
    """A cut connection is reset; a delayed one is slow."""
    async with FaultProxy(echo) as proxy:
        line = await connect(proxy)
        assert await say(line, b"a") == b"a"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await say(line, b"b")

        proxy.delay = 0.1
        started = asyncio.get_running_loop().time()
        assert await say(await connect(proxy), b"c") == b"c"
        assert asyncio.get_running_loop().time() - started >= 0.2
