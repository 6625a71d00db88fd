"""What the tests of chats and messages start from: people, chats, and an ear for what is announced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from rest_framework.renderers import JSONRenderer
from rest_framework.test import APIClient, ForceAuthClientHandler

from accounts import services as accounts
from accounts.models import User, username_key
from chatproject import events
from chatproject.events import Event
from chatproject.limits import tally
from messaging import keys, services
from messaging.drafts import Draft
from messaging.models import Chat, Membership, Message
from messaging.services import Outcome, Stored

PASSWORD = "correct horse battery staple"
NOWHERE = UUID("019a0000-0000-7000-8000-000000000000")


class _ASCIIRenderer(JSONRenderer):
    """Escapes every character beyond ASCII, so that a body can hold half of a surrogate pair."""

    ensure_ascii = True


class JSONClient(APIClient):
    """Sends JSON unless told otherwise. All share one stack of middleware, whose start looks at every static file."""

    default_format = "json"
    shared_handler = ForceAuthClientHandler(enforce_csrf_checks=False)

    def __init__(self) -> None:
        super().__init__()
        self.handler = self.shared_handler
        self.renderer_classes["json"] = _ASCIIRenderer


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who is signed in: the row, the access token, and a client that sends it."""

    user: User
    token: str = field(repr=False)
    api: APIClient = field(repr=False)

    @property
    def id(self) -> UUID:
        """The user's id."""
        return self.user.pk


@dataclass(kw_only=True)
class Announced:
    """The events that services have published, each commit's together."""

    batches: list[list[Event]] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        """Every event, in order."""
        return [event for batch in self.batches for event in batch]

    def told(self) -> list[tuple[str, set[UUID]]]:
        """Return `(name, recipients)` of every event. Fails when somebody is addressed twice."""
        for event in self.events:
            assert len(set(event.recipients)) == len(event.recipients)
        return [(event.name, set(event.recipients)) for event in self.events]

    def clear(self) -> None:
        """Forget what was needed to get here."""
        self.batches.clear()


@pytest.fixture(autouse=True)
def _cheap_and_clean(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Hash cheaply, keep files in a directory of the test, and forget counters and ciphers of the test before."""
    settings.PASSWORD_HASHERS = ["tests.accounts.hashing.FastHasher"]
    settings.MEDIA_ROOT = tmp_path / "media"
    cache.clear()
    tally.clear()
    keys.forget()
    yield
    cache.clear()
    tally.clear()


@pytest.fixture
def published(transactional_db: None) -> Iterator[Announced]:
    """Collect what services announce after the commit."""
    announced = Announced()

    def collect(batch: Sequence[Event]) -> None:
        announced.batches.append(list(batch))

    former = events.set_publisher(collect)
    yield announced
    events.set_publisher(former)


@pytest.fixture
def person(db: None) -> Callable[[str], Person]:
    """Return a function that signs somebody up by name."""

    def register(name: str) -> Person:
        signed_in = accounts.register(username=name, email=f"{name}@example.org", password=PASSWORD)
        client = JSONClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {signed_in.tokens.access_token}")
        return Person(user=signed_in.user, token=signed_in.tokens.access_token, api=client)

    return register


def crowd(count: int) -> list[UUID]:
    """Store many people, as rows, and return their ids."""
    names = [f"crowd{number}" for number in range(count)]
    people = [User(username=one, username_key=username_key(one), email=f"{one}@example.org") for one in names]
    User.objects.bulk_create(people)
    return [one.pk for one in people]


@pytest.fixture
def ada(person: Callable[[str], Person]) -> Person:
    """Ada, who usually writes."""
    return person("ada")


@pytest.fixture
def grace(person: Callable[[str], Person]) -> Person:
    """Grace, who usually reads."""
    return person("grace")


@pytest.fixture
def alan(person: Callable[[str], Person]) -> Person:
    """Alan, the third of a group."""
    return person("alan")


@pytest.fixture
def mallory(person: Callable[[str], Person]) -> Person:
    """Mallory, who is in none of the chats."""
    return person("mallory")


@pytest.fixture
def direct(ada: Person, grace: Person) -> Chat:
    """The direct chat of Ada and Grace, still empty."""
    return open_direct(ada, grace)


@pytest.fixture
def group(ada: Person, grace: Person, alan: Person) -> Chat:
    """A group that Ada owns, with Grace and Alan; its first message tells of that."""
    return open_group(ada, grace, alan)


def open_direct(one: Person, other: Person) -> Chat:
    """Open or find the direct chat of two people."""
    chat, _ = services.create_chat(creator_id=one.id, participant_ids=[other.id], title=None)
    return chat


def open_group(owner: Person, *others: Person, title: str | None = "Tea round") -> Chat:
    """Open a group."""
    chat, _ = services.create_chat(creator_id=owner.id, participant_ids=[one.id for one in others], title=title)
    return chat


def say(sender: Person, chat: Chat, content: str = "Tea at four?", **more: Any) -> Message:
    """Store one message and return it. Fails when it is refused."""
    [outcome] = services.store([Draft(sender_id=sender.id, chat_id=chat.id, content=content, **more)])
    return row_of(outcome)


def row_of(outcome: Outcome) -> Message:
    """Return the row of a draft that was stored."""
    assert isinstance(outcome, Stored), outcome
    return Message.objects.get(id=outcome.message.id)


def member(chat: Chat, who: Person) -> Membership:
    """Return a membership as it is stored."""
    return Membership.objects.get(chat_id=chat.id, user_id=who.id)
