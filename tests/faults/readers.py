"""Devices that read: they follow each chat by its numbers, and fetch whatever is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from tests.faults.devices import Device, Frame

CROSSING = 0.2
"""Seconds that a gap may last before it is fetched: events of two processes can cross on the way."""
SYNC = "sync"


class View:
    """A chat as a reader holds it: complete up to `rev`."""

    def __init__(self) -> None:
        self.rev = 0
        self.messages: dict[int, str] = {}
        self.early: dict[int, Mapping[str, Any]] = {}
        self.fetching = False

    def take(self, message: Mapping[str, Any]) -> None:
        """Take a message, now or once those before it are there."""
        if message["rev"] > self.rev:
            self.early[message["rev"]] = message
        while (following := self.early.pop(self.rev + 1, None)) is not None:
            self.rev += 1
            self.messages[following["seq"]] = following["id"]

    @property
    def order(self) -> list[tuple[int, str]]:
        """Seq and id of each message, by seq."""
        return sorted(self.messages.items())


class Reader(Device):
    """Follows some chats."""

    def __init__(self, *arguments: Any, chat_ids: Iterable[str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.views = {chat_id: View() for chat_id in chat_ids}
        self._syncing = False

    async def opened(self) -> None:
        """Say how far each chat is known."""
        self._syncing = True
        self.say(SYNC, {"cursors": {chat_id: view.rev for chat_id, view in self.views.items()}}, SYNC)

    def heard(self, frame: Frame) -> None:
        """Follow the numbers."""
        name, data = frame.get("event"), frame.get("data", {})
        if name == "message:receive":
            self._take(data)
        elif name == SYNC:
            for message in data.get("messages", ()):
                self._take(message)
            self._is_at(data["chatId"], data["rev"])
        elif name == "sync:reset":
            self.ledger.counts["resets"] += 1
            if data["reason"] != "too_far":
                self.ledger.lies.append(f"A member was told {data}")
            self._is_at(data["chatId"], data["rev"])
        elif name == "sync:done":
            self._synced(data["chats"])
        elif name in ("chat:removed", "message:update", "message:delete"):
            self.ledger.lies.append(f"Nobody did what was told: {frame}")
        elif "error" in frame:
            self._not_synced(frame)

    def overdue(self) -> bool:
        """Tell whether the end of a sync should have come by now."""
        return self._syncing

    def is_at(self, revs: Mapping[str, int]) -> bool:
        """Tell whether each chat is complete up to its rev."""
        return all(view.rev >= revs[chat_id] for chat_id, view in self.views.items())

    def _take(self, message: Mapping[str, Any]) -> None:
        view = self.views[message["chatId"]]
        self.ledger.told(message)
        before = view.rev
        view.take(message)
        if view.early and message["rev"] > before + 1:
            self._fetch_soon(message["chatId"], view)

    def _synced(self, chats: Mapping[str, int]) -> None:
        self._syncing = False
        for chat_id in self.views:
            if chat_id not in chats:
                self.ledger.lies.append(f"sync:done leaves out the chat {chat_id}")

    def _not_synced(self, frame: Frame) -> None:
        """The server cannot answer just now: ask again."""
        if frame["error"]["code"] != "unavailable":
            self.ledger.lies.append(f"A sync was refused: {frame}")
        self.ledger.counts["syncs told unavailable"] += 1
        self.beside(self._sync_again())

    async def _sync_again(self) -> None:
        await asyncio.sleep(CROSSING)
        await self.opened()

    def _is_at(self, chat_id: str, rev: int) -> None:
        view = self.views[chat_id]
        if rev > view.rev:
            self._fetch_soon(chat_id, view)

    def _fetch_soon(self, chat_id: str, view: View) -> None:
        if not view.fetching:
            view.fetching = True
            self.beside(self._fetch(chat_id, view, view.rev))

    async def _fetch(self, chat_id: str, view: View, known: int) -> None:
        """Fetch what is missing, unless it has come in the meantime."""
        await asyncio.sleep(CROSSING)
        if view.rev > known and not view.early:
            view.fetching = False
            return
        self.ledger.counts["gaps seen and healed"] += 1
        more = True
        while more:
            page = (await self.ask("GET", f"/chat/{chat_id}", params={"after": view.rev, "limit": 100})).json()
            for message in page["messages"]:
                self.ledger.told(message)
                view.take(message)
            more = page["hasMore"]
        if view.rev < page["rev"]:
            self.ledger.lies.append(f"REST says that {chat_id} is at {page['rev']} and gives up to {view.rev} only")
        view.fetching = False
        if view.early:
            self._fetch_soon(chat_id, view)


async def history(reader: Reader, chat_id: str) -> list[dict[str, Any]]:
    """Read a chat from its beginning, by seq, over REST."""
    found: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    while True:
        page = (await reader.ask("GET", f"/chat/{chat_id}", params={**before, "limit": 100})).json()
        found = page["messages"] + found
        if not page["hasMore"]:
            return found
        before = {"before": page["messages"][0]["seq"]}
