"""Tests that nothing a client sends to these endpoints is an internal error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User

BODIES = [
    (
        "post",
        "/auth/register",
        {"username": "grace", "email": "grace@example.org", "password": "purple otters at dawn"},
    ),
    ("post", "/auth/login", {"username": "ada", "password": "x"}),
    ("post", "/auth/login", {"email": "ada@example.org", "password": "x"}),
    ("post", "/auth/refresh", {"refreshToken": "x"}),
    ("post", "/auth/logout", {}),
    ("post", "/auth/password", {"currentPassword": "x", "newPassword": "purple otters at dawn"}),
    ("patch", "/user/me", {"username": "ada2", "email": "ada2@example.org", "profilePic": "https://example.org/a"}),
    ("put", "/user/status", {"status": "away"}),
]
ENDPOINTS = sorted({(method, path) for method, path, _ in BODIES})
FIELDS = [(method, path, body, field) for method, path, body in BODIES for field in body]

UNREADABLE = {
    "open brace": b"{",
    "text": b"hello",
    "not UTF-8": b'{"username": "\xff"}',
    "NaN": b'{"username": NaN}',
    "endless number": b"9" * 5000,
    "ten thousand arrays": b"[" * 10_000,
    "ten thousand objects": b'{"a":' * 10_000,
    "two bodies": b"{}{}",
    "NUL": b"\0",
}
NO_OBJECT = {
    "array": b"[]",
    "array of pairs": b'[["username", "ada"]]',
    "string": b'"username"',
    "number": b"7",
    "null": b"null",
    "true": b"true",
    "surrogate": b'"\\ud800"',
}
UNKNOWN = {
    "plain": b'{"nope": 1}',
    "surrogate": b'{"\\ud800": 1}',
    "NUL": b'{"\\u0000": 1}',
    "long": b'{"' + b"x" * 100_000 + b'": 1}',
    "empty": b'{"": 1}',
    "prototype": b'{"__proto__": {"isStaff": true}}',
    "many": json.dumps({f"field{number}": number for number in range(10_000)}).encode(),
}
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "integer": 7,
    "float": 1.5,
    "huge integer": 10**400,
    "array": ["ada"],
    "object": {"$ne": ""},
    "empty": "",
    "blank": "   ",
    "NUL": "ada\0ada",
    "surrogate": "ada\ud800ada",
    "long": "x" * 200_000,
    "line break": "ada\r\nX-Injected: 1",
    "right to left": "\u202eada",
}


def send(client: APIClient, method: str, path: str, body: bytes) -> Any:
    """Send a raw body as JSON. An exception in the view would be raised here."""
    return client.generic(method.upper(), path, body, content_type="application/json")


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_what_is_no_json(as_ada: APIClient, method: str, path: str, body: bytes) -> None:
    """One code for all that cannot be read."""
    response = send(as_ada, method, path, body)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT.keys())
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_what_is_no_object(as_ada: APIClient, method: str, path: str, body: bytes) -> None:
    """The field `body` stands for the whole."""
    response = send(as_ada, method, path, body)

    error = response.json()["error"]
    assert (response.status_code, error["code"], set(error["fields"])) == (400, "invalid", {"body"})


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN.keys())
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_unknown_fields(as_ada: APIClient, method: str, path: str, body: bytes) -> None:
    """Named, but not without end, and nothing is stored."""
    response = send(as_ada, method, path, body)

    error = response.json()["error"]
    codes = [problem["code"] for problems in error["fields"].values() for problem in problems]
    assert (response.status_code, error["code"]) == (400, "invalid")
    assert 1 <= codes.count("unknown_field") <= 10
    assert len(response.content) < 5000
    assert not User.objects.filter(is_staff=True).exists()


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize(
    ("method", "path", "body", "field"), FIELDS, ids=[f"{path}-{field}" for _, path, _, field in FIELDS]
)
def test_bad_values(as_ada: APIClient, method: str, path: str, body: dict[str, Any], field: str, value: Any) -> None:
    """Each is refused by name, or is harmless: wrong credentials, no picture, an unusual but good password."""
    response = send(as_ada, method, path, json.dumps({**body, field: value}).encode())

    assert response.status_code in (200, 201, 400, 401)
    if response.status_code < 400:
        assert (field, value) in [("profilePic", None), ("profilePic", ""), ("password", VALUES["line break"])]
    if response.status_code == 400 and (field, value) != ("newPassword", VALUES["line break"]):
        assert field in response.json()["error"]["fields"]
    if isinstance(value, str) and ("\0" in value or "\ud800" in value or len(value) > 1024):
        assert response.status_code == 400


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "", "x"],
)
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_other_media_types(as_ada: APIClient, method: str, path: str, content_type: str) -> None:
    """JSON or nothing."""
    response = as_ada.generic(method.upper(), path, b'{"username": "ada"}', content_type=content_type)

    assert (response.status_code, response.json()["error"]["code"]) in [
        (415, "unsupported_media_type"),
        (400, "invalid"),  # without any media type the body is not read, so its fields are missing
        (204, ""),
    ]


@pytest.mark.parametrize("charset", ["nonsense", "bz2_codec", "utf-16", "idna"])
def test_other_charsets(as_ada: APIClient, charset: str) -> None:
    """A codec that is none, one that would decompress, and some that do not fit."""
    response = as_ada.generic("PUT", "/user/status", b"{}", content_type=f"application/json; charset={charset}")

    assert response.status_code == 400
    assert response.json()["error"]["code"] in ("invalid", "malformed_json")


def test_json_is_all_there_is_to_get(as_ada: APIClient) -> None:
    """Another representation is not available."""
    response = as_ada.get("/user/me", HTTP_ACCEPT="text/html")

    assert (response.status_code, response.json()["error"]["code"]) == (406, "not_acceptable")
