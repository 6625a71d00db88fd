"""What the tests of sockets start from: people with a session, their chats, and a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from channels.layers import channel_layers
from django.core.cache import cache
from django.utils import timezone

from accounts import sessions, tokens
from accounts.models import Session, User, username_key
from accounts.sessions import UNKNOWN_DEVICE
from chatproject.ids import uuid7
from chatproject.limits import tally
from messaging import services
from messaging.models import Chat
from realtime import engine as engine_module
from realtime import presence
from realtime.engine import Engine, engine
from realtime.sockets import Socket
from tests.realtime.client import PATIENCE, Client

Connect = Callable[..., Awaitable[Client]]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in."""

    id: UUID
    session_id: UUID
    token: str


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let people be gone soon after their last socket, and forget the rate limits' counters."""
    monkeypatch.setattr(presence, "RELOAD_GRACE", 0.05)
    cache.clear()
    tally.clear()


@pytest.fixture
def quick_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine look after its sockets all the time."""
    monkeypatch.setattr(engine_module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(engine_module, "SESSION_CHECK", 0.1)


@pytest.fixture
async def live(request: pytest.FixtureRequest, transactional_db: None) -> AsyncIterator[Engine]:
    """The engine, started on the test's loop and stopped after it."""
    if "quick_timers" in request.fixturenames:
        request.getfixturevalue("quick_timers")
    channel_layers.backends.clear()
    engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
async def connect(live: Engine) -> AsyncIterator[Connect]:
    """Open sockets: give a person, or None and headers, and await it. They are closed after the test."""
    clients: list[Client] = []

    async def open_socket(person: Person | None, **options: Any) -> Client:
        client = Client(person.token if person else None, **options)
        clients.append(client)
        await client.open()
        if client.close_code is None:
            await client.ok("ping")  # answered once the person's presence is told
        return client

    yield open_socket
    for client in clients:
        await client.close()


def make_person(username: str) -> Person:
    """Store somebody, signed in."""
    user = User.objects.create_user(username, f"{username}@example.org", None)
    return sign_in(user.id)


def make_people(count: int, name: str) -> list[Person]:
    """Store many with a session, as rows: they have no token."""
    users = [
        User(username=one, username_key=username_key(one), email=f"{one}@example.org")
        for one in (f"{name}{number}" for number in range(count))
    ]
    User.objects.bulk_create(users)
    soon = timezone.now() + timedelta(days=1)
    opened = [Session(user=one, refresh_hash=bytes(32), expires_at=soon) for one in users]
    Session.objects.bulk_create(opened)
    return [Person(id=one.user_id, session_id=one.id, token="") for one in opened]


def sign_in(user_id: UUID) -> Person:
    """Open a session of somebody."""
    pair = sessions.open_session(user_id=user_id, device=UNKNOWN_DEVICE)
    return Person(id=user_id, session_id=tokens.read_refresh_token(pair.refresh_token), token=pair.access_token)


@pytest.fixture
def ada(transactional_db: None) -> Person:
    """Ada, who shares the direct chat with Bob."""
    return make_person("ada")


@pytest.fixture
def bob(transactional_db: None) -> Person:
    """Bob, who shares the direct chat with Ada."""
    return make_person("bob")


@pytest.fixture
def eve(transactional_db: None) -> Person:
    """Eve, who shares nothing with anybody."""
    return make_person("eve")


@pytest.fixture
def chat(ada: Person, bob: Person) -> Chat:
    """The direct chat of Ada and Bob, still empty."""
    return services.create_chat(creator_id=ada.id, participant_ids=[bob.id], title=None)[0]


def make_socket(send: Any, **options: Any) -> Socket:
    """Return a socket of nobody in particular that writes to `send`."""
    defaults: dict[str, Any] = {
        "user_id": uuid7(),
        "session_id": uuid7(),
        "expires_at": datetime.now().astimezone() + timedelta(minutes=10),
    }
    return Socket(send=send, **{**defaults, **options})


async def until(condition: Callable[[], Any], *, seconds: float = PATIENCE) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
