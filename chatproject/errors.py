"""The error model: every expected failure is a `DomainError`, and every door renders it in the same shape.

`{"error": {"code", "message", "fields", "requestId"}}`, described in docs/protocol.md.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, status
from rest_framework.response import Response

from chatproject import db

log = structlog.get_logger("parley.error")

Fields = dict[str, list[dict[str, str]]]


class DomainError(Exception):
    """An expected failure. Subclasses stand beside the function that raises them and fix code, status and message."""

    code: ClassVar[str] = "invalid"
    status: ClassVar[int] = status.HTTP_400_BAD_REQUEST
    message: str = "The request is not valid."

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, Sequence[tuple[str, str]]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        """`fields` maps a field's name to `(code, message)` pairs; `retry_after` is in seconds."""
        self.message = message or type(self).message
        self.fields: Fields = {
            name: [{"code": code, "message": text} for code, text in problems]
            for name, problems in (fields or {}).items()
        }
        self.retry_after = retry_after
        super().__init__(self.message)


class InvalidInput(DomainError):
    """The request is understood but some of its fields are not acceptable."""

    message = "Some fields are not valid."

    @classmethod
    def of(cls, field: str, message: str, *, code: str = "invalid") -> InvalidInput:
        """Make the error of a single field."""
        return cls(fields={field: [(code, message)]})


class Unavailable(DomainError):
    """The service cannot do this now; the client may try again."""

    code = "unavailable"
    status = status.HTTP_503_SERVICE_UNAVAILABLE
    message = "The service is not available at the moment."


class Maintenance(DomainError):
    """Nothing may be written for a while (`manage.py maintenance on`); reading goes on, and a retry is safe."""

    code = "maintenance"
    status = status.HTTP_503_SERVICE_UNAVAILABLE
    message = "The service is in maintenance: what changes something has to wait for a moment."


class InternalError(DomainError):
    """Something that nobody expected; the log has its traceback under the same request id."""

    code = "internal_error"
    status = status.HTTP_500_INTERNAL_SERVER_ERROR
    message = "Something went wrong on our side."


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def failure_of(error: BaseException) -> DomainError:
    """Return what the client is told of an exception that nobody expected.

    `Unavailable` where the database is away or a disk full, so that it tries again; otherwise `InternalError`.
    """
    full = isinstance(error, OSError) and error.errno in _FULL
    return Unavailable() if full or db.is_outage(error) else InternalError()


def log_failure(logger: Any, event: str, error: Exception, **details: object) -> None:
    """Write down what could not be done in the background: an expected failure in a line, a bug with its traceback."""
    if isinstance(error, DomainError):
        logger.info(event, code=error.code, **details)
    else:
        logger.error(event, exc_info=error, **details)


def current_request_id() -> str | None:
    """Return the id of the request or frame being handled; the log lines carry the same."""
    return structlog.contextvars.get_contextvars().get("request_id")


def error_body(
    code: str, message: str, *, fields: Fields | None = None, retry_after: int | None = None
) -> dict[str, Any]:
    """Return the one error shape."""
    error: dict[str, Any] = {
        "code": code,
        "message": message,
        "fields": fields or {},
        "requestId": current_request_id(),
    }
    if retry_after is not None:
        error["retryAfter"] = retry_after
    return {"error": error}


def body_of(error: DomainError) -> dict[str, Any]:
    """Return the one error shape for an expected failure."""
    return error_body(error.code, error.message, fields=error.fields, retry_after=error.retry_after)


def expected_failure(exception: Exception) -> DomainError | None:
    """Return what a client is told that has met no bug; an outage is written down in one line."""
    if isinstance(exception, DomainError):
        return exception
    failure = failure_of(exception)
    if isinstance(failure, InternalError):
        return None
    log.error("http.unavailable", error=f"{type(exception).__name__}: {exception}")
    return failure


_DRF_CODES = {
    exceptions.ParseError: ("malformed_json", "The body cannot be read."),
    exceptions.NotAuthenticated: ("not_authenticated", "Sign in first."),
    exceptions.NotFound: ("not_found", "There is nothing here."),
    exceptions.MethodNotAllowed: ("method_not_allowed", "This method is not allowed here."),
    exceptions.NotAcceptable: ("not_acceptable", "This representation is not available."),
    exceptions.UnsupportedMediaType: ("unsupported_media_type", "Send the body as JSON."),
    exceptions.PermissionDenied: ("permission_denied", "You may not do this."),
}


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response | None:
    """Render every exception of a DRF view. Those that are bugs return None and reach `server_error`."""
    if isinstance(exception, Http404):
        exception = exceptions.NotFound()
    elif isinstance(exception, PermissionDenied):
        exception = exceptions.PermissionDenied()
    elif failure := expected_failure(exception):
        return _response(body_of(failure), failure.status, retry_after=failure.retry_after)
    if not isinstance(exception, exceptions.APIException):
        return None
    if isinstance(exception, exceptions.ValidationError):
        body = error_body("invalid", InvalidInput.message, fields=_flatten(exception.get_full_details()))
    else:
        fallback = (getattr(exception, "default_code", "invalid"), str(exception.detail))
        body = error_body(*_DRF_CODES.get(type(exception), fallback))
    headers = {}
    if challenge := getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    return _response(body, exception.status_code, headers=headers)


def _response(
    body: dict[str, Any],
    status_code: int,
    *,
    headers: dict[str, str] | None = None,
    retry_after: int | None = None,
) -> Response:
    headers = dict(headers or {})
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if status_code == status.HTTP_401_UNAUTHORIZED:
        headers.setdefault("WWW-Authenticate", 'Bearer realm="api"')
    return Response(body, status=status_code, headers=headers)


def _flatten(details: Any, prefix: str = "") -> Fields:
    """Turn DRF's nested validation details into `field.path -> [{code, message}]`; `body` stands for the whole."""
    if _is_problem(details):
        problem = {"code": str(details["code"]), "message": str(details["message"])}
        return {prefix or "body": [problem]}
    found: Fields = {}
    pairs = details.items() if isinstance(details, dict) else enumerate(details)
    for key, value in pairs:
        if isinstance(details, list) and _is_problem(value):
            path = prefix
        elif key == "non_field_errors":
            path = prefix or "body"
        else:
            path = f"{prefix}.{key}" if prefix else str(key)
        for name, problems in _flatten(value, path).items():
            found.setdefault(name, []).extend(problems)
    return found


def _is_problem(details: Any) -> bool:
    """Tell DRF's `{message, code}` from the problems of two fields that a client has named so."""
    return isinstance(details, dict) and set(details) == {"message", "code"} and isinstance(details["message"], str)


def as_json(error: DomainError) -> JsonResponse:
    """Return the error shape of an expected failure as a plain Django response."""
    response = JsonResponse(body_of(error), status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    return response


def json_error(status_code: int, code: str, message: str) -> JsonResponse:
    """Return the error shape as a plain Django response, for failures outside of DRF."""
    return JsonResponse(error_body(code, message), status=status_code)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer for a request that Django itself refused (handler400)."""
    return json_error(400, "invalid", "The request is not valid.")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer for a refusal outside of DRF (handler403)."""
    return json_error(403, "permission_denied", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer for a path that leads nowhere (handler404)."""
    return json_error(404, "not_found", "There is nothing here.")


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer for an unexpected exception (handler500); Django has logged its traceback."""
    return json_error(InternalError.status, InternalError.code, InternalError.message)


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    """Answer for a form without its CSRF token (only the admin has forms)."""
    return json_error(403, "permission_denied", "The form has expired: load the page again.")
