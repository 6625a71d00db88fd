"""The people of a run with their chats and devices, and how a run is concluded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.faults.devices import Device, Tokens, until
from tests.faults.fleet import Fleet
from tests.faults.ledger import Ledger
from tests.faults.readers import Reader, history
from tests.faults.writers import RestWriter, Writer
from tests.live.clients import register

CONVERGENCE = 10.0
"""Seconds after the last ack, or after a fault has passed, in which everybody has everything."""


@dataclass
class Cast:
    """Some people who are all in the same group chats."""

    fleet: Fleet
    people: list[Tokens] = field(default_factory=list)
    chat_ids: list[str] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def readers(self) -> list[Reader]:
        """The devices that follow the chats."""
        return [device for device in self.devices if isinstance(device, Reader)]

    @property
    def writers(self) -> list[Writer | RestWriter]:
        """The devices that write."""
        return [device for device in self.devices if isinstance(device, (Writer, RestWriter))]

    async def __aenter__(self) -> Cast:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(device.stop() for device in self.devices))

    async def arrive(self, *, people: int, chats: int) -> Cast:
        """Register the people and put them into the chats."""
        server = self.fleet.daphnes[0]
        self.people = [Tokens(await register(server, "person")) for _ in range(people)]
        founder = self.add(Reader, chat_ids=[])
        for number in range(chats):
            body = {"participantIds": [one.user_id for one in self.people[1:]], "title": f"group {number}"}
            self.chat_ids.append((await founder.ask("POST", "/chat", json=body)).json()["id"])
        self.devices.remove(founder)
        await founder.stop()
        return self

    def add(self, kind: Any, person: int = 0, **options: Any) -> Any:
        """Give a person a device; it is started by `start`."""
        if kind is Reader:
            options.setdefault("chat_ids", self.chat_ids)
        device = kind(self.people[person], self.fleet.front, self.ledger, **options)
        self.devices.append(device)
        return device

    async def start(self, *, seconds: float = 20) -> None:
        """Connect every device that has not begun yet."""
        for device in self.devices:
            device.start()
        sockets = [device for device in self.devices if not isinstance(device, RestWriter)]
        await until(lambda: all(one.connection for one in sockets), seconds=seconds, what="not everybody is connected")

    async def acked(self, *, seconds: float) -> float:
        """Wait until everything that was to be sent is acked."""
        return await until(
            lambda: all(one.done for one in self.writers), seconds=seconds, what="not everything is acked"
        )

    async def converged(self, *, seconds: float = CONVERGENCE) -> float:
        """Wait until each reader holds each chat up to its newest number; return how long it took."""
        revs = await asyncio.to_thread(self.fleet.revs)
        return await until(
            lambda: all(reader.is_at(revs) for reader in self.readers),
            seconds=seconds,
            what=f"not every reader has everything: {revs}, "
            f"{[{chat: view.rev for chat, view in reader.views.items()} for reader in self.readers]}",
        )

    async def conclude(self, title: str) -> None:
        """Print the counts, and prove that nothing acked is lost, doubled, out of order or false."""
        self.ledger.counts["convergence, ms"] = round(1000 * await self.converged())
        print(self.ledger.report(title))  # noqa: T201  the counts are what these runs are for
        stored: list[dict[str, Any]] = []
        for chat_id in self.chat_ids:
            messages = await history(self.readers[0], chat_id)
            order = [(message["seq"], message["id"]) for message in messages]
            for reader in self.readers:
                assert reader.views[chat_id].order == order, "readers hold different orders"
            stored += messages
        self.ledger.verify(stored=stored, rows=await asyncio.to_thread(self.fleet.rows))
        assert self.ledger.acked_sends == len(self.ledger.wanted)
