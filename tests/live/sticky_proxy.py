"""A proxy that sends each client's address to the same server, as docs/operations.md tells nginx to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.live.server import LOOPBACK, Daphne

CHUNK = 64 * 1024


@asynccontextmanager
async def sticky_proxy(*servers: Daphne) -> AsyncIterator[str]:
    """Serve, and give the proxy's URL. Clients from 127.0.0.n get the server n, modulo their number."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        number = int(writer.get_extra_info("peername")[0].rpartition(".")[2])
        ends = [writer]
        try:
            answers, requests = await asyncio.open_connection(LOOPBACK, servers[number % len(servers)].port)
            ends.append(requests)
            await asyncio.gather(_carry(reader, requests), _carry(answers, writer))
        finally:
            for end in ends:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    proxy = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{proxy.sockets[0].getsockname()[1]}"
    finally:
        proxy.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
