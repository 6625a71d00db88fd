"""A device: a person's connection that comes back after every end, as docs/protocol.md teaches."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import websockets

from tests.faults.ledger import Ledger
from tests.faults.proxy import FaultProxy
from tests.live.clients import Account

PATIENCE = 10.0
"""Seconds after which a connection on which something is due is given up."""
LONGEST_PAUSE = 1.0
RESTARTING, UNAVAILABLE, UNAUTHENTICATED, SLOW_CONSUMER = 1012, 1013, 4401, 4408
HONEST = (None, 1000, 1006, RESTARTING, UNAVAILABLE, SLOW_CONSUMER)
"""Ends that are no lies: on a busy machine these clients may read too slowly, and the server says so."""

Frame = dict[str, Any]


class Tokens:
    """A session's tokens, which its devices share."""

    def __init__(self, account: Account) -> None:
        self.user_id = account.id
        self.access = account.token
        self._refresh = account.refresh_token
        self._lock = asyncio.Lock()

    @property
    def headers(self) -> dict[str, str]:
        """The header that REST and sockets take."""
        return {"Authorization": f"Bearer {self.access}"}

    async def refresh(self, http: httpx.AsyncClient, refused: str) -> None:
        """Get a new access token in place of the refused one; one device does it for all."""
        async with self._lock:
            if self.access != refused:
                return
            answer = await http.post("/auth/refresh", json={"refreshToken": self._refresh})
            answer.raise_for_status()
            self.access, self._refresh = answer.json()["accessToken"], answer.json()["refreshToken"]


class Device:
    """Connects to `front`, and again whenever the connection ends. Subclasses say what happens on it.

    `may_expire` is for runs in which clocks jump, and tokens with them; otherwise a 4401 is a lie.
    """

    def __init__(self, tokens: Tokens, front: FaultProxy, ledger: Ledger, *, may_expire: bool = False) -> None:
        self.tokens = tokens
        self.front = front
        self.ledger = ledger
        self.may_expire = may_expire
        self.connection: websockets.ClientConnection | None = None
        self.http = httpx.AsyncClient(base_url=front.url, timeout=PATIENCE)
        self.hint: float | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()

    # --- What subclasses say ------------------------------------------------------------------------------------------

    async def opened(self) -> None:
        """The server has said hello."""

    def heard(self, frame: Frame) -> None:
        """A frame has come."""

    def overdue(self) -> bool:
        """Tell whether an answer should have come by now."""
        return False

    # --- Life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End the connection and everything that runs beside."""
        tasks = [*self._jobs, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        failed = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
        await self.http.aclose()
        assert failed == [], failed

    def beside(self, work: Awaitable[None]) -> None:
        """Run something beside the connection."""
        job = asyncio.ensure_future(work)
        self._jobs.add(job)
        job.add_done_callback(lambda done: self._jobs.discard(done) if not done.cancelled() else None)

    def say(self, event: str, data: Any, frame_id: str) -> None:
        """Send a frame, when there is a connection."""
        if self.connection is not None:
            frame = json.dumps({"event": event, "id": frame_id, "data": data})
            self.beside(_quietly(self.connection.send(frame)))

    async def ask(
        self, method: str, path: str, *, trying: Callable[[], None] = lambda: None, **options: Any
    ) -> httpx.Response:
        """Call REST until it answers with something else than "try again"; `trying` is called before each try."""
        while True:
            trying()
            access = self.tokens.access
            try:
                answer = await self.http.request(method, path, headers=self.tokens.headers, **options)
            except httpx.TransportError:
                self.ledger.counts["REST calls cut off"] += 1
            else:
                if answer.status_code < 400:
                    return answer
                await self._refused(answer, access)
            await asyncio.sleep(random.uniform(0.05, 0.2))

    async def _refused(self, answer: httpx.Response, access: str) -> None:
        """Take note of an error: "unavailable" and, where clocks jump, an expired token are no lies."""
        code = answer.json()["error"]["code"]
        self.ledger.counts[f"REST said {answer.status_code} {code}"] += 1
        if code == "token_expired" and self.may_expire:
            await self._renew(access)
        elif (answer.status_code, code) != (503, "unavailable"):
            self.ledger.lies.append(f"{answer.request.method} {answer.request.url.path}: {answer.text}")

    async def _renew(self, refused: str) -> None:
        try:
            await self.tokens.refresh(self.http, refused)
        except httpx.HTTPError as error:
            self.ledger.counts[f"refresh failed: {type(error).__name__}"] += 1

    async def _run(self) -> None:
        while True:
            self.hint = None
            access = self.tokens.access
            code = await self._connect()
            self.connection = None
            await self._closed(code, access)
            pause = min(LONGEST_PAUSE, 0.05 * 2**self._failures) * random.uniform(0.5, 1)
            self._failures += 1
            await asyncio.sleep(pause if self.hint is None else self.hint)

    async def _connect(self) -> int | None:
        """Serve one connection to its end, and return its close code."""
        connection = None
        try:
            connection = await websockets.connect(
                self.front.ws_url, additional_headers=self.tokens.headers, open_timeout=PATIENCE, ping_interval=None
            )
            async with connection:
                hello = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))
                assert hello["event"] == "hello", hello
                self._failures = 0
                self.connection = connection
                self.ledger.counts["connections opened"] += 1
                await self.opened()
                await self._listen(connection)
        except (websockets.WebSocketException, OSError, TimeoutError, EOFError):
            pass
        return connection.close_code if connection is not None else None

    async def _listen(self, connection: websockets.ClientConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    text = await connection.recv()
            except TimeoutError:
                if self.overdue():
                    self.ledger.counts["connections given up"] += 1
                    return
                continue
            frame = json.loads(text)
            if frame.get("event") == "restarting":
                self.hint = frame["data"]["reconnectInMs"] / 1000
                self.ledger.hints.append(self.hint)
            elif frame.get("event") == "error":
                self.ledger.lies.append(f"An error frame: {text!r}")
            else:
                self.heard(frame)

    async def _closed(self, code: int | None, access: str) -> None:
        """Take note of how a connection ended."""
        self.ledger.counts[f"closed with {code}"] += 1
        if code == RESTARTING and self.hint is None:
            self.ledger.lies.append("A socket was closed with 1012 without `restarting`.")
        if code == UNAUTHENTICATED and self.may_expire:
            await self._renew(access)
        elif code not in HONEST:
            self.ledger.lies.append(f"A socket was closed with {code}.")


async def _quietly(sending: Awaitable[None]) -> None:
    """Send; on a connection that has ended the frame is lost, and its ack will not come."""
    try:
        await sending
    except websockets.ConnectionClosed:
        return


async def until(condition: Callable[[], Any], *, seconds: float, what: str) -> float:
    """Wait until the condition holds, and return how long it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not condition():
        if loop.time() - started > seconds:
            raise AssertionError(f"After {seconds} s: {what}")
        await asyncio.sleep(0.02)
    return loop.time() - started
