"""Describes failures in the OpenAPI document: one error component, and an example for each code an endpoint answers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from chatproject.errors import DomainError, InvalidInput
from chatproject.limits import RateLimited

EXAMPLE_REQUEST_ID = "019a8c3e-5d0b-7c41-9f2e-6b1f0c9d2a11"


class ProblemSerializer(serializers.Serializer[Any]):
    """What is wrong with one field."""

    code = serializers.CharField()
    message = serializers.CharField()


class ErrorDetailSerializer(serializers.Serializer[Any]):
    """The failure itself."""

    code = serializers.CharField(help_text="Stable: programs decide by it.")
    message = serializers.CharField(help_text="For people; may change.")
    fields = serializers.DictField(child=ProblemSerializer(many=True))  # type: ignore[assignment]
    requestId = serializers.CharField(allow_null=True, help_text="Also in X-Request-ID and in the log.")  # noqa: N815
    retryAfter = serializers.IntegerField(required=False, help_text="Seconds to wait (429).")  # noqa: N815


class ErrorSerializer(serializers.Serializer[Any]):
    """The one error shape of REST and sockets alike."""

    error = ErrorDetailSerializer()


class NotAuthenticated(DomainError):
    """Described here for the document alone; DRF raises its own."""

    code, status, message = "not_authenticated", 401, "Sign in first."


class MalformedBody(DomainError):
    """Described here for the document alone; DRF raises its own."""

    code, message = "malformed_json", "The body cannot be read."


class UnsupportedMediaType(DomainError):
    """Described here for the document alone; DRF raises its own."""

    code, status, message = "unsupported_media_type", 415, "Send the body as JSON."


class BodyTooLarge(DomainError):
    """Described here for the document alone; `chatproject.body_limit` answers it."""

    code, status, message = "body_too_large", 413, "The body is too large."


BODY: tuple[type[DomainError], ...] = (InvalidInput, MalformedBody, UnsupportedMediaType, BodyTooLarge)
"""What every call with a body may answer."""

_DESCRIPTIONS = {
    400: "The request is not valid.",
    401: "Who is asking is not known, or no longer trusted.",
    403: "Not allowed.",
    404: "There is no such thing, or it may not be seen.",
    409: "In conflict with what is stored.",
    413: "The body is too large.",
    415: "The body has the wrong media type.",
    429: "Too many requests.",
    503: "Not available at the moment.",
}


def errors(*failures: type[DomainError]) -> dict[int, OpenApiResponse]:
    """Return the error responses of an endpoint for `extend_schema(responses={..., **errors(ChatNotFound)})`.

    Status, code and message come from the classes that the services raise, so the document cannot drift from them.
    """
    by_status: dict[int, list[type[DomainError]]] = defaultdict(list)
    for failure in failures:
        if failure not in by_status[failure.status]:
            by_status[failure.status].append(failure)
    return {
        status: OpenApiResponse(
            ErrorSerializer, description=_DESCRIPTIONS.get(status, "Failure."), examples=[_example(f) for f in group]
        )
        for status, group in sorted(by_status.items())
    }


def _example(failure: type[DomainError]) -> OpenApiExample:
    error: dict[str, Any] = {
        "code": failure.code,
        "message": failure.message,
        "fields": {},
        "requestId": EXAMPLE_REQUEST_ID,
    }
    if failure is InvalidInput:
        error["fields"] = {"extra": [{"code": "unknown_field", "message": "There is no such field."}]}
    if failure is RateLimited:
        error["retryAfter"] = 42
    return OpenApiExample(failure.code, value={"error": error}, response_only=True, status_codes=[str(failure.status)])
