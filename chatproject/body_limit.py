"""Refuses request bodies that are too large before Django sees them (OWASP API4:2023, resource consumption)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from chatproject.errors import error_body
from chatproject.middleware import new_request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger("parley.http")

KIB = 1024
JSON_BODY = 256 * KIB
"""Enough for 16 KiB of text with every character escaped; bodies of other calls are far smaller."""
UPLOADS = {"/attachment": 26 * KIB * KIB, "/user/me/picture": 6 * KIB * KIB}
"""Bytes allowed where files are sent; the views check the exact size of the file."""


class _BodyTooLarge(Exception):
    """The streamed body passed its limit."""


class BodyLimit:
    """ASGI middleware: checks `Content-Length`, and counts while streaming for those who lie or send none."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 in the one error shape."""
        limit = UPLOADS.get(scope["path"], JSON_BODY)
        if _declared_length(scope) > limit:
            await _refuse(scope, send, limit)
            return
        received = 0
        started = False

        async def counting_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _BodyTooLarge
            return message

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.application(scope, counting_receive, noting_send)
        except _BodyTooLarge:
            if not started:
                await _refuse(scope, send, limit)


def _declared_length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    with structlog.contextvars.bound_contextvars(request_id=new_request_id(None)):
        body = error_body("body_too_large", f"The body is larger than {limit} bytes.")
        log.warning("http.request", method=scope["method"], path=scope["path"], status=413)
    headers = [
        (b"content-type", b"application/json"),
        (b"connection", b"close"),
        (b"x-request-id", str(body["error"]["requestId"]).encode()),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
