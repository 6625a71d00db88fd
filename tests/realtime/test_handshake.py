"""Tests of who gets in: tokens, origins, addresses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts import sessions, tokens
from accounts.models import EndReason, User
from chatproject.ids import uuid7
from realtime import handshake
from realtime.engine import Engine
from realtime.handshake import offered_token, origin_is_allowed
from tests.realtime.client import Client
from tests.realtime.conftest import Connect, Person

BROWSER = ["parley.v1"]


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_in_the_header(connect: Connect, ada: Person) -> None:
    """Programs and apps: the socket opens with `hello`."""
    client = await connect(ada)

    assert client.close_code is None
    assert client.subprotocol is None


async def test_a_token_in_the_subprotocol(connect: Connect, ada: Person) -> None:
    """Browsers: the server selects `parley.v1` and never repeats the token."""
    client = await connect(None, subprotocols=["parley.v1", f"bearer.{ada.token}"])

    assert client.close_code is None
    assert client.subprotocol == "parley.v1"


async def test_a_token_in_the_query_string_is_not_looked_at(connect: Connect, ada: Person) -> None:
    """It would end up in logs."""
    client = await connect(None, path=f"/ws?token={ada.token}&access_token={ada.token}")

    assert (client.close_code, client.close_reason) == (4401, "unauthenticated")


def ended(person: Person) -> str:
    """Return the token of a session that was signed out."""
    sessions.end_sessions(user_id=person.id, reason=EndReason.LOGOUT)
    return person.token


def expired(person: Person) -> str:
    """Return a token whose time is over."""
    with time_machine.travel(timezone.now() - timedelta(minutes=11)):
        return tokens.new_access_token(user_id=person.id, session_id=person.session_id)


def deactivated(person: Person) -> str:
    """Return the token of somebody who may no longer sign in."""
    User.objects.filter(pk=person.id).update(is_active=False)
    return person.token


def forged(person: Person) -> str:
    """Return a token whose signature does not fit."""
    head, claims, signature = person.token.split(".")
    return f"{head}.{claims}.{signature[::-1]}"


def of_another(person: Person) -> str:
    """Return a token that names a session of somebody else."""
    return tokens.new_access_token(user_id=uuid7(), session_id=person.session_id)


def refresh(person: Person) -> str:
    """Return the other kind of token."""
    return tokens.new_refresh_token(session_id=person.session_id)


@pytest.fixture(params=[ended, expired, deactivated, forged, of_another, refresh])
def bad_token(request: pytest.FixtureRequest, ada: Person) -> str:
    """A token that opens nothing."""
    return str(request.param(ada))


async def test_a_bad_token_is_told_by_the_close(connect: Connect, bad_token: str) -> None:
    """Accepted, then closed with 4401, in the header and in the subprotocol, without a single frame."""
    for client in (
        await connect(None, headers=[(b"authorization", f"Bearer {bad_token}".encode())]),
        await connect(None, subprotocols=["parley.v1", f"bearer.{bad_token}"]),
    ):
        assert (client.close_code, client.close_reason, client.inbox) == (4401, "unauthenticated", [])


async def test_no_token(connect: Connect, ada: Person) -> None:
    """Closed with 4401 as well, and the subprotocol is still selected, without which a browser sees no close code."""
    client = await connect(None, subprotocols=BROWSER)

    assert (client.close_code, client.subprotocol) == (4401, "parley.v1")


@pytest.mark.parametrize(
    ("authorization", "subprotocols", "expected"),
    [
        ("Bearer abc", [], "abc"),
        ("bearer  abc ", [], "abc"),
        ("Bearer ", [], None),
        ("Bearer", [], None),
        ("Basic abc", [], None),
        ("Basic abc", ["bearer.xyz"], None),
        ("", ["bearer.xyz"], None),
        (None, ["parley.v1", "bearer.xyz"], "xyz"),
        (None, ["bearer.xyz"], "xyz"),
        (None, ["bearer."], None),
        (None, ["parley.v1"], None),
        (None, [], None),
    ],
)
def test_where_the_token_is_looked_for(
    authorization: str | None, subprotocols: list[str], expected: str | None
) -> None:
    """The header decides where there is one."""
    assert offered_token(authorization, subprotocols) == expected


# --- Origins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "anything", True),
        ("https://chat.example.org", "chat.example.org", True),
        ("https://Chat.Example.org", "chat.example.ORG", True),
        ("http://chat.example.org:8000", "chat.example.org:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://app.example.net", "chat.example.org", True),
        ("http://chat.example.org:8001", "chat.example.org:8000", False),
        ("https://evil.example.com", "chat.example.org", False),
        ("https://chat.example.org.evil.example.com", "chat.example.org", False),
        ("https://evil.example.com", "evil.example.com", False),
        ("http://evil.example.com:8000", "evil.example.com:8000", False),
        ("null", "chat.example.org", False),
        ("null", "", False),
        ("", "", False),
        ("file://", "", False),
        ("https://[", "chat.example.org", False),
        ("https://app.example.net.evil.example.com", "chat.example.org", False),
    ],
)
def test_which_pages_may_open_a_socket(settings: Any, origin: str | None, host: str, allowed: bool) -> None:
    """Those of our own hosts and of the allow-list; not those whose own name leads to us (DNS rebinding)."""
    settings.ALLOWED_HOSTS = ["chat.example.org", "[::1]"]
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.net"]

    assert origin_is_allowed(origin, host=host) is allowed


def test_hosts_that_are_not_checked(settings: Any) -> None:
    """Even where every host is ours, a page without a host is not."""
    settings.ALLOWED_HOSTS = ["*"]

    assert origin_is_allowed("https://any.example", host="any.example")
    assert not origin_is_allowed("null", host="")


async def test_a_foreign_page_is_closed_before_its_token_is_looked_at(connect: Connect, ada: Person) -> None:
    """A browser that is signed in does not help it."""
    client = await connect(ada, headers=[(b"origin", b"https://evil.example"), (b"host", b"testserver")])

    assert (client.close_code, client.close_reason) == (4403, "origin_not_allowed")


async def test_a_page_of_ours(connect: Connect, ada: Person) -> None:
    """It gets in."""
    client = await connect(ada, headers=[(b"origin", b"http://testserver"), (b"host", b"testserver")])

    assert client.close_code is None


# --- Limits and failures ----------------------------------------------------------------------------------------------


async def test_an_address_has_a_limit(connect: Connect, ada: Person, settings: Any) -> None:
    """It is told 4429; another address is not concerned, and a forged header is not believed."""
    settings.PARLEY_RATES = {"SOCKET": "2/h"}
    codes = [
        (await connect(ada, headers=[(b"x-forwarded-for", f"203.0.113.{number}".encode())])).close_code
        for number in range(3)
    ]

    assert codes == [None, None, 4429]
    assert (await connect(ada, address="192.0.2.77")).close_code is None


async def test_behind_a_proxy_the_client_counts(connect: Connect, ada: Person, settings: Any) -> None:
    """The address is the one that the proxy saw."""
    settings.PARLEY_RATES = {"SOCKET": "1/h"}
    settings.PARLEY_TRUSTED_PROXIES = 1
    codes = [
        (await connect(ada, headers=[(b"x-forwarded-for", f"198.51.100.1, 203.0.113.{last}".encode())])).close_code
        for last in (1, 2, 2)
    ]

    assert codes == [None, None, 4429]


async def test_a_database_that_is_away(
    live: Engine, ada: Person, monkeypatch: pytest.MonkeyPatch, connect: Callable[..., Any]
) -> None:
    """The client is told to come back later, not that its token is bad."""

    def broken(*, token: str) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(handshake, "authenticate_access_token", broken)
    client: Client = await connect(ada)

    assert (client.close_code, client.close_reason) == (1013, "unavailable")
