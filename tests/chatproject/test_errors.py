"""Tests of the one error shape, whoever refuses: a view, DRF, Django or the last resort."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
import structlog
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory
from rest_framework import exceptions

from chatproject import errors
from chatproject.errors import DomainError, InternalError, InvalidInput, Unavailable, exception_handler


class Teapot(DomainError):
    """An expected failure of these tests."""

    code = "teapot"
    status = 418
    message = "I am a teapot."


@pytest.fixture(autouse=True)
def _request_id() -> Any:
    with structlog.contextvars.bound_contextvars(request_id="request-7"):
        yield


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    """Return the whole body of an error."""
    return {"error": {"code": code, "message": message, "fields": {}, "requestId": "request-7", **more}}


def test_a_domain_error_is_its_class() -> None:
    """Code, status and message; the message alone can be given."""
    response = exception_handler(Teapot(), {})
    assert response is not None
    assert (response.status_code, response.data) == (418, error("teapot", "I am a teapot."))

    assert errors.body_of(Teapot("Short and stout.")) == error("teapot", "Short and stout.")


def test_fields_and_the_time_to_wait() -> None:
    """`fields` lists what is wrong with each, `retryAfter` is also a header."""
    failure = InvalidInput.of("seq", "Too high.", code="max_value")
    assert errors.body_of(failure)["error"]["fields"] == {"seq": [{"code": "max_value", "message": "Too high."}]}

    response = exception_handler(Unavailable(retry_after=7), {})
    assert response is not None
    assert response.headers["Retry-After"] == "7"
    assert response.data["error"]["retryAfter"] == 7


@pytest.mark.parametrize(
    ("exception", "status", "code"),
    [
        (exceptions.ParseError("secret detail"), 400, "malformed_json"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed(), 401, "authentication_failed"),
        (exceptions.PermissionDenied(), 403, "permission_denied"),
        (PermissionDenied("secret detail"), 403, "permission_denied"),
        (exceptions.NotFound(), 404, "not_found"),
        (Http404("secret detail"), 404, "not_found"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (exceptions.UnsupportedMediaType("text/secret"), 415, "unsupported_media_type"),
        (OperationalError("secret: the server closed the connection"), 503, "unavailable"),
        (InterfaceError("secret: connection already closed"), 503, "unavailable"),
        (OSError(errno.ENOSPC, "secret: no space left on device"), 503, "unavailable"),
    ],
)
def test_what_drf_django_and_stores_raise(exception: Exception, status: int, code: str) -> None:
    """Each has its code, and no detail of ours or the client's."""
    response = exception_handler(exception, {})

    assert response is not None
    assert (response.status_code, response.data["error"]["code"]) == (status, code)
    assert "secret" not in json.dumps(response.data)
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize("bug", [RuntimeError("boom"), ProgrammingError("no such column"), FileNotFoundError("gone")])
def test_bugs_are_left_to_the_last_resort(bug: Exception) -> None:
    """The handler does not hide them from Django's log."""
    assert exception_handler(bug, {}) is None


def test_the_log_says_what_was_away() -> None:
    """The answer does not."""
    with structlog.testing.capture_logs() as logs:
        exception_handler(OperationalError("database or disk is full"), {})

    assert [(line["event"], line["error"]) for line in logs] == [
        ("http.unavailable", "OperationalError: database or disk is full")
    ]


@pytest.mark.parametrize(
    ("detail", "fields"),
    [
        ("wrong", {"body": ["wrong"]}),
        (["wrong", "bad"], {"body": ["wrong", "bad"]}),
        ({"a": "wrong"}, {"a": ["wrong"]}),
        ({"a": ["wrong", "bad"]}, {"a": ["wrong", "bad"]}),
        ({"non_field_errors": ["wrong"]}, {"body": ["wrong"]}),
        ({"a": {"b": ["wrong"]}}, {"a.b": ["wrong"]}),
        ({"a": {"non_field_errors": ["wrong"]}}, {"a": ["wrong"]}),
        ({"a": {0: ["wrong"], 3: ["bad"]}}, {"a.0": ["wrong"], "a.3": ["bad"]}),
        ({"a": [{}, {"b": ["wrong"]}]}, {"a.1.b": ["wrong"]}),
        ({"message": ["wrong"], "code": ["bad"]}, {"message": ["wrong"], "code": ["bad"]}),
    ],
)
def test_nested_problems_are_flattened(detail: Any, fields: dict[str, list[str]]) -> None:
    """To paths, each with a list of `{code, message}`."""
    response = exception_handler(exceptions.ValidationError(detail), {})

    assert response is not None
    assert response.status_code == 400
    assert response.data["error"]["code"] == "invalid"
    assert response.data["error"]["fields"] == {
        path: [{"code": "invalid", "message": message} for message in messages] for path, messages in fields.items()
    }


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (lambda request: errors.bad_request(request, Exception("secret")), 400, "invalid"),
        (lambda request: errors.permission_denied(request, Exception("secret")), 403, "permission_denied"),
        (lambda request: errors.not_found(request, Exception("secret")), 404, "not_found"),
        (lambda request: errors.csrf_failure(request, "secret"), 403, "permission_denied"),
        (errors.server_error, 500, "internal_error"),
    ],
)
def test_what_django_answers_itself(answer: Any, status: int, code: str) -> None:
    """JSON in the same shape, with no reason of the inside."""
    response: HttpResponse = answer(RequestFactory().get("/"))

    body = json.loads(response.content)
    assert (response.status_code, body["error"]["code"]) == (status, code)
    assert body["error"]["requestId"] == "request-7"
    assert "secret" not in response.content.decode()


def test_internal_errors_say_no_more_than_that() -> None:
    """The same words for sockets."""
    assert errors.body_of(InternalError()) == error("internal_error", "Something went wrong on our side.")


def test_a_host_that_is_not_ours(client: Client) -> None:
    """Django refuses it before any view, in the one shape."""
    response = client.get("/healthz-not-quiet", headers={"Host": "evil.example"})

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid"
    assert response.json()["error"]["requestId"] == response.headers["X-Request-ID"]


def test_a_form_without_its_token(db: None) -> None:
    """Only the admin has forms; its refusal is an error like others."""
    client = Client(enforce_csrf_checks=True)

    response = client.post("/admin/login/", {"username": "x", "password": "y"})

    assert response.status_code == 403
    assert response.json()["error"]["code"] == "permission_denied"
