"""Counts what clients sent and were told, and holds it against what is stored: nothing lost, doubled or false."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.fleet import Row

TOLD = ("id", "chatId", "senderId", "seq", "rev", "clientId", "content")
"""The fields of a message that never change here, where nobody edits."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client wants to be stored, once."""

    client_id: str
    chat_id: str
    sender_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Ack:
    """What the server said to one try."""

    message_id: str
    seq: int
    duplicate: bool


@dataclass
class Ledger:
    """The book of one run. `lies` are sentences on what the server said and should not have."""

    wanted: dict[str, Sent] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    acks: dict[str, list[Ack]] = field(default_factory=lambda: defaultdict(list))
    messages: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    hints: list[float] = field(default_factory=list)
    """The moments in seconds after which closed sockets were asked to come back."""
    lies: list[str] = field(default_factory=list)

    def sends(self, sent: Sent) -> None:
        """A client sends, for the first time or again."""
        self.wanted[sent.client_id] = sent
        self.tries[sent.client_id] += 1

    def acked(self, client_id: str, message: Mapping[str, Any], *, duplicate: bool) -> None:
        """The server says that this is stored."""
        sent, acks = self.wanted[client_id], self.acks[client_id]
        if (message["chatId"], message["senderId"], message["content"]) != (sent.chat_id, sent.sender_id, sent.content):
            self.lies.append(f"The ack of {client_id} carries another message: {message}")
        if duplicate and self.tries[client_id] == 1:
            self.lies.append(f"{client_id} was sent once and is called a duplicate.")
        acks.append(Ack(message["id"], message["seq"], duplicate))
        self.told(message)

    def told(self, message: Mapping[str, Any]) -> None:
        """Anybody got this message, in whichever way. It must be the same every time."""
        self.counts["messages told"] += 1
        facts = tuple(message[name] for name in TOLD)
        if self.messages.setdefault(message["id"], facts) != facts:
            self.lies.append(f"A message was told differently: {self.messages[message['id']]} and {facts}")

    @property
    def acked_sends(self) -> int:
        """How many different sends have an ack."""
        return len(self.acks)

    def verify(self, *, stored: Sequence[Mapping[str, Any]], rows: Iterable[Row]) -> None:
        """Compare with what REST gives, complete and by seq, and with what the database itself holds."""
        rows = [row for row in rows if row.client_id in self.wanted]
        by_client = Counter((row.sender_id, row.client_id) for row in rows)
        assert [one for one, count in by_client.items() if count > 1] == [], "stored twice"
        by_id = {row.id: row for row in rows}
        by_rest = {message["id"]: message for message in stored}
        assert len(by_rest) == len(stored), "REST gives a message twice"
        for client_id, acks in self.acks.items():
            assert len({(ack.message_id, ack.seq) for ack in acks}) == 1, f"acked as different messages: {acks}"
            assert sum(not ack.duplicate for ack in acks) <= 1, f"acked twice as new: {acks}"
            row, message = by_id[acks[0].message_id], by_rest[acks[0].message_id]
            assert (row.client_id, row.seq) == (client_id, acks[0].seq)
            assert message["content"] == self.wanted[client_id].content
        for message_id, facts in self.messages.items():
            assert message_id in by_rest, f"told and not stored: {facts}"
            assert facts == tuple(by_rest[message_id][name] for name in TOLD)
        self._verify_numbers(stored)
        assert self.lies == []

    def _verify_numbers(self, stored: Sequence[Mapping[str, Any]]) -> None:
        by_chat: dict[str, list[int]] = defaultdict(list)
        for message in stored:
            by_chat[message["chatId"]].append(message["seq"])
        for chat_id, numbers in by_chat.items():
            assert numbers == list(range(1, len(numbers) + 1)), f"gaps in the numbers of {chat_id}"

    def report(self, title: str) -> str:
        """Return the counts, for people."""
        acks = [ack for acks in self.acks.values() for ack in acks]
        known = {
            "sends": len(self.wanted),
            "tries": self.tries.total(),
            "acked sends": self.acked_sends,
            "acks": len(acks),
            "acks marked duplicate": sum(ack.duplicate for ack in acks),
            "lies": len(self.lies),
        }
        if self.latencies:
            known["slowest ack, ms"] = round(1000 * max(self.latencies))
            known["median ack, ms"] = round(1000 * sorted(self.latencies)[len(self.latencies) // 2])
        lines = [f"  {name:<28}{count:>10,}" for name, count in {**known, **dict(sorted(self.counts.items()))}.items()]
        return "\n".join(["", title, *lines])
