"""Tests of what clients may send about themselves."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.serializers import LoginSerializer, ProfileSerializer, RegisterSerializer, SearchSerializer

GOOD = {"username": "ada", "email": "ada@example.org", "password": "correct horse"}


def problems(serializer: Any) -> dict[str, list[str]]:
    """Return the codes of each field at fault."""
    serializer.is_valid()
    return {name: [error.code for error in errors] for name, errors in serializer.errors.items()}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("username", "", "blank"),
        ("username", "ab", "invalid"),
        ("username", "x" * 33, "max_length"),
        ("username", "ﷺﷺ", "max_length"),  # 36 letters once normalised
        ("username", "ΐ" * 32, "max_length"),  # 96 characters once case-folded
        ("username", "a b", "invalid"),
        ("username", 123, "invalid"),
        ("username", None, "null"),
        ("username", "a\0a", "null_characters_not_allowed"),
        ("username", "a\ud800a", "surrogate_characters_not_allowed"),
        ("email", "ada", "invalid"),
        ("email", "ada@", "invalid"),
        ("email", "a@b@example.org", "invalid"),
        ("email", "x" * 250 + "@example.org", "max_length"),
        ("email", "a\0da@example.org", "null_characters_not_allowed"),
        ("email", "ada@\ud800.org", "surrogate_characters_not_allowed"),
        ("password", "1234567", "min_length"),
        ("password", "x" * 1025, "max_length"),
        ("password", "12345678\0", "null_characters_not_allowed"),
        ("password", "12345678\ud800", "surrogate_characters_not_allowed"),
        ("password", 1234567890, "invalid"),
        ("password", True, "invalid"),
    ],
)
def test_bad_registrations(field: str, value: Any, code: str) -> None:
    """Each rule has its code, and only the field at fault is named."""
    found = problems(RegisterSerializer(data={**GOOD, field: value}))

    assert set(found) == {field}
    assert code in found[field]


def test_a_registration_is_normalised_but_for_the_password() -> None:
    """Names and addresses in the form that is stored; a password keeps its spaces."""
    serializer = RegisterSerializer(
        data={"username": "ａda", "email": " Ada@Example.ORG ", "password": "  two spaces  "}
    )

    assert serializer.is_valid()
    assert serializer.validated_data == {"username": "ada", "email": "ada@example.org", "password": "  two spaces  "}


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """Unknown fields beside missing and bad ones."""
    found = problems(RegisterSerializer(data={"username": "x", "isStaff": True}))

    assert found == {
        "isStaff": ["unknown_field"],
        "username": ["invalid"],
        "email": ["required"],
        "password": ["required"],
    }


@pytest.mark.parametrize("names", [{}, {"email": "ada@example.org", "username": "ada"}])
def test_signing_in_needs_exactly_one_name(names: dict[str, str]) -> None:
    """With both, which one counts would be a guess."""
    assert problems(LoginSerializer(data={**names, "password": "x"})) == {"email": ["exactly_one"]}


@pytest.mark.parametrize("url", ["https://example.org/a.png", "http://localhost:8000/a", ""])
def test_good_picture_addresses(url: str) -> None:
    """Pages can show these."""
    serializer = ProfileSerializer(data={"profilePic": url})

    assert serializer.is_valid()
    assert serializer.validated_data == {"profile_pic": url}


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//example.org/a", "/user/x/picture", "ftp://example.org/a", "x"],
)
def test_bad_picture_addresses(url: str) -> None:
    """Nothing but http and https may get into a page."""
    assert problems(ProfileSerializer(data={"profilePic": url})) == {"profilePic": ["invalid"]}


def test_what_is_absent_does_not_change() -> None:
    """Null takes the picture away; nothing changes nothing."""
    nothing, no_picture = ProfileSerializer(data={}), ProfileSerializer(data={"profilePic": None})

    assert nothing.is_valid()
    assert no_picture.is_valid()
    assert nothing.validated_data == {}
    assert no_picture.validated_data == {"profile_pic": ""}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": "a"}, "q"),
        ({"q": "  a  "}, "q"),
        ({"q": "x" * 65}, "q"),
        ({"q": "a\0"}, "q"),
        ({"q": "al", "limit": "0"}, "limit"),
        ({"q": "al", "limit": "51"}, "limit"),
        ({"q": "al", "limit": "x"}, "limit"),
        ({"q": "al", "limit": "9" * 2000}, "limit"),
    ],
)
def test_bad_searches(query: dict[str, str], field: str) -> None:
    """Two letters at least, fifty answers at most."""
    assert set(problems(SearchSerializer(data=query))) == {field}
