"""Tests of users and sessions as they are stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import USERNAME_RULE, Session, Status, User, normalize_email, username_key


@pytest.mark.parametrize(
    ("one", "other"), [("Ada", "aDA"), ("ａｄａ", "ada"), ("Straße", "STRASSE"), ("\u00e9va", "e\u0301va")]
)
def test_names_that_look_the_same_are_the_same(one: str, other: str) -> None:
    """Case, width and composition do not make another name."""
    assert username_key(one) == username_key(other)


@pytest.mark.parametrize("name", ["ada", "ada.lovelace", "a-b", "a_b", "x" * 32, "Ольга", "山田太郎", "_x_"])
def test_good_names(name: str) -> None:
    """Letters of every script are letters."""
    USERNAME_RULE(name)


@pytest.mark.parametrize(
    "name", ["", "ab", "x" * 33, ".ada", "ada.", "-ada", "ada-", "a b", "a@b", "a/b", "ada\n", "a\u200bda", "a\0b"]
)
def test_bad_names(name: str) -> None:
    """Nothing that could pass for an address, a path or white space."""
    with pytest.raises(ValidationError):
        USERNAME_RULE(name)


def test_email_addresses_are_compared_without_case() -> None:
    """People write their own address in several ways."""
    assert normalize_email(" Ada@Example.ORG ") == "ada@example.org"


@pytest.mark.django_db
def test_the_manager_normalises() -> None:
    """Users made by commands are found like all others."""
    user = User.objects.create_user("Ada", "ADA@example.org", "secret words")

    assert (user.username, user.username_key, user.email) == ("Ada", "ada", "ada@example.org")
    assert User.objects.get_by_natural_key("aDa") == user
    assert not user.is_staff
    assert str(user) == "Ada"


@pytest.mark.django_db
def test_an_administrator() -> None:
    """`createsuperuser` gives both rights."""
    user = User.objects.create_superuser("root", "root@example.org", "secret words")

    assert user.is_staff
    assert user.is_superuser


@pytest.mark.parametrize(
    ("status", "seconds_ago", "shown"),
    [
        (Status.ONLINE, 0, "online"),
        (Status.AWAY, 39, "away"),
        (Status.ONLINE, 41, "offline"),
        (Status.ONLINE, -41, "offline"),
        (Status.OFFLINE, 0, "offline"),
        (Status.ONLINE, None, "offline"),
    ],
)
def test_presence_lapses(status: Status, seconds_ago: int | None, shown: str) -> None:
    """Whoever is not heard of within the TTL is offline."""
    now = timezone.now()
    last_seen = None if seconds_ago is None else now - timedelta(seconds=seconds_ago)

    user = User(status=status, last_seen=last_seen)

    assert user.presence(now) == shown


def test_a_session_names_itself() -> None:
    """The admin shows the id."""
    session = Session()

    assert str(session) == f"session {session.pk}"
