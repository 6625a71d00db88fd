"""What the tests of people and sessions start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from accounts import services
from accounts.services import SignedIn
from chatproject import events
from chatproject.events import Event
from chatproject.limits import tally

PASSWORD = "correct horse battery staple"


class JSONClient(APIClient):
    """Sends JSON unless told otherwise."""

    default_format = "json"


@pytest.fixture(autouse=True)
def _cheap_and_clean(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Hash cheaply, keep files in a directory of the test, and forget the rate limits' counters."""
    settings.PASSWORD_HASHERS = ["tests.accounts.hashing.FastHasher"]
    settings.MEDIA_ROOT = tmp_path / "media"
    cache.clear()
    tally.clear()
    yield
    cache.clear()
    tally.clear()


@pytest.fixture
def published(transactional_db: None) -> Iterator[list[Event]]:
    """Collect what services announce after the commit."""
    collected: list[Event] = []

    def collect(announced: Sequence[Event]) -> None:
        collected.extend(announced)

    former = events.set_publisher(collect)
    yield collected
    events.set_publisher(former)


@pytest.fixture
def sign_up() -> Callable[..., SignedIn]:
    """Return a function that registers somebody by name."""

    def register(username: str = "ada", password: str = PASSWORD) -> SignedIn:
        return services.register(username=username, email=f"{username}@example.org", password=password)

    return register


@pytest.fixture
def ada(db: None, sign_up: Callable[..., SignedIn]) -> SignedIn:
    """Ada, signed in."""
    return sign_up("ada")


@pytest.fixture
def api() -> APIClient:
    """A client that nobody is signed in with."""
    return JSONClient()


@pytest.fixture
def client_of() -> Callable[[SignedIn], APIClient]:
    """Return a function that makes somebody's client."""

    def make(person: SignedIn) -> APIClient:
        client = JSONClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.tokens.access_token}")
        return client

    return make


@pytest.fixture
def as_ada(ada: SignedIn, client_of: Callable[[SignedIn], APIClient]) -> APIClient:
    """Ada's client."""
    return client_of(ada)
