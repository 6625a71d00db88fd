"""Clients of Engine.IO that say exactly what a test wants, to the application in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator

from chatproject.asgi import application
from tests.realtime.client import PATIENCE
from tests.realtime.conftest import Person

SEPARATOR = "\x1e"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def packets(self) -> list[str]:
        """The Engine.IO packets of the body."""
        return self.body.split(SEPARATOR)

    @property
    def code(self) -> str:
        """The code of the one error shape."""
        error = json.loads(self.body)["error"]
        assert set(error) >= {"code", "message", "fields", "requestId"}
        return str(error["code"])


class Request:
    """One request to `/socket.io/`, on its way until `answer` is awaited."""

    def __init__(
        self,
        method: str,
        query: str,
        *,
        body: bytes | None = None,
        headers: Headers = (),
        address: str = "192.0.2.1",
        scheme: str = "http",
        app: Any = application,
    ) -> None:
        length = [] if body is None else [(b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": "/socket.io/",
            "query_string": query.encode(),
            "headers": [(b"host", b"testserver"), *length, *headers],
            "client": [address, 50_000],
            "scheme": scheme,
        }
        self._body = body or b""
        self._talk = ApplicationCommunicator(app, scope)

    async def begin(self) -> Request:
        """Send it."""
        await self._talk.send_input({"type": "http.request", "body": self._body, "more_body": False})
        await asyncio.sleep(0)
        return self

    async def answer(self) -> Answer:
        """Return what came back, once it has come."""
        start = await self._talk.receive_output(PATIENCE)
        body = await self._talk.receive_output(PATIENCE)
        await self._talk.wait(PATIENCE)
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, body["body"].decode())

    async def hang_up(self) -> None:
        """Close the connection before the answer has come."""
        await self._talk.send_input({"type": "http.disconnect"})
        await self._talk.wait(PATIENCE)


async def ask(method: str, query: str = "EIO=4&transport=polling", **options: Any) -> Answer:
    """Send a request and return its answer."""
    return await (await Request(method, query, **options).begin()).answer()


class Poller:
    """A client that polls; `packets` is what came and was not asked for."""

    def __init__(self, sid: str) -> None:
        self.query = f"EIO=4&transport=polling&sid={sid}"
        self.packets: list[str] = []

    async def post(self, *packets: str, **options: Any) -> Answer:
        """Send packets."""
        return await ask("POST", self.query, body=SEPARATOR.join(packets).encode(), **options)

    async def poll(self) -> Request:
        """Begin to wait for packets."""
        return await Request("GET", self.query).begin()

    async def until(self, prefix: str) -> str:
        """Poll until a packet begins like this, and take it."""
        while True:
            for place, packet in enumerate(self.packets):
                if packet.startswith(prefix):
                    return self.packets.pop(place)
            answer = await (await self.poll()).answer()
            assert answer.status == 200, answer
            self.packets += answer.packets


async def handshake(**options: Any) -> Poller:
    """Open a connection by polling, as yet of nobody."""
    answer = await ask("GET", **options)
    assert answer.status == 200, answer
    return Poller(json.loads(answer.body[1:])["sid"])


async def polling(person: Person, **options: Any) -> Poller:
    """Return the client of somebody, greeted."""
    client = await handshake(**options)
    assert (await client.post("40" + json.dumps({"token": person.token}))).body == "OK"
    await client.until('42["hello"')
    return client


def websocket(query: str = "EIO=4&transport=websocket", *, headers: Headers = ()) -> WebsocketCommunicator:
    """Return a WebSocket that is not connected yet."""
    sent = [(b"host", b"testserver"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade"), *headers]
    return WebsocketCommunicator(application, f"/socket.io/?{query}", headers=sent)
