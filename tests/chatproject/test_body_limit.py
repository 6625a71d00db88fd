"""Tests of bodies that are cut off, on the way from the server to Django."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from chatproject.body_limit import EXCEEDED, JSON_BODY, UPLOADS, BodyLimit
from chatproject.middleware import refuse_large_bodies

Message = MutableMapping[str, Any]
GONE = {"type": "http.disconnect"}


def chunk(size: int, *, more: bool) -> Message:
    """Return a part of a body."""
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def passed_on(
    *messages: Message, path: str = "/chat/message", length: int | bytes | None = None
) -> tuple[int, int | None, list[str]]:
    """Send a body through; return how much of it arrives, the limit when it was passed, and what comes afterwards."""
    headers = (
        [] if length is None else [(b"content-length", str(length).encode() if isinstance(length, int) else length)]
    )
    scope: dict[str, Any] = {"type": "http", "path": path, "headers": headers}
    incoming = iter([*messages, GONE])
    arrived = 0
    later: list[str] = []

    async def receive() -> Message:
        return next(incoming)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal arrived
        while True:
            message = await receive()
            arrived += len(message["body"])
            if not message.get("more_body"):
                break
        later.append((await receive())["type"])

    async def send(message: Message) -> None:
        raise AssertionError("nothing is answered here")

    await BodyLimit(application)(scope, receive, send)
    return arrived, scope.get(EXCEEDED), later


@pytest.mark.parametrize("length", [None, JSON_BODY, b"x", b"-5"])
async def test_a_body_within_its_limit_arrives_whole(length: int | bytes | None) -> None:
    """To the last byte, whatever the header says."""
    half = JSON_BODY // 2

    found = await passed_on(chunk(half, more=True), chunk(half, more=False), length=length)

    assert found == (JSON_BODY, None, ["http.disconnect"])


async def test_a_declared_length_is_enough_to_refuse() -> None:
    """Nothing of the body is kept, and what still comes is swallowed."""
    found = await passed_on(chunk(10, more=True), chunk(10, more=False), length=JSON_BODY + 1)

    assert found == (0, JSON_BODY, ["http.disconnect"])


@pytest.mark.parametrize("length", [None, 5])
async def test_a_body_is_counted_while_it_comes(length: int | None) -> None:
    """For those who declare none, or lie."""
    third = JSON_BODY // 2

    found = await passed_on(*(chunk(third, more=True) for _ in range(10)), chunk(1, more=False), length=length)

    assert found == (2 * third, JSON_BODY, ["http.disconnect"])


@pytest.mark.parametrize(("path", "limit"), UPLOADS.items())
async def test_uploads_may_be_larger(path: str, limit: int) -> None:
    """Each to its own limit."""
    assert (await passed_on(chunk(1, more=False), path=path, length=limit))[1] is None
    assert (await passed_on(chunk(1, more=False), path=path, length=limit + 1))[1] == limit
    assert (await passed_on(chunk(1, more=False), path=f"{path}/", length=limit))[1] == JSON_BODY


def test_what_was_cut_off_is_refused() -> None:
    """The view is never asked; without the mark it is."""
    middleware = refuse_large_bodies(lambda request: HttpResponse("asked"))
    request = RequestFactory().post("/chat/message")
    assert middleware(request).content == b"asked"  # type: ignore[union-attr]

    request.scope = {EXCEEDED: 5}  # type: ignore[attr-defined]
    response = middleware(request)

    assert response.status_code == 413  # type: ignore[union-attr]
    assert b"body_too_large" in response.content  # type: ignore[union-attr]
