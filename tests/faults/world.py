"""A few people with chats, what they can do to them, and what the server says to whom about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rest_framework.test import APIClient

from accounts import selectors as people
from accounts import services as accounts
from accounts import sessions
from accounts.models import Status, User
from accounts.selectors import SessionHasEnded
from accounts.sessions import UNKNOWN_DEVICE
from chatproject.events import Event, set_publisher
from chatproject.ids import uuid7
from messaging import services
from messaging.drafts import Draft, check
from messaging.models import Chat, Membership, Message
from realtime import presence, reminders, resync, typists
from realtime.parcels import Parcel, pack
from tests.faults.model import ClientModel, Frame

HTTP = APIClient()
"""One for all requests: each client makes a chain of middleware of its own, which takes longer than an answer."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in."""

    id: UUID
    session_id: UUID
    token: str

    def rest(self, path: str, **query: Any) -> tuple[int, Any]:
        """Ask the REST door."""
        answer = HTTP.get(path, query, headers={"Authorization": f"Bearer {self.token}"})
        return answer.status_code, answer.json()

    def client(self) -> ClientModel:
        """Open a client that has loaded everything."""
        return ClientModel(str(self.id), self.rest).load()


@dataclass(frozen=True, slots=True)
class Said:
    """An event on its way, with the people it is for."""

    recipients: tuple[UUID, ...]
    name: str
    data: Frame


def sign_up(name: str) -> Person:
    """Store somebody who is there."""
    unique = f"{name}.{uuid7().hex[-12:]}"
    user = User.objects.create_user(unique, f"{unique}@example.org", None)
    pair = sessions.open_session(user_id=user.pk, device=UNKNOWN_DEVICE)
    principal = people.authenticate_access_token(token=pair.access_token)
    presence._show([presence.Change(user_id=user.pk, present=True)])
    return Person(id=user.pk, session_id=principal.session_id, token=pair.access_token)


@dataclass
class World:
    """Ada, Bob, Eve and Zoe; a group of the first three, and the direct chat of Ada and Bob."""

    said: list[Said] = field(default_factory=list)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(seconds=1))

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[World]:
        """Make the world; as long as it is open it hears everything that is published."""
        world = cls()
        former = set_publisher(world._hear)
        try:
            world.ada, world.bob, world.eve, world.zoe = [sign_up(name) for name in ("ada", "bob", "eve", "zoe")]
            members = [world.bob.id, world.eve.id]
            world.group, _ = services.create_chat(creator_id=world.ada.id, participant_ids=members, title="Plans")
            world.direct, _ = services.create_chat(creator_id=world.ada.id, participant_ids=[world.bob.id], title=None)
            for chat in (world.group, world.direct):
                for number in range(3):
                    world.say(world.ada, chat, f"message {number}")
            world.said.clear()
            yield world
        finally:
            set_publisher(former)

    ada: Person = field(init=False)
    bob: Person = field(init=False)
    eve: Person = field(init=False)
    zoe: Person = field(init=False)
    group: Chat = field(init=False)
    direct: Chat = field(init=False)

    @property
    def everybody(self) -> tuple[Person, ...]:
        """All four."""
        return self.ada, self.bob, self.eve, self.zoe

    def _hear(self, events: Sequence[Event]) -> None:
        self.said.extend(unpacked(pack(event)) for event in events)

    # --- What people do -----------------------------------------------------------------------------------------------

    def say(self, who: Person, chat: Chat, content: str = "hello") -> Message:
        """Write into a chat. Raises the refusal."""
        return self._store(Draft(sender_id=who.id, chat_id=chat.id, content=content))

    def write_to(self, who: Person, other: Person) -> Message:
        """Write to a person. Raises the refusal."""
        return self._store(Draft(sender_id=who.id, receiver_id=other.id, content="hi"))

    @staticmethod
    def _store(draft: Draft) -> Message:
        (outcome,) = services.store([check(draft)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def last_of(self, who: Person, chat: Chat, number: int = 0) -> dict[str, UUID]:
        """Return what names one of somebody's messages, counted from their newest one."""
        own = list(Message.objects.filter(chat_id=chat.id, sender_id=who.id, type="text").order_by("-seq"))
        return {
            "chat_id": chat.id,
            "message_id": own[number % len(own)].id if own else uuid7(),
            "user_id": who.id,
        }

    def read(self, who: Person, chat: Chat, seq: int) -> None:
        """Read up to a seq."""
        services.mark_read(chat_id=chat.id, user_id=who.id, seq=seq)

    def get(self, who: Person, chat: Chat, seq: int) -> None:
        """Have got everything up to a seq."""
        services.mark_delivered(chat_id=chat.id, user_id=who.id, seq=seq)

    def choose(self, who: Person, status: Status) -> None:
        """Choose a status, and show it as the engine does."""
        accounts.choose_status(user_id=who.id, status=status)
        presence._show([presence.Change(user_id=who.id, present=True, chosen=True)])

    def go(self, who: Person) -> None:
        """End one's last connection."""
        presence._show([presence.Change(user_id=who.id, present=False)])

    def type_in(self, who: Person, chat: Chat, *, typing: bool = True) -> None:
        """Begin or stop to type."""
        self._hear([typists._event(chat.id, who.id, typing=typing)])

    def sign_out(self, who: Person) -> None:
        """End the session."""
        sessions.sign_out(user_id=who.id, session_id=who.session_id)

    # --- What the server says -----------------------------------------------------------------------------------------

    def look(self) -> list[Said]:
        """Say what the timers of a process say that has noticed a loss."""
        said = [
            Said(tuple(members), "sync", standing) for members, standing in reminders.standings(since=self.began_at)
        ]
        said += [unpacked(pack(event)) for event in reminders.departures(since=self.began_at)]
        said += [unpacked(pack(event)) for event in reminders.statuses(since=self.began_at)]
        live = people.live_session_ids(session_ids=[one.session_id for one in self.everybody])
        dead = [one for one in self.everybody if one.session_id not in live]
        return said + [Said((one.id,), "session:end", {"reason": "revoked"}) for one in dead]

    def answer(self, who: Person, client: ClientModel) -> list[tuple[str, Frame]]:
        """Answer `sync` with what the client holds; a socket of a session that has ended is refused."""
        try:
            people.authenticate_access_token(token=who.token)
        except SessionHasEnded:
            return [("session:end", {"reason": "revoked"})]
        cursors = {UUID(chat_id): chat.rev for chat_id, chat in client.chats.items()}
        return [as_sent(str(name), data) for name, data in resync.missed(user_id=who.id, cursors=cursors)]

    def members_of(self, chat: Chat) -> list[UUID]:
        """Return the members' ids."""
        return list(Membership.objects.filter(chat_id=chat.id).values_list("user_id", flat=True))


def unpacked(parcel: Parcel) -> Said:
    """Read a parcel as its sockets do."""
    frame = json.loads(parcel.text)
    return Said(parcel.recipients, frame["event"], frame["data"])


def as_sent(name: str, data: Frame) -> tuple[str, Frame]:
    """Return an answer as it comes out of the JSON."""
    return name, json.loads(json.dumps(data))
