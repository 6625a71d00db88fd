"""The Django middleware of our own: the outermost gives each request its id and true address, and logs how it ended."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from chatproject.addresses import client_address
from chatproject.body_limit import EXCEEDED
from chatproject.errors import as_json, expected_failure, json_error
from chatproject.ids import uuid7

log = structlog.get_logger("parley.http")

_ACCEPTABLE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/socket.io/"})


def new_request_id(offered: str | None) -> str:
    """Keep the id that a proxy gave when it is harmless in a log line, otherwise make one."""
    if offered and _ACCEPTABLE_REQUEST_ID.fullmatch(offered):
        return offered
    return str(uuid7())


class RequestContextMiddleware:
    """Binds `request_id` for the log and the error shape, and writes one line for each request."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Handle a request in whichever way, with or without await, the handler around us works."""
        if self.is_async:
            return self._acall(request)
        started = self._begin(request)
        response = self.get_response(request)
        return self._end(request, response, started)  # type: ignore[arg-type]

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        started = self._begin(request)
        response = await self.get_response(request)  # type: ignore[misc]
        return self._end(request, response, started)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer for an expected failure of a view that is not DRF's, such as the admin's in maintenance."""
        failure = expected_failure(exception)
        return as_json(failure) if failure else None

    def _begin(self, request: HttpRequest) -> float:
        clear_contextvars()
        bind_contextvars(request_id=new_request_id(request.headers.get("X-Request-ID")))
        if request.encoding is not None:
            # Bodies are UTF-8 (RFC 8259, section 8.1). Python's codecs know more than charsets, such as zip: the client
            # must not choose one by `Content-Type: ...; charset=`.
            request.encoding = "utf-8"
        request.META["REMOTE_ADDR"] = client_address(
            peer=request.META.get("REMOTE_ADDR"),
            forwarded_for=request.META.get("HTTP_X_FORWARDED_FOR"),
            trusted_proxies=settings.PARLEY_TRUSTED_PROXIES,
        )
        return time.perf_counter()

    def _end(self, request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
        response["X-Request-ID"] = get_contextvars().get("request_id", "")
        write = log.debug if request.path in QUIET_PATHS else log.info
        write(
            "http.request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round((time.perf_counter() - started) * 1000, 1),
            address=request.META["REMOTE_ADDR"],
        )
        return response


@sync_and_async_middleware
def refuse_large_bodies(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Answer 413 where `chatproject.body_limit` has cut a body off, with the headers of every other answer."""

    def refusal(request: HttpRequest) -> HttpResponseBase | None:
        limit = getattr(request, "scope", {}).get(EXCEEDED)
        if limit is None:
            return None
        return json_error(413, "body_too_large", f"The body is larger than {limit} bytes.")

    if not iscoroutinefunction(get_response):
        return lambda request: refusal(request) or get_response(request)

    async def refuse(request: HttpRequest) -> HttpResponseBase:
        return refusal(request) or await get_response(request)

    return refuse
