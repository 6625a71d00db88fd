"""Tests of what waits for one client."""

from __future__ import annotations

import asyncio

from engineio.packet import MESSAGE, Packet

from realtime.socketio.queue import PACKET_BYTES, QUEUED_BYTES, PacketQueue


def packet(size: int = 0) -> Packet:
    """Return a message that counts for this many bytes at least."""
    return Packet(MESSAGE, "x" * size)


async def test_what_is_held_is_counted() -> None:
    """Each packet by its text and what it costs beside; the end of the queue too."""
    queue = PacketQueue()

    queue.put_nowait(packet(100))
    queue.put_nowait(None)
    assert queue.held == 100 + 2 * PACKET_BYTES
    assert (await queue.get()).data == "x" * 100
    assert await queue.get() is None
    assert queue.held == 0


async def test_a_full_queue_has_no_room() -> None:
    """A writer waits until something was taken."""
    queue = PacketQueue()
    await queue.room()
    queue.put_nowait(packet(QUEUED_BYTES // 2))
    await queue.room()
    queue.put_nowait(packet(QUEUED_BYTES // 2))
    writers = [asyncio.ensure_future(queue.room()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(writer.done() for writer in writers)

    queue.get_nowait()

    await asyncio.wait_for(asyncio.gather(*writers), 1)


async def test_many_small_packets_fill_it_too() -> None:
    """An empty one costs memory as well."""
    queue = PacketQueue()
    for _ in range(QUEUED_BYTES // PACKET_BYTES + 1):
        queue.put_nowait(packet())

    waiting = asyncio.ensure_future(queue.room())
    await asyncio.sleep(0.01)

    assert not waiting.done()
    waiting.cancel()


async def test_what_waits_can_be_dropped() -> None:
    """Who waits for the queue to be taken waits no longer."""
    queue = PacketQueue()
    for _ in range(3):
        queue.put_nowait(packet(QUEUED_BYTES))

    queue.drop()

    assert queue.held == 0
    await asyncio.wait_for(queue.join(), 1)
