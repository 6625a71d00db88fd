"""Tests of the form in which passwords are hashed."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import BCryptSHA256PasswordHasher

from accounts.models import User
from accounts.passwords import prepare


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("no\u00a0break", "no break"),
        ("ideographic\u3000space", "ideographic space"),
        ("\u00c5", "\u212b"),
    ],
)
def test_different_spellings_are_one_password(typed: str, same: str) -> None:
    """Composition and kinds of space depend on the keyboard, not on the person."""
    assert prepare(typed) == prepare(same)


@pytest.mark.parametrize("password", ["Pass word", "ﬁsh", "\tx", "пароль", "🔑🔑🔑🔑"])
def test_nothing_else_is_changed(password: str) -> None:
    """Case, compatibility characters and symbols are part of the secret."""
    assert prepare(password) == password


def test_every_door_prepares(settings: object) -> None:
    """The model's own methods, which the admin and commands use, prepare as well."""
    user = User()

    user.set_password("caf\u00e9")

    assert user.check_password("cafe\u0301")
    assert not user.check_password("cafe")
    assert not user.check_password(None)


def test_no_password_can_be_set() -> None:
    """None makes a password that never matches."""
    user = User()

    user.set_password(None)

    assert not user.has_usable_password()


@pytest.mark.parametrize(
    ("right", "wrong"), [("x" * 72 + "a", "x" * 72 + "b"), ("ключ" * 200 + "1", "ключ" * 200 + "2")]
)
def test_long_passwords_count_to_their_end(settings: object, right: str, wrong: str) -> None:
    """Bcrypt alone looks at 72 bytes; the project's hasher, with its real work factor, at all of them."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.BCryptSHA256PasswordHasher"]  # type: ignore[attr-defined]
    user = User()

    user.set_password(right)

    assert user.password.startswith("bcrypt_sha256$$2b$12$")
    assert BCryptSHA256PasswordHasher.rounds == 12
    assert user.check_password(right)
    assert not user.check_password(wrong)
