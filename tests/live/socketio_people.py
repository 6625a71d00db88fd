"""People with the real `socket.io-client`, which runs unmodified in one Node.js process (`tests/live/socketio`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any, Self

import pytest

from tests.live.clients import PATIENCE, Account
from tests.live.server import ROOT, Daphne

PROGRAM = ROOT / "tests" / "live" / "socketio" / "people.mjs"
LINE_BYTES = 64 * 1024 * 1024

POLLING, WEBSOCKET, UPGRADE = ["polling"], ["websocket"], ["polling", "websocket"]
TRANSPORTS = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="-".join)
EITHER = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET], ids="-".join)

Happening = dict[str, Any]


class People:
    """The process of the clients; as a context manager it runs."""

    def __init__(self) -> None:
        self.process: Any = None
        self._clients: dict[str, SocketIoClient] = {}
        self._names = count()
        self._reader: Any = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec("node", PROGRAM, stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader

    def client(
        self, server: Daphne, account: Account | None, *, token: str | None = None, **options: Any
    ) -> SocketIoClient:
        """Let somebody connect, with `options` of the client; `token` stands in for the account's.

        Three options are ours: `url` for another way to the server, `namespace`, and `localAddress` to come from.
        """
        token = account.token if account else token
        auth = {} if token is None else {"auth": {"token": token}}
        client = SocketIoClient(self, str(next(self._names)), account)
        self._clients[client.name] = client
        client.do("connect", url=options.pop("url", server.url), options={**auth, **options})
        return client

    def leave(self) -> None:
        """Let every client hang up, for good; what they hear of it is nobody's business."""
        for client in self._clients.values():
            client.do("disconnect")
        self._clients.clear()

    def tell(self, **deed: Any) -> None:
        """Give the process something to do."""
        self.process.stdin.write(json.dumps(deed).encode() + b"\n")

    async def _read(self) -> None:
        async for line in self.process.stdout:
            happening = json.loads(line)
            if client := self._clients.get(happening.pop("who")):
                client.heard(happening)


class SocketIoClient:
    """One socket."""

    def __init__(self, people: People, name: str, account: Account | None) -> None:
        self.people = people
        self.name = name
        self.account = account
        self.inbox: list[Happening] = []
        self._news = asyncio.Event()
        self._calls = count(1)

    @property
    def id(self) -> str:
        """Whose it is."""
        assert self.account is not None
        return self.account.id

    def do(self, deed: str, **details: Any) -> None:
        """Do something now."""
        self.people.tell(who=self.name, deed=deed, **details)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event without an ack callback."""
        self.do("emit", event=event, args=args)

    async def call(self, event: str, *args: Any, patience: float = PATIENCE) -> Any:
        """Send an event with an ack callback, and return the one argument that it is called with."""
        number = next(self._calls)
        self.do("emit", event=event, args=args, call=number)
        (answer,) = (await self.find(lambda one: one.get("call") == number, patience=patience))["args"]
        return answer

    async def say(self, content: str, **where: str) -> dict[str, Any]:
        """Send a message and return it as acked."""
        answer = await self.call("message:send", {"content": content, **where})
        assert "error" not in answer, answer
        return dict(answer["message"])

    async def connected(self) -> str:
        """Wait for the connection, and for the server's hello; return the transport at that moment."""
        transport = (await self.happens("connect"))["transport"]
        await self.event("hello")
        return str(transport)

    async def happens(self, what: str, *, patience: float = PATIENCE) -> Happening:
        """Return the next happening of a kind."""
        return await self.find(lambda one: one["what"] == what, patience=patience)

    async def event(self, name: str, *, patience: float = PATIENCE, **expected: Any) -> dict[str, Any]:
        """Return the one argument of the next event of this name with these values."""

        def matches(one: Happening) -> bool:
            if one.get("event") != name:
                return False
            (data,) = one["args"]
            return all(data.get(key) == value for key, value in expected.items())

        return dict((await self.find(matches, patience=patience))["args"][0])

    async def find(self, matches: Callable[[Happening], bool], *, patience: float = PATIENCE) -> Happening:
        """Take the first happening that matches out of what was or will be heard."""
        async with asyncio.timeout(patience):
            while True:
                for place, one in enumerate(self.inbox):
                    if matches(one):
                        return self.inbox.pop(place)
                self._news.clear()
                await self._news.wait()

    def heard(self, happening: Happening) -> None:
        """Keep what happened."""
        self.inbox.append(happening)
        self._news.set()


async def connect(people: People, server: Daphne, account: Account, **options: Any) -> SocketIoClient:
    """Return a client that is connected, upgraded where it can."""
    client = people.client(server, account, **options)
    await client.connected()
    if options.get("transports") == UPGRADE:
        await client.happens("upgrade")
    return client


def no_traceback(server: Daphne) -> bool:
    """Tell whether nothing unexpected is in the log."""
    return "Traceback" not in server.log and '"exception"' not in server.log
