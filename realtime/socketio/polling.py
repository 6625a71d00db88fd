"""Engine.IO's long polling: requests that wait for events, and requests that bring some.

They do not pass Django's middleware, parts of which would hold a thread for as long as a poll waits. What the others'
answers have, these get from the same middleware: security headers, CORS, request ids, the log line, the error shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final

import structlog
from corsheaders.middleware import CorsMiddleware
from csp.middleware import CSPMiddleware
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from chatproject.errors import DomainError, InternalError, as_json, json_error
from chatproject.middleware import RequestContextMiddleware, refuse_large_bodies
from realtime.daphne_bounds import INBOUND_LIMIT
from realtime.socketio.door import BadHandshake, Door, Receive, Scope, Send, door, is_for_library
from realtime.socketio.session import Reason, Session
from realtime.sockets import CloseCode

log = structlog.get_logger("parley.http")

METHODS = ("GET", "POST")
SEPARATOR = "\x1e"
GONE: Final = "parley.gone"

View = Callable[[Any], Awaitable[HttpResponse]]


class MalformedPayload(DomainError):
    """A body that holds no Engine.IO packets, or more of them than a client sends at once."""

    code = "malformed_json"
    message = "The body is not a payload of Engine.IO packets."


def _on_the_loop(kind: Any) -> Callable[[View], View]:
    """Let a middleware of Django work without the thread that it would take for each of its two steps."""

    def around(get_response: View) -> View:
        middleware = kind(get_response)

        async def handle(request: HttpRequest) -> HttpResponse:
            response: HttpResponse | None = None
            try:
                if hasattr(middleware, "process_request"):
                    response = middleware.process_request(request)
            except DisallowedHost:
                response = json_error(400, "invalid", "The request is not valid.")
            if response is None:
                response = await get_response(request)
            answer: HttpResponse = middleware.process_response(request, response)
            return answer

        return handle

    return around


MIDDLEWARE: tuple[Callable[[Any], Any], ...] = (
    refuse_large_bodies,
    CorsMiddleware,
    _on_the_loop(XFrameOptionsMiddleware),
    _on_the_loop(CSPMiddleware),
    _on_the_loop(SecurityMiddleware),
    RequestContextMiddleware,
)
"""From the inside out, in the order of `settings.MIDDLEWARE`."""


class PollingDoor:
    """ASGI application for requests to `/socket.io/`."""

    def __init__(self, at: Door = door) -> None:
        self._door = at
        answer: Any = self._view
        for middleware in MIDDLEWARE:
            answer = middleware(answer)
        self._answer: View = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        if body is None:
            return
        gone = asyncio.ensure_future(receive())  # after the body nothing comes but the disconnect
        try:
            response = await self._answer(ASGIRequest({**scope, GONE: gone}, BytesIO(body)))
        finally:
            gone.cancel()
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})

    async def _view(self, request: ASGIRequest) -> HttpResponse:
        response: HttpResponse
        if request.method not in METHODS:
            response = json_error(405, "method_not_allowed", "This method is not allowed here.")
            response["Allow"] = ", ".join(METHODS)
            return response
        try:
            scope, sid = self._door.knock(dict(request.scope))
            response = await self._exchange(request, scope, sid)
        except DomainError as error:
            response = as_json(error)
        except Exception:  # the boundary, as Django's own for its views
            log.exception("http.failed")
            response = json_error(InternalError.status, InternalError.code, InternalError.message)
        response["Cache-Control"] = "no-store"
        return response

    async def _exchange(self, request: ASGIRequest, scope: Scope, sid: str | None) -> HttpResponse:
        """Open a connection, or let the one that is named take or bring packets, one request of each kind at a time."""
        if sid is None:
            return await self._ask(scope, sid)
        session = self._door.server.sessions[sid]
        if request.method in session.requests:
            await session.close(Reason.TRANSPORT_ERROR)
            raise BadHandshake
        session.requests.add(request.method)
        try:
            if request.method == "GET":
                return await self._poll(session, scope, sid)
            return await self._ask(scope, sid, await _taken(session, request.body))
        finally:
            session.requests.discard(request.method)

    async def _poll(self, session: Session, scope: Scope, sid: str) -> HttpResponse:
        """Wait for events; a client that hangs up meanwhile is gone, as what was sent to it would be."""
        answer = asyncio.ensure_future(self._ask(scope, sid))
        await asyncio.wait({answer, scope[GONE]}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            await session.close(Reason.TRANSPORT_CLOSE)
        return await answer

    async def _ask(self, scope: Scope, sid: str | None, payload: str = "") -> HttpResponse:
        """Let the library answer. Raises `BadHandshake` where it refuses, or the connection has ended meanwhile."""
        if sid is not None and sid not in self._door.server.sessions:
            raise BadHandshake
        body = payload.encode()
        sent: dict[str, Any] = {}

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.update(message)

        headers = [(b"content-length", str(len(body)).encode())]
        await self._door.server.handle_request({**scope, "headers": headers}, receive, send)
        if sent["status"] != HTTPStatus.OK:
            raise BadHandshake
        return HttpResponse(sent["body"], content_type="text/plain; charset=UTF-8")


async def _taken(session: Session, body: bytes) -> str:
    """Give the client's events to its session, and return the packets that are the library's. Raises `DomainError`."""
    try:
        packets = body.decode().split(SEPARATOR)
    except UnicodeDecodeError:
        raise MalformedPayload from None
    if len(packets) > INBOUND_LIMIT:
        if session.socket is None:
            raise MalformedPayload
        session.socket.close(CloseCode.FLOOD)  # which its next poll tells it
        packets = []
    left = []
    for packet in packets:
        if is_for_library(packet):
            left.append(packet)
        else:
            await session.take(b"" if packet.startswith("b") else packet.removeprefix("4"))
    return SEPARATOR.join(left)


async def _body(receive: Receive) -> bytes | None:
    """Return the request's body, which `chatproject.body_limit` has bounded; None when the client hangs up."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body
