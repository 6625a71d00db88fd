"""Tests of the OpenAPI document of people and sessions, and that the endpoints answer as it says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator
from PIL import Image
from rest_framework.test import APIClient

from accounts import services
from accounts.services import SignedIn
from tests.accounts.conftest import PASSWORD

CODES_BY_PATH = {
    ("post", "/auth/register"): {"201", "400", "413", "415", "429"},
    ("post", "/auth/login"): {"200", "400", "401", "413", "415", "429"},
    ("post", "/auth/refresh"): {"200", "400", "401", "413", "415", "429"},
    ("post", "/auth/logout"): {"204", "400", "401", "413", "415"},
    ("post", "/auth/password"): {"200", "400", "401", "413", "415", "429"},
    ("get", "/auth/sessions"): {"200", "401"},
    ("delete", "/auth/sessions/{sessionId}"): {"204", "401", "404"},
    ("get", "/user/me"): {"200", "401"},
    ("patch", "/user/me"): {"200", "400", "401", "413", "415"},
    ("put", "/user/me/picture"): {"200", "400", "401", "413", "415", "429"},
    ("put", "/user/status"): {"200", "400", "401", "413", "415"},
    ("get", "/user/search"): {"200", "400", "401", "429"},
    ("get", "/user/{userId}"): {"200", "401", "404"},
    ("get", "/user/{userId}/picture"): {"200", "404"},
}
SHARED = {"406", "500", "503"}
"""Added to all operations by `chatproject.openapi`."""


@pytest.fixture(scope="module")
def document() -> Iterator[dict[str, Any]]:
    """The document of these endpoints alone."""
    urls = ModuleType("tests.accounts.only_accounts_urls")
    urls.urlpatterns = [path("", include("accounts.urls"))]  # type: ignore[attr-defined]
    sys.modules[urls.__name__] = urls
    yield SchemaGenerator(urlconf=urls.__name__).get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    del sys.modules[urls.__name__]


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the operations by method and path."""
    return {
        (method, path): body
        for path, item in document["paths"].items()
        for method, body in item.items()
        if path.startswith(("/auth/", "/user/"))
    }


def test_every_endpoint_is_described(document: dict[str, Any]) -> None:
    """Each with all the statuses it answers."""
    described = {key: set(body["responses"]) - SHARED for key, body in operations(document).items()}

    assert described == CODES_BY_PATH


def test_every_operation_is_named_and_grouped(document: dict[str, Any]) -> None:
    """So that generated clients get good names."""
    for operation in operations(document).values():
        assert operation["summary"]
        assert operation["tags"] in (["auth"], ["user"])
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(ids)) == len(ids)


def test_which_operations_ask_for_a_token(document: dict[str, Any]) -> None:
    """All but the public ones; the scheme is a bearer token."""
    public = {key for key, body in operations(document).items() if {"accessToken": []} not in body.get("security", [])}

    assert public == {
        ("post", "/auth/register"),
        ("post", "/auth/login"),
        ("post", "/auth/refresh"),
        ("get", "/user/{userId}/picture"),
    }
    scheme = document["components"]["securitySchemes"]["accessToken"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")


def test_every_failure_has_the_one_shape(document: dict[str, Any]) -> None:
    """And an example for each code."""
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if int(status) < 400 or status in SHARED:
                continue
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}
            for name, example in content["examples"].items():
                assert example["value"]["error"]["code"].replace("_", "") == name.lower()


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that a validator can use: with its components, and strict about other fields."""
    components = {
        name: {**body, "additionalProperties": body.get("additionalProperties", False)}
        if "properties" in body
        else body
        for name, body in document["components"]["schemas"].items()
    }
    return {**schema, "components": {"schemas": components}}


@pytest.mark.parametrize("key", [key for key in CODES_BY_PATH if key != ("get", "/user/{userId}/picture")])
def test_endpoints_answer_as_described(
    ada: SignedIn,
    as_ada: APIClient,
    sign_up: Callable[..., SignedIn],
    document: dict[str, Any],
    key: tuple[str, str],
) -> None:
    """A good and a bad call of each operation give bodies that its schemas accept."""
    method, path = key
    grace = sign_up("grace")
    other = services.sign_in(username="ada", password=PASSWORD)
    session_id = str(services.sessions.tokens.read_refresh_token(other.tokens.refresh_token))
    picture = BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    good: dict[str, Any] = {
        "/auth/register": {"username": "alan", "email": "alan@example.org", "password": PASSWORD},
        "/auth/login": {"username": "ada", "password": PASSWORD},
        "/auth/refresh": {"refreshToken": ada.tokens.refresh_token},
        "/auth/password": {"currentPassword": PASSWORD, "newPassword": "purple otters at dawn"},
        "/user/me/picture": {"file": SimpleUploadedFile("me.png", picture.getvalue(), "image/png")},
        "/user/status": {"status": "away"},
        "/user/search": {"q": "gr"},
    }
    url = path.format(sessionId=session_id, userId=grace.user.pk)
    format_ = None if method == "get" else "multipart" if path.endswith("picture") else "json"

    with_body = getattr(as_ada, method)(url, good.get(path, {}), format=format_)
    bad_url = path.format(sessionId="x", userId="x")
    as_ada.credentials()
    refused = getattr(as_ada, method)(bad_url, {"x": 1}, format=format_)

    for response, success in ((with_body, True), (refused, False)):
        assert (response.status_code < 400) is success
        described = operations(document)[key]["responses"][str(response.status_code)]
        if response.status_code == 204:
            assert "content" not in described
            continue
        schema = described["content"]["application/json"]["schema"]
        Draft202012Validator(resolved(document, schema)).validate(response.json())
