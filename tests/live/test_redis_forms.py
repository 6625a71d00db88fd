"""Tests of two real servers on each form of Redis: with logins and TLS, behind a Sentinel, and on a Cluster."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import redis as redis_client

from tests.certificates import Certificates, make_certificates
from tests.conftest import DaphneFactory
from tests.live.clients import Talker, log_lines, register
from tests.live.redis_forms import (
    Cluster,
    Sentinel,
    cluster,
    sentinel,
    tls_in_front_of,
)
from tests.live.server import LOOPBACK, Daphne, Redis, make_redis
from tests.stores.elsewhere import LookAtRedis

pytestmark = pytest.mark.live

PREFIX = "acme"

Doctor = Callable[[str], str]


@asynccontextmanager
async def a_pair(one: Daphne, other: Daphne) -> AsyncIterator[tuple[Talker, Talker]]:
    """Two people, one on each server, who have met."""
    ada, bob = await register(one, "ada"), await register(other, "bob")
    async with Talker(one, ada) as on_ada, Talker(other, bob) as on_bob:
        await on_ada.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive", content="hello")
        yield on_ada, on_bob


async def everything_crosses(on_ada: Talker, on_bob: Talker) -> None:
    """Messages both ways, a status, and the end of a socket."""
    for number in range(3):
        await on_ada.say(f"to {number}", receiverId=on_bob.account.id)
        await on_bob.event("message:receive", content=f"to {number}", patience=3)
        await on_bob.say(f"back {number}", receiverId=on_ada.account.id)
        await on_ada.event("message:receive", content=f"back {number}", patience=3)
    await on_ada.call("user:status", {"status": "away"})
    await on_bob.event("user:status", userId=on_ada.account.id, status="away")
    await on_ada.connection.close()
    await on_bob.event("user:status", userId=on_ada.account.id, status="offline")


async def is_ready(server: Daphne) -> bool:
    """Tell whether the server says that everything is there."""
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{server.url}/readyz")).status_code == 200


def whole_report(server: Daphne) -> str:
    """Return all that `doctor` says, also where something else than Redis is at fault."""
    try:
        return server.manage("doctor")
    except AssertionError as failure:
        return str(failure)


@pytest.fixture
def doctor(look_at_redis: LookAtRedis) -> Doctor:
    """Return a function that tells what `doctor` says of the Redis at an address."""

    def examine(url: str) -> str:
        finding = look_at_redis(url)
        return f"{finding.level} {finding.message} -> {finding.remedy}"

    return examine


# --- A login and TLS --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guarded:
    """A Redis with a user who may touch the keys and channels of one prefix alone, and TLS in front."""

    redis: Redis
    port: int
    certificates: Certificates

    def url(self, *, password: str = "p%40ss%2Fword", options: str | None = None) -> str:
        """The address, for `REDIS_URL`."""
        options = f"?ssl_ca_certs={self.certificates.authority}" if options is None else options
        return f"rediss://parley:{password}@{LOOPBACK}:{self.port}/0{options}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Start one; `default`, without a password, is for the test."""
    directory = tmp_path_factory.mktemp("guarded")
    certificates = make_certificates(directory)
    rights = [f"~{PREFIX}:*", "resetchannels", f"&{PREFIX}*", "+@all", "-@dangerous", "+info"]
    with make_redis(directory, "--user", "parley", "on", ">p@ss/word", *rights) as redis:
        redis.start()
        with tls_in_front_of(redis.port, certificates) as port:
            yield Guarded(redis, port, certificates)


@pytest.fixture(scope="module")
def guarded_pair(module_daphne: DaphneFactory, guarded: Guarded) -> tuple[Daphne, Daphne]:
    """Two servers on it."""
    options = {"REDIS_URL": guarded.url(), "PARLEY_REDIS_PREFIX": PREFIX, "PARLEY_RATE_LIMITS": "on"}
    one, other = (module_daphne(**options, PARLEY_TRUSTED_PROXIES="1") for _ in range(2))
    return one, other


async def test_a_login_and_tls(guarded: Guarded, guarded_pair: tuple[Daphne, Daphne], doctor: Doctor) -> None:
    """Two servers work as one, with the rights that docs/operations.md asks for; `doctor` knows the ways to fail."""
    one, other = guarded_pair
    async with a_pair(one, other) as (on_ada, on_bob):
        assert await is_ready(one)
        await everything_crosses(on_ada, on_bob)
    assert "p@ss" not in one.log + other.log
    assert not log_lines(one, "limits.unavailable") + log_lines(one, "presence.redis_away")

    report = await asyncio.to_thread(whole_report, one)
    assert {"redis", "channel layer", "cache"} <= set(re.findall("^ok   ([^:]+):", report, re.MULTILINE)), report
    assert "p@ss" not in report
    for url, said in (
        (guarded.url(password="SESAME"), "-> correct the password in REDIS_URL"),
        (guarded.url(options=""), "-> name the certificate authority in REDIS_URL: ?ssl_ca_certs="),
        (guarded.url().replace("rediss", "redis").partition("?")[0], "-> "),
    ):
        report = await asyncio.to_thread(doctor, url)
        assert said in report, report
        assert not {"SESAME", "p@ss/word", "p%40ss"} & set(report.replace("@", " ").replace(":", " ").split())


# --- What is in Redis -------------------------------------------------------------------------------------------------

ADDRESS = "203.0.113.77"
WITHOUT_END = -1
"""What Redis answers to TTL; 0 and -2 are of keys that end just now."""


async def test_nothing_in_redis_is_readable_or_stays(guarded: Guarded, guarded_pair: tuple[Daphne, Daphne]) -> None:
    """After all that people do, each key and channel has the prefix, each key an end, and none tells who or what."""
    one, other = guarded_pair
    with client_of(guarded.redis) as client, client.monitor() as monitor:
        async with a_pair(one, other) as (on_ada, on_bob):
            people = [on_ada.account, on_bob.account]
            message = await on_ada.say("SECRETWORD", receiverId=on_bob.account.id)
            await on_bob.event("message:receive", content="SECRETWORD")
            await on_bob.call("user:typing", {"chatId": message["chatId"], "typing": True})
            await on_bob.call("sync", {"cursors": {message["chatId"]: 0}})
            await on_ada.call("user:status", {"status": "away"})
            body = {"username": "NOBODYNAME", "password": "wrong"}
            async with httpx.AsyncClient(base_url=one.url, headers={"X-Forwarded-For": ADDRESS}) as http:
                assert (await http.post("/auth/login", json=body)).status_code == 401
                username = (await http.get("/user/me", headers=on_ada.account.headers)).json()["username"]
            await asyncio.sleep(1.5)  # an exchange of counts
            keys = list(client.scan_iter(count=1000))
            channels = client.pubsub_channels()
            ends = {key: client.ttl(key) for key in keys}
            held = b" ".join(keys + channels + [value_of(client, key) for key in keys])
        client.echo("THE-END")
        heard = "".join(takewhile(lambda one: "THE-END" not in one, (told["command"] for told in monitor.listen())))

    kinds = {key.split(b":")[1] for key in keys}
    assert kinds == {b"presence", b"process", b"limit", b"cache"}
    assert all(key.startswith(f"{PREFIX}:".encode()) for key in keys)
    assert {channel.decode() for channel in channels if not channel.startswith(PREFIX.encode())} == set()
    assert {key for key, ttl in ends.items() if ttl == WITHOUT_END} == set()
    for text in held, heard.encode():
        for word in ("SECRETWORD", username, "example.org", "NOBODYNAME", ADDRESS, LOOPBACK, "message:receive"):
            assert word.encode() not in text.replace(f"[0 {LOOPBACK}".encode(), b""), word
        for person in people:
            identity = UUID(person.id)
            for known in (person.id.encode(), identity.hex.encode(), identity.bytes):
                assert known not in text


def client_of(server: Redis) -> redis_client.Redis:
    """Return a client of the test's own."""
    return redis_client.Redis(port=server.port)


def value_of(client: redis_client.Redis, key: bytes) -> bytes:
    """Return whatever is kept there."""
    if client.type(key) == b"zset":
        return b" ".join(client.zrange(key, 0, -1))
    return client.get(key) or b""


# --- Sentinel ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinel]:
    """Start a master, its replica and a Sentinel."""
    with sentinel(tmp_path) as running:
        yield running


async def test_a_master_that_is_killed(daphne: DaphneFactory, sentinels: Sentinel, doctor: Doctor) -> None:
    """The replica takes over: everything acked is there, sockets stay open, and messages cross again."""
    one, other = (daphne(REDIS_URL=sentinels.url, PARLEY_RATE_LIMITS="on") for _ in range(2))
    async with a_pair(one, other) as (on_ada, on_bob):
        assert "ok version" in await asyncio.to_thread(doctor, sentinels.url)

        await asyncio.to_thread(sentinels.master.kill)
        acked = [(await on_ada.say(str(number), receiverId=on_bob.account.id))["seq"] for number in range(20)]
        async with asyncio.timeout(15):
            while await asyncio.to_thread(lambda: sentinels.master_port) != sentinels.replica.port:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await on_bob.event("sync", patience=20)
        await everything_crosses(on_ada, on_bob)
        assert acked == list(range(2, 22))
        assert await is_ready(other)
        async with httpx.AsyncClient(base_url=other.url, headers=on_bob.account.headers) as client:
            (chat,) = (await client.get("/chat")).json()["chats"]
            page = (await client.get(f"/chat/{chat['id']}?after=0&limit=100")).json()
        assert [message["content"] for message in page["messages"]][1:21] == [str(number) for number in range(20)]


# --- Cluster ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Cluster]:
    """Start three masters."""
    with cluster(tmp_path) as running:
        yield running


async def test_a_cluster(daphne: DaphneFactory, nodes: Cluster, doctor: Doctor) -> None:
    """Two servers work as one, and the nodes share the keys; when the bus's node is killed, it moves to another."""
    one, other = (daphne(REDIS_URL=nodes.url, PARLEY_RATE_LIMITS="on") for _ in range(2))
    async with a_pair(one, other) as (on_ada, on_bob):
        assert await is_ready(one)
        assert "ok version" in await asyncio.to_thread(doctor, nodes.url)
        for client in nodes.clients():
            with client:
                assert client.dbsize() >= 3

        await asyncio.to_thread(nodes.nodes[0].kill)
        missed = await on_ada.say("who hears this?", receiverId=on_bob.account.id)
        await on_bob.event("sync", chatId=missed["chatId"], rev=missed["rev"], patience=20)
        await everything_crosses(on_ada, on_bob)
        assert f"connecting to {LOOPBACK}:{nodes.nodes[0].port}" in await asyncio.to_thread(doctor, nodes.url)
