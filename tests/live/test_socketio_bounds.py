"""How connections of the Socket.IO door end, what they may cost, and how several processes serve them."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.live.clients import KIB, Account, Talker, closed_codes, log_lines, register, resident_kib
from tests.live.server import Daphne, Redis
from tests.live.socketio_people import (
    EITHER,
    POLLING,
    TRANSPORTS,
    WEBSOCKET,
    People,
    connect,
    no_traceback,
)
from tests.live.sticky_proxy import sticky_proxy

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]

GROWTH_KIB = 40 * KIB


async def until(condition: Any, *, seconds: float = 20) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# --- Ends -------------------------------------------------------------------------------------------------------------


@EITHER
async def test_signing_out(live_server_process: Daphne, people: People, transports: list[str]) -> None:
    """The client is told why within 5 s, and does not come back by itself."""
    ada = await register(live_server_process, "ada")
    on_ada = await connect(people, live_server_process, ada, transports=transports, reconnection=True)
    async with httpx.AsyncClient(base_url=live_server_process.url, headers=ada.headers) as client:
        (await client.post("/auth/logout")).raise_for_status()

    assert await on_ada.event("session:end", patience=5) == {"reason": "logout"}
    assert await on_ada.event("socket:close", patience=5) == {"code": 4401, "reason": "unauthenticated"}
    assert (await on_ada.happens("disconnect", patience=5))["reason"] == "io server disconnect"
    await until(lambda: [line for line in log_lines(live_server_process, "socket.closed") if line["user_id"] == ada.id])
    (closed,) = [line for line in log_lines(live_server_process, "socket.closed") if line["user_id"] == ada.id]
    assert closed["code"] == 4401


@EITHER
async def test_a_connection_that_is_lost(
    live_server_process: Daphne, people: People, ada: Account, bob: Account, transports: list[str]
) -> None:
    """The client comes back by itself, and `sync` brings what it missed."""
    quick = {"reconnection": True, "reconnectionDelay": 300, "randomizationFactor": 0}
    on_ada = await connect(people, live_server_process, ada, transports=transports, **quick)
    first = await on_ada.say("before", receiverId=bob.id)
    on_ada.do("drop")
    await on_ada.happens("disconnect")
    async with Talker(live_server_process, bob) as on_bob:
        missed = await on_bob.say("meanwhile", chatId=first["chatId"])
    await on_ada.connected()

    assert await on_ada.call("sync", {"cursors": {first["chatId"]: first["rev"]}}) == {}

    assert (await on_ada.event("sync", chatId=first["chatId"], hasMore=False))["messages"] == [missed]
    assert (await on_ada.event("sync:done"))["chats"] == {first["chatId"]: missed["rev"]}


@TRANSPORTS
async def test_a_client_that_leaves(
    live_server_process: Daphne, people: People, ada: Account, bob: Account, transports: list[str]
) -> None:
    """The other one sees that they are gone within seconds."""
    on_ada = await connect(people, live_server_process, ada, transports=transports)
    async with Talker(live_server_process, bob) as on_bob:
        await on_ada.say("hello", receiverId=bob.id)
        on_ada.do("disconnect")

        await on_bob.event("user:status", userId=ada.id, status="offline", patience=6)


async def test_a_client_that_is_killed(live_server_process: Daphne, ada: Account, bob: Account) -> None:
    """One that polls is gone when its poll is, without a word from it."""
    async with People() as people, Talker(live_server_process, bob) as on_bob:
        on_ada = await connect(people, live_server_process, ada, transports=POLLING)
        await on_ada.say("hello", receiverId=bob.id)
        await asyncio.sleep(0.5)  # its next poll waits by then
        people.process.kill()
        await people.process.wait()

        await on_bob.event("user:status", userId=ada.id, status="offline", patience=6)
    assert no_traceback(live_server_process)


async def test_sigterm(live_server_process: Daphne, people: People, ada: Account, bob: Account) -> None:
    """Clients of both transports are told 1012, and come back to the next server; acked messages are there."""
    server = live_server_process
    quick = {"reconnection": True, "reconnectionDelay": 500, "reconnectionDelayMax": 500}
    on_ada = await connect(people, server, ada, transports=POLLING, **quick)
    on_bob = await connect(people, server, bob, transports=WEBSOCKET, **quick)
    calls = [on_ada.call("message:send", {"receiverId": bob.id, "content": str(number)}) for number in range(50)]
    acked = await asyncio.gather(*calls)

    started = time.monotonic()
    server.send(signal.SIGTERM)
    for client in (on_ada, on_bob):
        assert await client.event("socket:close", patience=5) == {"code": 1012, "reason": "restarting"}
        assert (await client.happens("disconnect", patience=5))["reason"] == "transport close"
    await asyncio.to_thread(server.wait, seconds=10)
    assert time.monotonic() - started < 10

    server.start()
    await on_ada.connected()
    await on_bob.connected()
    chat_id, before = acked[0]["message"]["chatId"], acked[0]["message"]["rev"] - 1
    await on_ada.call("sync", {"cursors": {chat_id: before}})
    stored = (await on_ada.event("sync", chatId=chat_id, hasMore=False))["messages"]
    assert [message["id"] for message in stored] == [one["message"]["id"] for one in acked]
    assert no_traceback(server)


# --- Bounds -----------------------------------------------------------------------------------------------------------


@EITHER
async def test_a_flood(live_server_process: Daphne, ada: Account, bob: Account, transports: list[str]) -> None:
    """50,000 events at once are handled or end in a close; memory stays bounded, and the others go on all the while."""
    server = live_server_process
    async with People() as flooding, Talker(server, bob) as on_bob:
        flooder = await connect(flooding, server, ada, transports=transports)
        before = resident_kib(server)
        flooder.do("flood", event="ping", args=[{}], times=50_000)
        delays: list[float] = []
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            started = time.monotonic()
            await on_bob.call("ping", {})
            delays.append(time.monotonic() - started)
            await asyncio.sleep(0.01)
        if transports == POLLING:
            assert await flooder.event("socket:close") == {"code": 4429, "reason": "flood"}
        assert resident_kib(server) - before < GROWTH_KIB

    assert max(delays) < 2
    assert no_traceback(server)


@EITHER
async def test_a_client_that_does_not_read(live_server_process: Daphne, bob: Account, transports: list[str]) -> None:
    """A client that hangs is closed with 4408, and memory stays bounded."""
    server = live_server_process
    ada = await register(server, "ada")
    async with People() as hanging, Talker(server, bob) as on_bob:
        await connect(hanging, server, ada, transports=transports)
        before = resident_kib(server)
        hanging.process.send_signal(signal.SIGSTOP)
        for _ in range(60):
            await asyncio.gather(*(on_bob.say("x" * 16_000, receiverId=ada.id) for _ in range(20)))
            if closed_codes(server, ada):
                break
        await until(lambda: closed_codes(server, ada), seconds=15)

        assert closed_codes(server, ada) == [4408]
        assert resident_kib(server) - before < GROWTH_KIB


async def test_polls_that_wait(live_server_process: Daphne) -> None:
    """A hundred of them hold no thread, and little memory."""
    server = live_server_process
    query = {"EIO": "4", "transport": "polling"}
    account = await register(server, "idle")
    context = httpx.create_ssl_context()  # nobody needs it, and each client would make its own

    async def poll(number: int) -> None:
        """Connect, be greeted, and wait for what never comes."""
        async with httpx.AsyncClient(base_url=server.url, verify=context, timeout=30) as client:
            opened = await client.get("/socket.io/", params=query)
            mine = {**query, "sid": json.loads(opened.text[1:])["sid"]}
            if number % 2:  # a person has at most 50 sockets
                await client.post("/socket.io/", params=mine, content="40" + json.dumps({"token": account.token}))
                await client.get("/socket.io/", params=mine)
            await client.get("/socket.io/", params=mine)

    warm_up = asyncio.ensure_future(poll(0))
    await asyncio.sleep(1)
    threads, memory = thread_count(server), resident_kib(server)
    polls = [asyncio.ensure_future(poll(number)) for number in range(100)]
    await asyncio.sleep(4)

    assert not [one for one in polls if one.done()]
    assert thread_count(server) - threads < 10
    assert resident_kib(server) - memory < 100 * 150
    for one in (warm_up, *polls):
        one.cancel()
    await asyncio.gather(warm_up, *polls, return_exceptions=True)


def thread_count(server: Daphne) -> int:
    """Return how many threads the server has."""
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


# --- Several processes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(
    module_daphne: DaphneFactory, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Daphne, Daphne]:
    """Two that form an installation of their own."""
    options = {"REDIS_URL": redis_server.url, "data_dir": tmp_path_factory.mktemp("two") / "data"}
    return module_daphne(**options), module_daphne(**options)


@EITHER
async def test_two_processes(servers: tuple[Daphne, Daphne], people: People, transports: list[str]) -> None:
    """Each client stays with its process, by its WebSocket or by a sticky proxy; events cross over our own bus."""
    one, other = servers
    ada, bob = await register(one, "ada"), await register(other, "bob")
    async with AsyncExitStack() as stack:
        on_ada = await connect(people, one, ada, transports=transports)
        on_bob = await connect(people, other, bob, transports=transports)
        native = await stack.enter_async_context(Talker(other, ada))
        sent = await on_ada.say("across", receiverId=bob.id)

        assert await on_bob.event("message:receive") == sent
        assert await native.event("message:receive") == sent
        await on_bob.call("user:typing", {"chatId": sent["chatId"]})
        await on_ada.event("user:typing", userId=bob.id)
        async with httpx.AsyncClient(base_url=other.url, headers=ada.headers) as client:
            (await client.post("/auth/logout")).raise_for_status()
        assert await on_ada.event("session:end", patience=5) == {"reason": "logout"}
        await on_ada.happens("disconnect", patience=5)


@TRANSPORTS
async def test_behind_a_sticky_proxy(servers: tuple[Daphne, Daphne], people: People, transports: list[str]) -> None:
    """Clients that poll, and that upgrade, stay with the server that their address leads to."""
    one, other = servers
    ada, bob = await register(one, "ada"), await register(other, "bob")
    async with sticky_proxy(one, other) as url:
        on_ada = await connect(people, one, ada, transports=transports, url=url, localAddress="127.0.0.2")
        on_bob = await connect(people, other, bob, transports=transports, url=url, localAddress="127.0.0.3")
        sent = [await on_ada.say(str(number), receiverId=bob.id) for number in range(20)]

        assert [await on_bob.event("message:receive") for _ in sent] == sent
        for server, here, elsewhere in ((one, ada, bob), (other, bob, ada)):
            opened = [line["user_id"] for line in log_lines(server, "socket.opened")]
            assert (opened.count(here.id), opened.count(elsewhere.id)) == (1, 0)


async def test_a_poll_that_reaches_the_wrong_process(servers: tuple[Daphne, Daphne]) -> None:
    """It is told that there is no such connection, upon which a client opens a new one."""
    one, other = servers
    query = {"EIO": "4", "transport": "polling"}
    async with httpx.AsyncClient() as client:
        opened = await client.get(f"{one.url}/socket.io/", params=query)
        sid = json.loads(opened.text[1:])["sid"]

        answer = await client.get(f"{other.url}/socket.io/", params={**query, "sid": sid})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid"
