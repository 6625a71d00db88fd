"""A client of the socket: speaks to the ASGI application in this process, without a server between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from chatproject.asgi import application

PATIENCE = 5.0

Frame = dict[str, Any]


class Client:
    """One socket. What comes in is kept until it is asked for."""

    def __init__(
        self,
        token: str | None = None,
        *,
        path: str = "/ws",
        headers: Sequence[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] = (),
        address: str = "192.0.2.1",
        app: Any = application,
    ) -> None:
        """`token` goes into the `Authorization` header; everything else is as a browser or a proxy would send it."""
        sent = [*headers]
        if token is not None:
            sent.append((b"authorization", f"Bearer {token}".encode()))
        self.communicator = WebsocketCommunicator(app, path, headers=sent, subprotocols=list(subprotocols))
        self.communicator.scope["client"] = [address, 50_000]
        self.subprotocol: str | None = None
        self.inbox: list[Frame] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self._ids = count(1)

    async def open(self) -> Client:
        """Connect, and read up to `hello`, or to the close of a refused socket."""
        await self.communicator.send_input({"type": "websocket.connect"})
        accepted = await self._message()
        assert accepted["type"] == "websocket.accept"
        self.subprotocol = accepted.get("subprotocol")
        await self.find(lambda frame: frame.get("event") in ("hello", None))
        return self

    async def send_text(self, text: str | bytes) -> None:
        """Send a raw frame."""
        kind = "bytes" if isinstance(text, bytes) else "text"
        await self.communicator.send_input({"type": "websocket.receive", kind: text})

    async def send(self, event: str, data: Any = None, *, frame_id: int | str | None = None) -> None:
        """Send a frame, without an id unless there is one."""
        frame: Frame = {"event": event, "data": {} if data is None else data}
        if frame_id is not None:
            frame["id"] = frame_id
        await self.send_text(json.dumps(frame))

    async def call(self, event: str, data: Any = None) -> Frame:
        """Send a frame and return its ack."""
        frame_id = next(self._ids)
        await self.send(event, data, frame_id=frame_id)
        return await self.ack(frame_id)

    async def ok(self, event: str, data: Any = None) -> Frame:
        """Send a frame and return the data of its ack, which must not be an error."""
        answer = await self.call(event, data)
        assert "error" not in answer, answer
        return dict(answer["data"])

    async def refused(self, event: str, data: Any = None) -> str:
        """Send a frame and return the code of the error that its ack must be."""
        answer = await self.call(event, data)
        assert "error" in answer, answer
        return str(answer["error"]["code"])

    async def ack(self, frame_id: int | str) -> Frame:
        """Return the ack of a frame."""
        return await self.find(lambda frame: frame.get("ack") == frame_id)

    async def event(self, name: str, **expected: Any) -> Frame:
        """Return the data of the next event of this name whose data has the expected values."""

        def matches(frame: Frame) -> bool:
            data = frame.get("data", {})
            return frame.get("event") == name and all(data.get(key) == value for key, value in expected.items())

        return dict((await self.find(matches)).get("data", {}))

    async def error(self) -> Frame:
        """Return the error of the next error frame."""
        return dict((await self.find(lambda frame: frame.get("event") == "error"))["error"])

    async def find(self, matches: Callable[[Frame], bool]) -> Frame:
        """Take the first frame that matches out of what has come or will come."""
        for place, frame in enumerate(self.inbox):
            if matches(frame):
                return self.inbox.pop(place)
        while self.close_code is None:
            try:
                await self._message()
            except TimeoutError:
                pytest.fail(f"It did not come; this did: {self.inbox}")
            if self.inbox and matches(self.inbox[-1]):
                return self.inbox.pop()
        if matches({}):
            return {}
        return pytest.fail(f"The socket was closed with {self.close_code}; this came before: {self.inbox}")

    async def events(self) -> list[str]:
        """Return the names of the events that have come by now, and forget them; a ping makes sure of the moment."""
        await self.ok("ping")
        names = [frame["event"] for frame in self.inbox if "event" in frame]
        self.inbox = [frame for frame in self.inbox if "event" not in frame]
        return names

    async def closed(self) -> int:
        """Wait for the server's close, answer it, and return its code."""
        while self.close_code is None:
            try:
                await self._message()
            except TimeoutError:
                pytest.fail(f"The socket stays open; this came: {self.inbox}")
        await self.close()
        return self.close_code

    async def close(self, code: int = 1000) -> None:
        """End the connection from this side, if it has not ended."""
        if not self.communicator.future.done():
            await self.communicator.send_input({"type": "websocket.disconnect", "code": code})
            await self.communicator.wait(PATIENCE)

    async def _message(self) -> Frame:
        async with asyncio.timeout(PATIENCE):
            message: Frame = await self.communicator.output_queue.get()
        if message["type"] == "websocket.close":
            self.close_code, self.close_reason = message["code"], message.get("reason", "")
        elif message["type"] == "websocket.send":
            self.inbox.append(json.loads(message["text"]))
        return message
