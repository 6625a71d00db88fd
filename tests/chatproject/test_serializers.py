"""Tests of the strict base of every body."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from rest_framework import serializers
from rest_framework.exceptions import ParseError

from chatproject.ids import uuid7
from chatproject.parsers import JSONParser
from chatproject.serializers import (
    REPORTED_UNKNOWN_FIELDS,
    ChoiceField,
    EmptySerializer,
    IdField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)

ID = uuid7()


class Body(StrictSerializer):
    """A body with one field of each kind."""

    text = TextField(required=False, max_length=5)
    choice = ChoiceField(["a", "b"], required=False)
    id = IdField(required=False)
    number = WholeNumberField(required=False, min_value=0)
    shown = serializers.CharField(read_only=True)


def codes(data: Any) -> dict[str, list[str]]:
    """Return the codes of what is wrong, by field."""
    serializer = Body(data=data)
    assert not serializer.is_valid()
    return {name: [one.code for one in found] for name, found in serializer.errors.items()}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, {}),
        ({"text": " a\n "}, {"text": " a\n "}),
        ({"choice": "b", "number": 0}, {"choice": "b", "number": 0}),
        ({"id": str(ID)}, {"id": ID}),
    ],
)
def test_good_bodies(data: dict[str, Any], expected: dict[str, Any]) -> None:
    """Values come through as they are."""
    serializer = Body(data=data)

    assert serializer.is_valid()
    assert dict(serializer.validated_data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"text": 5}, {"text": ["invalid"]}),
        ({"text": True}, {"text": ["invalid"]}),
        ({"text": None}, {"text": ["null"]}),
        ({"text": ""}, {"text": ["blank"]}),
        ({"text": "123456"}, {"text": ["max_length"]}),
        ({"text": "\0"}, {"text": ["null_characters_not_allowed"]}),
        ({"text": "\ud800"}, {"text": ["surrogate_characters_not_allowed"]}),
        ({"choice": "c"}, {"choice": ["invalid_choice"]}),
        ({"choice": 1}, {"choice": ["invalid_choice"]}),
        ({"choice": ["a"]}, {"choice": ["invalid_choice"]}),
        ({"id": 5}, {"id": ["invalid"]}),
        ({"id": "x"}, {"id": ["invalid"]}),
        ({"number": "1"}, {"number": ["invalid"]}),
        ({"number": 1.0}, {"number": ["invalid"]}),
        ({"number": True}, {"number": ["invalid"]}),
        ({"number": -1}, {"number": ["min_value"]}),
        ({"shown": "x"}, {"shown": ["unknown_field"]}),
        ({"x": 1, "number": "1"}, {"x": ["unknown_field"], "number": ["invalid"]}),
        ([], {"non_field_errors": ["invalid"]}),
        ("x", {"non_field_errors": ["invalid"]}),
        (None, {"non_field_errors": ["null"]}),
    ],
)
def test_bad_bodies(data: Any, expected: dict[str, list[str]]) -> None:
    """No value of another JSON type is taken for the right one."""
    assert codes(data) == expected


def test_unknown_fields_are_reported_within_bounds() -> None:
    """A few of them, cut, and writable as UTF-8."""
    found = codes({f"{number}" + "\ud800" * 100: 1 for number in range(50)})

    assert len(found) == REPORTED_UNKNOWN_FIELDS
    assert all(len(name) <= 64 * len("\\ud800") for name in found)
    assert "".join(found).encode()


@pytest.mark.parametrize(("data", "good"), [({}, True), ({"x": 1}, False), ([], False)])
def test_a_call_without_a_body(data: Any, good: bool) -> None:
    """Takes nothing, or an empty object."""
    assert EmptySerializer(data=data).is_valid() is good


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"NaN", b"9" * 5000])
def test_what_cannot_be_read_is_the_client_s_mistake(body: bytes) -> None:
    """However deep or long it is."""
    with pytest.raises(ParseError):
        JSONParser().parse(BytesIO(body))
