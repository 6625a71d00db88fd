"""Cuts request bodies off that are too large, before Django keeps them (OWASP API4:2023, resource consumption)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EXCEEDED = "parley.body_limit"
"""The key of the scope that holds the limit, in bytes, once a body has passed it."""

KIB = 1024
JSON_BODY = 256 * KIB
"""Enough for 16 KiB of text with every character escaped; bodies of other calls are far smaller."""
UPLOADS = {"/attachment": 26 * KIB * KIB, "/user/me/picture": 6 * KIB * KIB}
"""Bytes allowed where files are sent; the views check the exact size of the file."""


class BodyLimit:
    """ASGI middleware: checks `Content-Length`, and counts while streaming for those who lie or send none.

    What is too large reaches Django as an empty body; `chatproject.middleware.refuse_large_bodies` answers it.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that keeps to its limit."""
        limit = UPLOADS.get(scope["path"], JSON_BODY)
        received = 0
        ended = False
        if _declared_length(scope) > limit:
            scope[EXCEEDED] = limit

        async def limited_receive() -> Message:
            nonlocal received, ended
            message = {"type": "http.request"} if EXCEEDED in scope and not ended else await receive()
            while ended and message["type"] == "http.request":  # the rest of a body that was cut off
                message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                scope[EXCEEDED] = limit
            if EXCEEDED in scope and message["type"] == "http.request":
                message = {"type": "http.request", "body": b"", "more_body": False}
            ended = not message.get("more_body", False)
            return message

        await self.application(scope, limited_receive, send)


def _declared_length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0
