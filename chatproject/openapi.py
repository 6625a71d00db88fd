"""Describes what all endpoints share in the OpenAPI document: the one error shape, headers, tags and health checks.

Each failure an endpoint may answer has an example. The document is served by `chatproject.docs`.
"""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from chatproject.db.freezing import RETRY_AFTER
from chatproject.errors import DomainError, InternalError, InvalidInput, Maintenance, Unavailable
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
    retryAfter = serializers.IntegerField(required=False, help_text="Seconds to wait (429, maintenance).")  # noqa: N815


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
_RETRY_AFTER = {RateLimited: 42, Maintenance: RETRY_AFTER}
"""The examples' seconds."""

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


def sent(name: str, value: dict[str, Any]) -> OpenApiExample:
    """Return the example of a body that a client sends."""
    return OpenApiExample(name, value=value, request_only=True)


def answered(serializer: Any, value: dict[str, Any], text: str) -> OpenApiResponse:
    """Return a successful response with its example."""
    return OpenApiResponse(serializer, description=text, examples=[OpenApiExample("answer", value=value)])


def id_in_path(name: str, text: str = "") -> OpenApiParameter:
    """Return the parameter of an id in the path."""
    return OpenApiParameter(name, OpenApiTypes.UUID, OpenApiParameter.PATH, description=text)


NOTHING = OpenApiResponse(description="Done.")


def _example(failure: type[DomainError]) -> OpenApiExample:
    error: dict[str, Any] = {
        "code": failure.code,
        "message": failure.message,
        "fields": {},
        "requestId": EXAMPLE_REQUEST_ID,
    }
    if failure is InvalidInput:
        error["fields"] = {"extra": [{"code": "unknown_field", "message": "There is no such field."}]}
    if failure in _RETRY_AFTER:
        error["retryAfter"] = _RETRY_AFTER[failure]
    return OpenApiExample(failure.code, value={"error": error}, response_only=True, status_codes=[str(failure.status)])


# --- The document as a whole ------------------------------------------------------------------------------------------

DESCRIPTION = """\
A self-hosted, encrypted chat backend.

Register or log in, press *Authorize* and paste the `accessToken`. Bodies are JSON and unknown fields are refused; times
are RFC 3339 in UTC; ids are UUIDs. Every failure has the one shape `Error`, and its `code` is what programs decide by.
Every answer has an `X-Request-ID`, which is in the server's log as well.

Messages also travel live over a WebSocket at `/ws`: the repository's `docs/protocol.md` explains it and
`docs/asyncapi.yaml` describes every frame.
"""

SERVERS = [
    {"url": "/", "description": "The server that this document comes from"},
    {"url": "http://127.0.0.1:8000", "description": "A development server (`make run`)"},
]
TAGS = [
    {"name": "auth", "description": "Accounts, sign-in, tokens and the sessions they belong to."},
    {"name": "user", "description": "Yourself and other people: profile, picture, status, search."},
    {"name": "chat", "description": "Direct chats and groups: inbox, history, members, read marks."},
    {"name": "message", "description": "Sending, editing and deleting messages."},
    {"name": "attachment", "description": "Files that belong to a chat; they lie encrypted on disk."},
    {"name": "health", "description": "For load balancers and orchestrators."},
]
_REQUEST_ID = {
    "description": "Names this request in the server's log. A harmless one that the request brings is kept.",
    "schema": {"type": "string"},
}
_HEADERS = {
    "401": {"WWW-Authenticate": {"description": "The challenge (RFC 6750).", "schema": {"type": "string"}}},
    "429": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
}
_MAINTENANCE_HEADERS = {
    "Retry-After": {"description": "Seconds to wait, with `maintenance`.", "schema": {"type": "integer"}}
}
_WRITING = frozenset({"post", "put", "patch", "delete"})


class NotAcceptable(DomainError):
    """Described here for the document alone; DRF raises its own."""

    code, status, message = "not_acceptable", 406, "This representation is not available."


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add to the generated document what no single view knows (a drf-spectacular postprocessing hook)."""
    components = result["components"]
    components["responses"] = {
        "NotAcceptable": _shared_response("No `Accept`ed media type can be answered with.", NotAcceptable),
        "InternalError": _shared_response("Unexpected; the log has the traceback.", InternalError),
        "Unavailable": _shared_response("Not now: try again.", Unavailable),
        "CannotBeWritten": _shared_response("Not now: try again. Reading may go on.", Unavailable, Maintenance),
    }
    components["headers"] = {"RequestId": _REQUEST_ID}
    scheme = components["securitySchemes"]["accessToken"]
    scheme["description"] = "The `accessToken` of sign-in or refresh; it holds for `expiresIn` seconds."
    result["paths"].update(deepcopy(_HEALTH))
    for operations in result["paths"].values():
        for method, operation in operations.items():
            _complete_responses(method, operation)
    head = {"openapi": result.pop("openapi"), "info": result.pop("info")}
    head["info"]["description"] = DESCRIPTION
    return {**head, "servers": SERVERS, "tags": TAGS, **result}


def _complete_responses(method: str, operation: dict[str, Any]) -> None:
    """Add the failures of every endpoint, and the headers of every answer."""
    responses = operation["responses"]
    if "health" not in operation["tags"]:
        name = "CannotBeWritten" if method in _WRITING else "Unavailable"
        responses["503"] = {"$ref": f"#/components/responses/{name}"}
    if not _takes_any_accept(operation):
        responses["406"] = {"$ref": "#/components/responses/NotAcceptable"}
    responses["500"] = {"$ref": "#/components/responses/InternalError"}
    for status, response in responses.items():
        if "$ref" not in response:
            common = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
            response["headers"] = {**response.get("headers", {}), **common, **_HEADERS.get(status, {})}
    in_order = sorted(responses.items())
    responses.clear()
    responses.update(in_order)


def _takes_any_accept(operation: dict[str, Any]) -> bool:
    """Tell whether the `Accept` header does not matter: for files, which are what they are, and for health checks."""
    successes = [one for status, one in operation["responses"].items() if status.startswith("2")]
    files = any(set(one.get("content", {})) - {"application/json"} for one in successes)
    return files or "health" in operation["tags"]


def _shared_response(description: str, *failures: type[DomainError]) -> dict[str, Any]:
    examples = {failure.__name__: {"value": _example(failure).value, "summary": failure.code} for failure in failures}
    headers: dict[str, Any] = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
    if Maintenance in failures:
        headers |= _MAINTENANCE_HEADERS
    return {
        "description": description,
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "examples": examples}},
    }


def _health(operation_id: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["health"],
            "security": [{}],
            "responses": responses,
        }
    }


def _health_answer(description: str, value: dict[str, Any]) -> dict[str, Any]:
    checks = {"type": "object", "additionalProperties": {"type": "string"}}
    fields = {"status": {"enum": ["ok", "unavailable"]}, "checks": checks, "hints": checks}
    schema = {
        "type": "object",
        "properties": {name: fields[name] for name in value},
        "required": list(value),
        "additionalProperties": False,
    }
    return {"description": description, "content": {"application/json": {"schema": schema, "example": value}}}


_CHECKS = {"database": "ok", "migrations": "ok", "keys": "ok", "layer": "ok"}
_HEALTH = {
    "/healthz": _health(
        "healthz", "The process serves requests", {"200": _health_answer("It does.", {"status": "ok"})}
    ),
    "/readyz": _health(
        "readyz",
        "The process can do its work: every part that a message passes is there",
        {
            "200": _health_answer("It can.", {"status": "ok", "checks": _CHECKS}),
            "503": _health_answer(
                "It cannot: send requests elsewhere. `checks` names the part, `hints` what helps, the log has more.",
                {
                    "status": "unavailable",
                    "checks": {**_CHECKS, "migrations": "unapplied migrations"},
                    "hints": {"migrations": "Run manage.py migrate."},
                },
            ),
        },
    ),
}
