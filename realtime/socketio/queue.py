"""What waits for one client to take it: python-engineio's queue, which has no bound of its own, with one.

A client that polls takes what is here with its next request; one with a WebSocket has it written on by a task. Above
the bound `room` waits, and then the socket's outbox fills, as it does with any server that holds a writer back.
"""

from __future__ import annotations

import asyncio

from engineio.packet import Packet

QUEUED_BYTES = 512 * 1024
"""How much waits here before a writer has to wait."""
PACKET_BYTES = 256
"""What a packet costs beside its text."""


def cost_of(packet: Packet | None) -> int:
    """Return what a packet counts for; None ends the queue."""
    data = packet.data if packet is not None else None
    return PACKET_BYTES + (len(data) if isinstance(data, str) else 0)


class PacketQueue(asyncio.Queue[Packet | None]):
    """Packets on their way out, and how many bytes they are."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.held = 0
        self._freed = asyncio.Event()

    def _put(self, item: Packet | None) -> None:
        self.held += cost_of(item)
        super()._put(item)

    def _get(self) -> Packet | None:
        item: Packet | None = super()._get()
        self.held -= cost_of(item)
        self._freed.set()
        return item

    async def room(self) -> None:
        """Wait until less than the bound is held."""
        while self.held > QUEUED_BYTES:
            self._freed.clear()
            await self._freed.wait()

    def drop(self) -> None:
        """Forget what waits."""
        while not self.empty():
            self.get_nowait()
            self.task_done()
