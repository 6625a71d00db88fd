"""The OpenAPI document: complete, true to itself, and the same as the one in the repository."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator, FormatChecker

from chatproject import docs
from tests.live.server import ROOT

COMMITTED = ROOT / "docs" / "openapi.yaml"
DOCUMENT = docs.document()
NOT_DESCRIBED = ("admin/", "docs")
HEALTH = {"healthz", "readyz"}

Operation = tuple[str, str, dict[str, Any]]


def operations() -> Iterator[Operation]:
    """Yield `(method, path, operation)` of the document."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every JSON body of the document with a name for it."""
    for method, path, operation in operations():
        name = f"{method} {path}"
        if json_body := operation.get("requestBody", {}).get("content", {}).get("application/json"):
            yield f"{name} request", json_body
        for status, response in operation["responses"].items():
            if json_body := resolve(response).get("content", {}).get("application/json"):
                yield f"{name} {status}", json_body


def examples(body: dict[str, Any]) -> list[Any]:
    """Return the examples of a body."""
    single = [body["example"]] if "example" in body else []
    return single + [one["value"] for one in body.get("examples", {}).values()]


def url_paths(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    """Yield the path of each URL that Django answers."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from url_paths(pattern.url_patterns, path)
        else:
            yield path


def shape(path: str) -> str:
    """Return a path with each parameter as `*`, whatever it is called."""
    parts = path.strip("/").split("/")
    return "/".join("*" if part.startswith(("{", "<")) else part for part in parts)


def test_the_committed_document_is_current() -> None:
    """`docs/openapi.yaml` is what the code describes; `manage.py spectacular --file docs/openapi.yaml` renews it."""
    assert COMMITTED.read_bytes() == docs.as_yaml(), "stale: run manage.py spectacular --file docs/openapi.yaml"


def test_the_command_writes_the_served_document(tmp_path: Any) -> None:
    """The command that renews the file, with every warning an error, writes what `/docs/openapi.yaml` serves."""
    target = tmp_path / "openapi.yaml"

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(target))

    assert target.read_bytes() == docs.as_yaml()


def test_it_is_valid_openapi() -> None:
    """The document conforms to the schema of OpenAPI 3.1, with the parts that have no view."""
    validate_schema(DOCUMENT)

    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["license"]["identifier"] == "MIT"


def test_every_url_is_described() -> None:
    """No endpoint is left out, and none is described that is not there. Health is answered before the URLs."""
    served = {shape(path) for path in url_paths(get_resolver().url_patterns) if not path.startswith(NOT_DESCRIBED)}

    assert served | HEALTH == {shape(path) for path in DOCUMENT["paths"]}


def test_every_operation_is_complete() -> None:
    """Each has a unique id, a summary, one described tag, and a description of each answer."""
    found = list(operations())
    described = {tag["name"] for tag in DOCUMENT["tags"]}

    assert len({operation["operationId"] for _, _, operation in found}) == len(found)
    for method, path, operation in found:
        assert operation["summary"], f"{method} {path}"
        assert len(operation["tags"]) == 1, f"{method} {path}"
        assert operation["tags"][0] in described, f"{method} {path}"
        assert all(resolve(one)["description"] for one in operation["responses"].values()), f"{method} {path}"
    assert described == {operation["tags"][0] for _, _, operation in found}


def test_every_failure_has_the_one_shape() -> None:
    """Every answer from 400 on is the shared error component; only `/readyz` tells its 503 in its own words."""
    for method, path, operation in operations():
        failures = {status: resolve(one) for status, one in operation["responses"].items() if status >= "400"}
        assert "500" in failures, f"{method} {path}"
        for status, failure in failures.items():
            if (path, status) == ("/readyz", "503"):
                continue
            schema = failure["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Error"}, f"{method} {path} {status}"


def test_calls_that_need_a_token_say_what_happens_without() -> None:
    """An operation with the security scheme has its 401, and one without has none of the token's codes."""
    for method, path, operation in operations():
        asks = {"accessToken": []} in operation.get("security", [])
        answer = operation["responses"].get("401", {}).get("content", {})
        codes = {one["error"]["code"] for body in answer.values() for one in examples(body)}
        assert ("not_authenticated" in codes) == asks, f"{method} {path}"


@pytest.mark.parametrize(("name", "body"), [pytest.param(*one, id=one[0]) for one in contents()])
def test_every_body_has_examples_that_fit(name: str, body: dict[str, Any]) -> None:
    """Each JSON body has an example, and each example satisfies the body's schema."""
    schema = {**body["schema"], "components": DOCUMENT["components"]}
    validator = Draft202012Validator(schema, format_checker=FormatChecker())

    assert examples(body), f"{name} has no example"
    for example in examples(body):
        validator.validate(example)


def test_examples_of_errors_carry_their_status() -> None:
    """A code stands under one status alone, all over the document."""
    statuses: dict[str, set[str]] = {}
    for name, body in contents():
        for example in examples(body):
            if isinstance(example, dict) and "error" in example:
                statuses.setdefault(example["error"]["code"], set()).add(name.rsplit(" ", 1)[1])

    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}
    assert {"chat_not_found", "rate_limited", "internal_error"} <= set(statuses)


@pytest.mark.parametrize(
    ("path", "media_type", "read"),
    [
        ("/docs/openapi.json", "application/json", json.loads),
        ("/docs/openapi.yaml", "application/yaml", yaml.safe_load),
    ],
)
def test_it_is_served_to_anybody(client: Client, path: str, media_type: str, read: Callable[[bytes], Any]) -> None:
    """Both forms are the same document and need no token."""
    response = client.get(path)

    assert response.status_code == 200
    assert response["Content-Type"] == media_type
    assert read(response.content) == DOCUMENT


def test_the_page_needs_nothing_from_elsewhere(client: Client) -> None:
    """`/docs` has no inline script or style, names only our own paths, and keeps the site's policy."""
    response = client.get("/docs")

    text = response.content.decode()
    assert response.status_code == 200
    assert "<style" not in text
    assert "style=" not in text
    assert text.count("<script") == text.count('<script src="/')
    assert "http://" not in text
    assert "https://" not in text
    assert "unsafe" not in response["Content-Security-Policy"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", sorted(f"/{name}" for name in HEALTH))
def test_health_answers_as_described(client: Client, path: str) -> None:
    """The views that no generator knows give what is written by hand."""
    answer = client.get(path)
    body = resolve(DOCUMENT["paths"][path]["get"]["responses"][str(answer.status_code)])["content"]["application/json"]

    assert answer.status_code == 200
    Draft202012Validator(body["schema"]).validate(answer.json())
    assert set(answer.json().get("checks", {})) == set(body["example"].get("checks", {}))
