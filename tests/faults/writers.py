"""Devices that send: each message under one clientId until it is acked."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from tests.faults.devices import Device, Frame
from tests.faults.ledger import Sent

WINDOW = 16
"""Sends of one writer under way."""

_texts = count(1)


def texts(number: int, *, chat_ids: Iterable[str], sender_id: str) -> list[Sent]:
    """Make that many different messages, for each of the chats in turn."""
    chats = list(chat_ids)
    return [
        Sent(str(uuid4()), chats[place % len(chats)], sender_id, f"message {next(_texts)}") for place in range(number)
    ]


class Writer(Device):
    """Sends over its socket, `WINDOW` at a time; `every` is a pause between two sends in seconds."""

    def __init__(self, *arguments: Any, every: float = 0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.every = every
        self.waiting: deque[Sent] = deque()
        self.under_way: dict[str, tuple[Sent, float]] = {}
        self._pacing: asyncio.Task[None] | None = None

    def write(self, number: int, *chat_ids: str) -> None:
        """Send so many messages to the chats."""
        self.waiting.extend(texts(number, chat_ids=chat_ids, sender_id=self.tokens.user_id))
        self._go_on()

    @property
    def done(self) -> bool:
        """Whether everything is acked."""
        return not self.waiting and not self.under_way

    async def opened(self) -> None:
        """Repeat what was not acked, in the order in which it was sent."""
        for sent, _ in list(self.under_way.values()):
            self._send(sent)
        self._go_on()

    def heard(self, frame: Frame) -> None:
        """Take an ack; what others say is their devices' business."""
        if "ack" not in frame:
            return
        client_id = frame["ack"]
        if "data" in frame:
            self.ledger.acked(client_id, frame["data"]["message"], duplicate=frame["data"]["duplicate"])
            if found := self.under_way.pop(client_id, None):
                self.ledger.latencies.append(asyncio.get_running_loop().time() - found[1])
            self._go_on()
        elif frame["error"]["code"] == "unavailable":
            self.ledger.counts["sends told unavailable"] += 1
            self.beside(self._again(client_id))
        else:
            self.ledger.lies.append(f"A send was refused: {frame}")

    def overdue(self) -> bool:
        """Tell whether an ack should have come by now."""
        return bool(self.under_way)

    def _go_on(self) -> None:
        if self.every:
            if self._pacing is None:
                self.beside(self._pace())
            return
        while self.connection is not None and self.waiting and len(self.under_way) < WINDOW:
            self._begin()

    async def _pace(self) -> None:
        self._pacing = asyncio.current_task()
        while self.waiting:
            if self.connection is not None and len(self.under_way) < WINDOW:
                self._begin()
            await asyncio.sleep(self.every * random.uniform(0.5, 1.5))
        self._pacing = None

    def _begin(self) -> None:
        sent = self.waiting.popleft()
        self.under_way[sent.client_id] = (sent, asyncio.get_running_loop().time())
        self._send(sent)

    def _send(self, sent: Sent) -> None:
        self.ledger.sends(sent)
        data = {"chatId": sent.chat_id, "content": sent.content, "clientId": sent.client_id}
        self.say("message:send", data, sent.client_id)

    async def _again(self, client_id: str) -> None:
        await asyncio.sleep(random.uniform(0.1, 0.3))
        if found := self.under_way.get(client_id):
            self._send(found[0])


class RestWriter(Device):
    """Sends over REST, one message after the other."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.done = True

    def start(self) -> None:
        """It needs no socket."""

    def write(self, number: int, *chat_ids: str) -> None:
        """Send so many messages to the chats."""
        self.done = False
        self.beside(self._write(texts(number, chat_ids=chat_ids, sender_id=self.tokens.user_id)))

    async def _write(self, messages: list[Sent]) -> None:
        for sent in messages:
            body = {"chatId": sent.chat_id, "content": sent.content, "clientId": sent.client_id}
            answer = await self.ask("POST", "/chat/message", trying=partial(self.ledger.sends, sent), json=body)
            self.ledger.acked(sent.client_id, answer.json(), duplicate=answer.status_code == 200)
        self.done = True
