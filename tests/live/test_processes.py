"""Several real servers on one Redis: what reaches across, and what a killed server or Redis costs."""

from __future__ import annotations

import asyncio
import json
import re
import socket as sockets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis as redis_client

from tests.live.clients import Account, Talker, log_lines, register
from tests.live.server import LOOPBACK, Daphne, Redis, make_redis

pytestmark = pytest.mark.live

TTL_SECONDS = 4
QUICK_SETTINGS = f"""
from chatproject.settings import *
from datetime import timedelta
PARLEY_PRESENCE_TTL = timedelta(seconds={TTL_SECONDS})
"""
QUICK_APPLICATION = """
from chatproject.asgi import application
from realtime import engine
engine.HEARTBEAT = 2.0
"""

DaphneFactory = Callable[..., Daphne]


@pytest.fixture(scope="module")
def redis(redis_server: Redis) -> Redis:
    """A Redis that a test may kill, and starts again."""
    return redis_server


@pytest.fixture(scope="module")
def servers(module_daphne: DaphneFactory, redis: Redis) -> tuple[Daphne, Daphne]:
    """Two that form an installation; the tests share them."""
    return module_daphne(REDIS_URL=redis.url), module_daphne(REDIS_URL=redis.url)


@pytest.fixture
def third(module_daphne: DaphneFactory, redis: Redis) -> Iterator[Daphne]:
    """One more, which a test may kill."""
    with module_daphne(REDIS_URL=redis.url) as server:
        yield server


@pytest.fixture(scope="module")
def accounts(servers: tuple[Daphne, Daphne]) -> tuple[Account, Account]:
    """Ada and Bob."""
    one, other = servers
    return asyncio.run(register(one, "ada")), asyncio.run(register(other, "bob"))


@pytest.fixture
async def people(
    servers: tuple[Daphne, Daphne], accounts: tuple[Account, Account]
) -> AsyncIterator[tuple[Talker, Talker]]:
    """Ada on one server and Bob on the other, who have written to each other."""
    (one, other), (ada, bob) = servers, accounts
    async with Talker(one, ada) as on_ada, Talker(other, bob) as on_bob:
        await on_ada.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive", content="hello")
        yield on_ada, on_bob


async def test_everything_reaches_the_other_server(people: tuple[Talker, Talker]) -> None:
    """Messages, typing, receipts, a status and its end."""
    on_ada, on_bob = people
    message = await on_bob.say("hi", receiverId=on_ada.account.id)
    chat_id = message["chatId"]

    assert (await on_ada.event("message:receive", content="hi"))["id"] == message["id"]
    await on_ada.call("user:typing", {"chatId": chat_id, "typing": True})
    assert (await on_bob.event("user:typing"))["userId"] == on_ada.account.id
    await on_ada.call("message:read", {"chatId": chat_id, "seq": message["seq"]})
    assert (await on_bob.event("message:read"))["readSeq"] == message["seq"]
    await on_ada.call("user:status", {"status": "away"})
    await on_bob.event("user:status", userId=on_ada.account.id, status="away")
    await on_ada.connection.close()
    await on_bob.event("user:typing", typing=False)
    await on_bob.event("user:status", userId=on_ada.account.id, status="offline")


async def test_a_person_on_both_servers(people: tuple[Talker, Talker]) -> None:
    """A send reaches their own other socket, and they are there as long as either is."""
    on_ada, on_bob = people
    async with Talker(on_bob.server, on_ada.account) as phone:
        await on_ada.say("from the tab", receiverId=on_bob.account.id)
        await phone.event("message:receive", content="from the tab")
        on_bob.inbox.clear()
        await on_ada.connection.close()
        await asyncio.sleep(3)
        await phone.say("from the phone", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="from the phone")
        assert not [frame for frame in on_bob.inbox if _offline(frame, on_ada.account)]

    await on_bob.event("user:status", userId=on_ada.account.id, status="offline")


async def test_nothing_readable_crosses_redis(people: tuple[Talker, Talker], redis: Redis) -> None:
    """Who listens to Redis itself sees that something is said, not what nor to whom."""
    on_ada, on_bob = people
    with sockets.create_connection((LOOPBACK, redis.port)) as spy:
        spy.sendall(b"MONITOR\r\n")
        assert spy.recv(5) == b"+OK\r\n"
        await on_ada.say("SECRETWORD", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="SECRETWORD")
        await asyncio.sleep(0.2)
        spy.setblocking(False)
        overheard = spy.recv(1_000_000)

    assert b"parley__group__parley.bus" in overheard
    assert b"SECRETWORD" not in overheard
    assert b"message:receive" not in overheard


async def test_an_idle_server_still_hears(people: tuple[Talker, Talker]) -> None:
    """Seven seconds without a word do not end the subscription."""
    on_ada, on_bob = people

    await asyncio.sleep(7)
    await on_ada.say("still there?", receiverId=on_bob.account.id)

    await on_bob.event("message:receive", content="still there?", patience=2)


async def test_a_redis_that_is_restarted(people: tuple[Talker, Talker], redis: Redis) -> None:
    """Sockets stay open, messages are acked, and after the return the other server's sockets learn what they missed."""
    on_ada, on_bob = people

    redis.kill()
    missed = await on_ada.say("into the void", receiverId=on_bob.account.id)
    assert (await on_bob.call("ping", {}))["data"] == {}
    redis.start()

    await on_bob.event("sync", chatId=missed["chatId"], patience=12)
    answer = await on_bob.call("sync", {"cursors": {missed["chatId"]: missed["rev"] - 1}})
    assert "data" in answer
    assert (await on_bob.event("sync", hasMore=False))["messages"][0]["content"] == "into the void"
    await all_is_back(redis)
    await on_ada.say("again", receiverId=on_bob.account.id)
    await on_bob.event("message:receive", content="again", patience=5)
    await on_bob.say("and back", receiverId=on_ada.account.id)
    await on_ada.event("message:receive", content="and back", patience=5)


async def test_signing_out_on_another_server(servers: tuple[Daphne, Daphne]) -> None:
    """The sockets of the session are closed wherever they are."""
    one, other = servers
    eve = await register(one, "eve")
    async with Talker(one, eve) as on_eve, httpx.AsyncClient(base_url=other.url) as client:
        answer = await client.post("/auth/logout", headers=eve.headers)
        assert answer.status_code == 204, answer.text

        assert (await on_eve.event("session:end", patience=5))["reason"] == "logout"
        await asyncio.wait_for(on_eve.connection.wait_closed(), 5)
        assert (on_eve.connection.close_code, on_eve.connection.close_reason) == (4401, "unauthenticated")


# --- Routing ----------------------------------------------------------------------------------------------------------


class Spy:
    """Overhears what passes through Redis."""

    def __init__(self, server: Redis) -> None:
        self._connection = sockets.create_connection((LOOPBACK, server.port))
        self._connection.sendall(b"MONITOR\r\n")
        assert self._connection.recv(5) == b"+OK\r\n"

    def published(self) -> Counter[str]:
        """Return how often something was published to each process, and to everybody (``), so far; and hang up."""
        self._connection.setblocking(False)
        overheard = b""
        with suppress(BlockingIOError):
            while part := self._connection.recv(1_000_000):
                overheard += part
        self._connection.close()
        groups = re.findall(rb'"PUBLISH" "parley__group__parley\.bus\.?(\w*)"', overheard)
        return Counter(group.decode() for group in groups)


def processes_on(server: Redis) -> list[str]:
    """Return the processes that listen, in the order in which they were started."""
    with redis_client.Redis.from_url(server.url) as client:
        channels = client.pubsub_channels("parley__group__parley.bus.*")
    return sorted(channel.decode().rpartition(".")[2] for channel in channels)


async def test_a_message_goes_to_the_servers_of_its_people_alone(
    people: tuple[Talker, Talker], redis: Redis, third: Daphne
) -> None:
    """The third server hears of none of twenty; to everybody go only the probes of three servers."""
    on_ada, on_bob = people
    async with Talker(third, await register(third, "eve")):
        await asyncio.sleep(1)
        _, bobs, eves = processes_on(redis)
        spy = Spy(redis)

        for number in range(20):
            await on_ada.say(str(number), receiverId=on_bob.account.id)
            await on_bob.event("message:receive", content=str(number))
        published = spy.published()

    assert published[bobs] == 20
    assert published[eves] == 0
    assert published[""] <= 6


async def test_a_person_on_two_other_servers(people: tuple[Talker, Talker], third: Daphne) -> None:
    """Both get the message; when one of them is killed, the other goes on, and its leases harm nobody."""
    on_ada, on_bob = people
    async with Talker(third, on_bob.account) as phone:
        await on_ada.say("to both", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="to both")
        await phone.event("message:receive", content="to both")

        third.kill()

        await on_ada.say("to one", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content="to one", patience=2)


def leases(server: Redis) -> int:
    """Return for how many people a Redis says where they are."""
    with redis_client.Redis.from_url(server.url) as client:
        return len(client.keys("parley:presence:*"))


async def test_two_redis_hosts(daphne: DaphneFactory, tmp_path: Path) -> None:
    """Processes and people are spread over both; everybody is found on whichever host."""
    with make_redis(tmp_path) as first, make_redis(tmp_path) as second:
        hosts = (first, second)
        for host in hosts:
            host.start()
        one, other = (daphne(REDIS_URL=f"{first.url},{second.url}") for _ in range(2))
        async with AsyncExitStack() as stack:
            ada = await stack.enter_async_context(Talker(one, await register(one, "host")))
            before, crowd = [leases(host) for host in hosts], []
            while not all(leases(host) > had for host, had in zip(hosts, before, strict=True)):
                assert len(crowd) < 14, "by their ids, all are on one host once in 8,000 runs"
                crowd.append(await stack.enter_async_context(Talker(other, await register(other, "host"))))
            for talker in crowd:
                await ada.say("hello", receiverId=talker.account.id)
            for talker in crowd:
                await talker.event("message:receive", content="hello", patience=2)


async def both_are_found(server: Redis) -> None:
    """Wait until two people have a lease."""
    async with asyncio.timeout(6):
        while leases(server) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def all_is_back(server: Redis) -> None:
    """Wait until a Redis that was away knows both people and both servers: the next test needs them."""
    await both_are_found(server)
    async with asyncio.timeout(12):
        while len(processes_on(server)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_redis_that_lost_its_data(people: tuple[Talker, Talker], redis: Redis) -> None:
    """What could not be routed meanwhile is told within seconds, and what follows arrives."""
    on_ada, on_bob = people

    with redis_client.Redis.from_url(redis.url) as client:
        client.flushall()
        missed = await on_ada.say("nobody knows where you are", receiverId=on_bob.account.id)

        await on_bob.event("sync", chatId=missed["chatId"], rev=missed["rev"], patience=6)
        assert not [frame for frame in on_bob.inbox if frame.get("event") == "message:receive"]
    await both_are_found(redis)
    await on_ada.say("again", receiverId=on_bob.account.id)
    await on_bob.event("message:receive", content="again", patience=2)


async def test_people_who_come_while_somebody_writes(people: tuple[Talker, Talker]) -> None:
    """Whatever the moment: what the answer to `sync` does not hold arrives as an event, without a gap."""
    on_ada, on_bob = people
    crowd = [await register(on_bob.server, f"crowd{number}") for number in range(8)]
    async with httpx.AsyncClient(base_url=on_ada.server.url, headers=on_ada.account.headers) as client:
        body = {"participantIds": [one.id for one in crowd], "title": "Rush hour"}
        chat = (await client.post("/chat", json=body)).json()
    is_over = asyncio.Event()
    here: list[Account] = []

    async def come(account: Account, moment: float) -> set[int]:
        await asyncio.sleep(moment)
        async with Talker(on_bob.server, account) as talker:
            await talker.call("sync", {"cursors": {chat["id"]: 0}})
            here.append(account)
            await is_over.wait()
            found = {(await talker.event("message:receive", content="over"))["rev"]}
            for frame in talker.inbox:
                data = frame.get("data", {})
                if frame.get("event") == "message:receive":
                    found.add(data["rev"])
                elif frame.get("event") == "sync" and data["chatId"] == chat["id"]:
                    found.update(message["rev"] for message in data.get("messages", []))
            return found

    coming = [asyncio.ensure_future(come(account, 0.1 * place)) for place, account in enumerate(crowd)]
    while not all(task.done() for task in coming):
        last = await on_ada.say("over" if is_over.is_set() else "busy", chatId=chat["id"])
        if is_over.is_set():
            break
        if last["rev"] > 150 and len(here) == len(crowd):
            is_over.set()
        await asyncio.sleep(0.01)  # the last to come must not be too far behind for an answer
    held = await asyncio.gather(*coming)

    for found in held:
        assert found == set(range(1, last["rev"] + 1))


def _offline(frame: dict[str, object], account: Account) -> bool:
    return json.dumps(frame).count(account.id) > 0 and '"offline"' in json.dumps(frame)


async def test_a_server_logs_the_failure_once(people: tuple[Talker, Talker], redis: Redis) -> None:
    """However many events are lost while Redis is away."""
    on_ada, on_bob = people
    before = len(log_lines(on_ada.server, "bus.publish_failed"))

    redis.kill()
    for number in range(30):
        await on_ada.say(str(number), receiverId=on_bob.account.id)
    await asyncio.sleep(3)
    redis.start()
    await on_bob.event("sync", patience=12)

    await all_is_back(redis)

    assert len(log_lines(on_ada.server, "bus.publish_failed")) == before + 1


# --- Leases that are not renewed --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quick:
    """Two servers whose leases are short and whose hearts beat fast, and their Redis."""

    one: Daphne
    other: Daphne
    redis: Redis


@pytest.fixture(scope="module")
def quick_pair(module_daphne: DaphneFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quick]:
    """An installation of its own."""
    directory = tmp_path_factory.mktemp("quick")
    (directory / "quick_settings.py").write_text(QUICK_SETTINGS)
    (directory / "quick_asgi.py").write_text(QUICK_APPLICATION)
    with make_redis(directory) as redis:
        redis.start()
        options = {"PYTHONPATH": str(directory), "DJANGO_SETTINGS_MODULE": "quick_settings", "REDIS_URL": redis.url}
        one, other = (module_daphne(started=False, data_dir=directory / "data", **options) for _ in range(2))
        for server in (one, other):
            server.command[-1] = "quick_asgi:application"
        yield Quick(one, other, redis)


@pytest.fixture
def quick(quick_pair: Quick) -> Quick:
    """The installation; what a test has killed is started again."""
    for server in (quick_pair.one, quick_pair.other):
        if server.process is None or server.process.poll() is not None:
            server.start()
    return quick_pair


async def test_a_lease_that_is_missing_heals_with_the_beat(quick: Quick) -> None:
    """The person is shown where the chat stands, and is found again."""
    ada, bob = await register(quick.one, "ada"), await register(quick.other, "bob")
    async with Talker(quick.one, ada) as on_ada, Talker(quick.other, bob) as on_bob:
        await on_ada.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive")
        with redis_client.Redis.from_url(quick.redis.url) as client:
            client.delete(*client.keys("parley:presence:*"))
        missed = await on_ada.say("where are you?", receiverId=bob.id)

        await on_bob.event("sync", chatId=missed["chatId"], rev=missed["rev"], patience=5)

        await both_are_found(quick.redis)
        await on_ada.say("there", receiverId=bob.id)
        await on_bob.event("message:receive", content="there", patience=2)


async def test_a_killed_server(quick: Quick) -> None:
    """Nobody says good-bye, and still the people of that server are shown as gone within the TTL and one beat."""
    ada, bob = await register(quick.other, "ada"), await register(quick.other, "bob")
    async with Talker(quick.other, bob) as on_bob, Talker(quick.one, ada) as on_ada:
        await on_ada.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive")
        await asyncio.sleep(TTL_SECONDS)
        assert not [frame for frame in on_bob.inbox if _offline(frame, ada)], "Her server renews her."

        quick.one.kill()

        await on_bob.event("user:status", userId=ada.id, status="offline", patience=TTL_SECONDS + 4)
