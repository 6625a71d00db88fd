"""A client as docs/protocol.md tells one to be: what it holds of chats and people, and what it does with each frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Frame = dict[str, Any]
Rest = Callable[..., tuple[int, Any]]
"""Asks the server: `rest("/chat", limit=100)` gives the status and the JSON."""


@dataclass
class ChatModel:
    """One chat: everything up to `rev` is held; what is above waits for what is between."""

    kind: str
    title: str | None
    rev: int = 0
    latest: int = 0
    members: dict[str, Frame] = field(default_factory=dict)
    messages: dict[str, Frame] = field(default_factory=dict)
    waiting: dict[int, Frame] = field(default_factory=dict)
    marks: int = 0
    members_are_stale: bool = False

    @property
    def own_marks(self) -> int:
        """The sum that the server's is compared with."""
        return sum(one["deliveredSeq"] + one["readSeq"] for one in self.members.values())

    @property
    def is_behind(self) -> bool:
        """Tell whether something is missing."""
        return self.latest > self.rev or self.members_are_stale or self.own_marks < self.marks

    def take_message(self, message: Frame) -> None:
        """Apply a message in its turn."""
        if message["rev"] > self.rev:
            self.latest = max(self.latest, message["rev"])
            self.waiting[message["rev"]] = message
        while (due := self.waiting.pop(self.rev + 1, None)) is not None:
            self._apply(due)
            self.rev += 1

    def take_changes(self, messages: list[Frame], rev: int) -> None:
        """Apply a complete answer: everything after what is held, up to `rev`."""
        for message in messages:
            if message["rev"] > self.rev:
                self._apply(message)
        self.rev = max(self.rev, rev)
        self.latest = max(self.latest, self.rev)
        waiting, self.waiting = self.waiting, {}
        for message in sorted(waiting.values(), key=lambda one: int(one["rev"])):
            self.take_message(message)

    def _apply(self, message: Frame) -> None:
        self.messages[message["id"]] = message
        system = message["system"] or {}
        match system.get("action"):
            case "renamed" | "created":
                self.title = system["title"]
            case "removed" | "left":
                self.members.pop(system["userId"], None)
                self.marks = 0
            case "role":
                self.members.get(system["userId"], {})["role"] = system["role"]
            case "added":
                self.members_are_stale = True

    def take_members(self, members: list[Frame]) -> None:
        """Take all members as they are now; watermarks only grow."""
        held = self.members
        self.members = {}
        for one in members:
            before = held.get(one["userId"], one)
            marks = {mark: max(one[mark], before[mark]) for mark in ("deliveredSeq", "readSeq")}
            same = ("userId", "role", "joinedAt")
            self.members[one["userId"]] = {**{key: one[key] for key in same}, **marks}
        self.members_are_stale, self.marks = False, 0

    def take_receipt(self, data: Frame) -> None:
        """Raise a member's watermarks."""
        self.latest = max(self.latest, data["rev"])
        if member := self.members.get(data["userId"]):
            for mark in ("deliveredSeq", "readSeq"):
                member[mark] = max(member[mark], data[mark])

    def is_read(self, message: Frame) -> bool:
        """Tell whether every other member's read mark has reached the message."""
        others = [one["readSeq"] for user_id, one in self.members.items() if user_id != message["senderId"]]
        return bool(others) and min(others) >= message["seq"]


class ClientModel:
    """What one person's client holds. `take` is for what the socket says, `settle` asks for what is missing."""

    def __init__(self, user_id: str, rest: Rest) -> None:
        self.user_id = user_id
        self.rest = rest
        self.chats: dict[str, ChatModel] = {}
        self.people: dict[str, tuple[str, str | None]] = {}
        self.typing: dict[tuple[str, str], float] = {}
        self.unknown: set[str] = set()
        self.signed_out: str | None = None
        self.clock = 0.0

    # --- By REST ------------------------------------------------------------------------------------------------------

    def load(self) -> ClientModel:
        """Begin: the inbox, and the newest page of each chat."""
        for entry in self._inbox():
            self._load_chat(entry["id"])
        return self

    def _inbox(self) -> list[Frame]:
        status, body = self.rest("/chat", limit=100)
        if status == 401:
            self.signed_out = body["error"]["code"]
            return []
        assert (status, body["nextCursor"]) == (200, None), "the histories are short"
        return list(body["chats"])

    def _load_chat(self, chat_id: str) -> None:
        status, page = self.rest(f"/chat/{chat_id}", limit=100)
        self.unknown.discard(chat_id)
        if status == 404:
            self.chats.pop(chat_id, None)
            return
        assert not page["hasMore"], "the histories are short"
        chat = self.chats[chat_id] = ChatModel(kind=page["chat"]["kind"], title=page["chat"]["title"])
        chat.take_changes(sorted(page["messages"], key=lambda one: int(one["rev"])), page["rev"])
        chat.title = page["chat"]["title"]
        self._take_members(chat, page["chat"]["members"])

    def _catch_up(self, chat_id: str, chat: ChatModel) -> None:
        status, page = self.rest(f"/chat/{chat_id}", after=chat.rev, limit=100)
        if status == 404:
            del self.chats[chat_id]
            return
        rev = page["messages"][-1]["rev"] if page["hasMore"] else page["rev"]
        chat.take_changes(page["messages"], rev)
        self._take_members(chat, page["chat"]["members"])

    def settle(self) -> None:
        """Wait a moment, then ask for what is still missing."""
        for _ in range(20):
            for chat_id in list(self.unknown):
                self._load_chat(chat_id)
            behind = [(chat_id, chat) for chat_id, chat in self.chats.items() if chat.is_behind]
            if not behind:
                return
            for chat_id, chat in behind:
                self._catch_up(chat_id, chat)
        raise AssertionError("It asks for ever.")

    def resume(self, answer: list[tuple[str, Frame]]) -> None:
        """Come back: `sync` brings the chats, and then the inbox brings receipts and people."""
        for name, data in answer:
            self.take(name, data)
        for entry in self._inbox():
            if chat := self.chats.get(entry["id"]):
                self._take_members(chat, entry["members"])
                chat.latest = max(chat.latest, entry["rev"])
            else:
                self.unknown.add(entry["id"])
        self.settle()

    # --- By the socket ------------------------------------------------------------------------------------------------

    def take(self, name: str, data: Frame) -> None:
        """Do with an event what its kind asks for."""
        if name in ("message:receive", "message:update", "message:delete"):
            self._with_chat(data["chatId"], lambda chat: chat.take_message(data))
        elif name in ("message:read", "message:delivered"):
            self._with_chat(data["chatId"], lambda chat: chat.take_receipt(data))
        else:
            {
                "user:typing": self._take_typing,
                "user:status": self._take_status,
                "chat:removed": self._take_removal,
                "sync": self._take_sync,
                "sync:done": self._take_done,
                "sync:reset": self._take_reset,
                "session:end": self._take_end,
            }[name](data)

    def _with_chat(self, chat_id: str, step: Callable[[ChatModel], None]) -> None:
        if chat := self.chats.get(chat_id):
            step(chat)
        else:
            self.unknown.add(chat_id)

    def _take_members(self, chat: ChatModel, members: list[Frame]) -> None:
        chat.take_members(members)
        for one in members:
            self._take_status(one["user"] | {"userId": one["userId"]})

    def _take_status(self, data: Frame) -> None:
        """Of two, the one that was seen later holds: events of two processes can cross on the way."""
        _, seen = self.people.get(data["userId"], ("", None))
        if (data["lastSeen"] or "") >= (seen or ""):
            self.people[data["userId"]] = (data["status"], data["lastSeen"])

    def _take_typing(self, data: Frame) -> None:
        key = (data["chatId"], data["userId"])
        if data["typing"]:
            self.typing[key] = self.clock + data["expiresIn"]
        else:
            self.typing.pop(key, None)

    def _take_removal(self, data: Frame) -> None:
        """Forget the chat, unless more was heard of it since: one who is a member again."""
        chat = self.chats.get(data["chatId"])
        if chat and chat.latest <= data["rev"]:
            del self.chats[data["chatId"]]

    def _take_sync(self, data: Frame) -> None:
        def step(chat: ChatModel) -> None:
            chat.latest = max(chat.latest, data["rev"])
            if "messages" in data:
                chat.take_changes(data["messages"], data["rev"])
                self._take_members(chat, data["members"])
            else:
                chat.marks = max(chat.marks, data["marks"])

        self._with_chat(data["chatId"], step)

    def _take_done(self, data: Frame) -> None:
        self.unknown |= data["chats"].keys() - self.chats.keys()
        self.chats = {chat_id: chat for chat_id, chat in self.chats.items() if chat_id in data["chats"]}

    def _take_reset(self, data: Frame) -> None:
        self.chats.pop(data["chatId"], None)
        if data["reason"] == "too_far":
            self.unknown.add(data["chatId"])

    def _take_end(self, data: Frame) -> None:
        self.signed_out = data["reason"]

    def wait(self, seconds: float) -> None:
        """Let time pass: signs of typing run out."""
        self.clock += seconds
        self.typing = {key: end for key, end in self.typing.items() if end > self.clock}

    # --- What is shown ------------------------------------------------------------------------------------------------

    def state(self) -> Frame:
        """Return everything that a person would see."""
        if self.signed_out:
            return {"signed in": False}
        peers = {user_id for chat in self.chats.values() for user_id in chat.members} - {self.user_id}
        return {
            "chats": {chat_id: self._chat_state(chat) for chat_id, chat in sorted(self.chats.items())},
            "people": {one: self._shown(one) for one in sorted(peers)},
            "typing": sorted(self.typing),
        }

    def _shown(self, user_id: str) -> tuple[str, str | None]:
        """The time of somebody who is there moves on with every beat, and is told to nobody."""
        status, seen = self.people[user_id]
        return status, seen if status == "offline" else None

    def _chat_state(self, chat: ChatModel) -> Frame:
        messages = sorted(chat.messages.values(), key=lambda one: int(one["seq"]))
        read_seq = chat.members.get(self.user_id, {}).get("readSeq", 0)
        unread = [
            one
            for one in messages
            if one["seq"] > read_seq and one["senderId"] != self.user_id and not one["deletedAt"] and not one["system"]
        ]
        return {
            "kind": chat.kind,
            "title": chat.title,
            "rev": chat.rev,
            "members": dict(sorted(chat.members.items())),
            "messages": [{**one, "read": chat.is_read(one)} for one in messages],
            "unread": len(unread),
            "last": messages[-1]["id"] if messages else None,
        }
