"""Tests of the line between processes: in memory, over a real Redis, and over one that goes away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer

from chatproject.ids import uuid7
from realtime import bus as bus_module
from realtime.bus import GROUP, Bus
from realtime.parcels import Parcel
from tests.faults.proxy import FaultProxy, Way
from tests.live.server import Redis, make_redis
from tests.realtime.conftest import until

KEY = "a key that both processes have"
ADA = uuid7()


class End:
    """One process's end of the bus."""

    def __init__(self, layer: Any) -> None:
        channel_layers.set("default", layer)
        self.layer = layer
        self.texts: list[str] = []
        self.recoveries = 0
        self.bus = Bus(receive=self.receive, recovered=self.recovered)

    def receive(self, parcels: Sequence[Parcel]) -> None:
        """Take the others' parcels."""
        self.texts.extend(parcel.text for parcel in parcels)

    def recovered(self) -> None:
        """Take note of a gap."""
        self.recoveries += 1

    def send(self, *texts: str) -> None:
        """Send parcels with these texts."""
        self.bus.send([Parcel(recipients=(ADA,), text=text) for text in texts])

    async def meets(self, other: End) -> None:
        """Wait until either hears the other."""
        await until(lambda: other.bus._process in self.bus._heard and self.bus._process in other.bus._heard)

    async def hears(self, other: End) -> None:
        """Wait until this end gets what the other one says from now on."""
        number = other.bus._number
        await until(lambda: self.bus._heard[other.bus._process][0] > number, seconds=20)


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(bus_module, "RETRY_SECONDS", 0.1)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that a test may kill."""
    with ExitStack() as stack:
        server = stack.enter_context(make_redis(tmp_path))
        server.start()
        yield server


@pytest.fixture
async def end() -> AsyncIterator[Callable[..., End]]:
    """Make ends: `end(redis_server)`, or `end()` for one in memory; each over Redis has a layer of its own."""
    ends: list[End] = []

    def make(server: Redis | None = None, *, layer: Any = None, key: str = KEY) -> End:
        if server is not None:
            hosts = [{"address": server.url, "socket_timeout": None}]
            layer = RedisPubSubChannelLayer(hosts=hosts, prefix="parley", symmetric_encryption_keys=[key])
        made = End(layer or InMemoryChannelLayer())
        made.bus.start()
        ends.append(made)
        return made

    yield make
    for one in ends:
        await one.bus.stop()
        await one.layer.flush()
    channel_layers.backends.clear()


async def test_parcels_reach_the_other_process_in_their_order(end: Callable[..., End], redis_server: Redis) -> None:
    """And not the one that sent them, which has delivered them already."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)

    for number in range(0, 300, 3):
        one.send(str(number), str(number + 1), str(number + 2))
    other.send("back")
    await until(lambda: len(other.texts) == 300 and one.texts)

    assert other.texts == [str(number) for number in range(300)]
    assert one.texts == ["back"]
    assert one.recoveries == other.recoveries == 0


async def test_one_publish_carries_what_has_gathered(
    end: Callable[..., End], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one publish is under way the next one gathers, up to a limit."""
    monkeypatch.setattr(bus_module, "PUBLISH_LIMIT", 50)
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    monkeypatch.setattr(bus_module, "PROBE_SECONDS", 60)
    await asyncio.sleep(0.2)
    before = one.bus._number

    for number in range(120):
        one.send(str(number))
    await until(lambda: len(other.texts) == 120)

    assert one.bus._number - before == 3


async def test_two_processes_in_memory(end: Callable[..., End]) -> None:
    """The layer of a lone process carries parcels as well."""
    layer = InMemoryChannelLayer()
    one, other = end(layer=layer), end(layer=layer)
    await one.meets(other)

    one.send("hello")
    await until(lambda: other.texts)

    assert (one.texts, other.texts) == ([], ["hello"])


class LossyLayer(InMemoryChannelLayer):
    """A layer that drops what its processes publish, and says nothing, while it is `full`."""

    full = False

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Drop or send."""
        if not self.full:
            await super().group_send(group, message)


async def test_the_layer_drops_and_the_others_notice(end: Callable[..., End]) -> None:
    """No error tells anybody; the numbers do, at the next message or probe."""
    layer = LossyLayer()
    one, other = end(layer=layer), end(layer=layer)
    await one.meets(other)
    one.send("a")
    await until(lambda: other.texts)
    assert other.recoveries == 0

    layer.full = True
    one.send("dropped")
    await asyncio.sleep(0.05)
    layer.full = False

    await until(lambda: other.recoveries)
    assert other.texts == ["a"]


async def test_nothing_readable_crosses_redis(end: Callable[..., End], redis_server: Redis) -> None:
    """Who listens to Redis itself sees neither content nor who it is for."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    with socket.create_connection(("127.0.0.1", redis_server.port)) as spy:
        spy.sendall(b"MONITOR\r\n")
        assert spy.recv(5) == b"+OK\r\n"
        spy.setblocking(False)

        one.send('{"event":"message:receive","data":{"content":"SECRETWORD"}}')
        await until(lambda: other.texts)
        overheard = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(spy, 1_000_000), 5)

    assert b"PUBLISH" in overheard.upper()
    for readable in (b"SECRETWORD", b"message:receive", b"bus.parcels", ADA.bytes, str(ADA).encode()):
        assert readable not in overheard


async def test_a_stranger_on_the_same_redis(end: Callable[..., End], redis_server: Redis) -> None:
    """Messages under another key, or of another kind, are passed over; the channel stays the same one."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    channels = len(other.layer.channels)
    stranger = RedisPubSubChannelLayer(
        hosts=[redis_server.url], prefix="parley", symmetric_encryption_keys=["another key"]
    )

    for number in range(5):
        await stranger.group_send(GROUP, {"type": "bus.parcels", "process": "x", "number": number, "payload": b""})
    await one.layer.group_send(GROUP, {"type": "something.else"})
    await one.layer.group_send(GROUP, {"type": "bus.parcels", "process": "y", "number": 1, "payload": b"\xc1"})
    one.send("ours")
    await until(lambda: other.texts)

    assert other.texts == ["ours"]
    assert len(other.layer.channels) == channels
    await stranger.flush()


async def test_a_redis_that_is_restarted(end: Callable[..., End], own_redis: Redis) -> None:
    """The failure is logged once; after the return the processes hear each other, and that they missed something."""
    one, other = end(own_redis), end(own_redis)
    await one.meets(other)
    one.send("before")
    await until(lambda: other.texts)

    with structlog.testing.capture_logs() as logs:
        own_redis.kill()
        one.send("lost")
        await until(lambda: any(line["event"] == "bus.publish_failed" for line in logs), seconds=20)
        for _ in range(3):
            one.send("lost too")
            await asyncio.sleep(0.2)
        own_redis.start()
        await until(lambda: one.recoveries and other.recoveries, seconds=20)
    await other.hears(one)
    one.send("after")
    await until(lambda: other.texts[-1] == "after")

    assert other.texts[0] == "before"
    sent_by_one = [line for line in logs if line["event"] == "bus.publish_failed"]
    assert len(sent_by_one) <= 2, "once for each process"
    assert [line["event"] for line in logs].count("bus.recovered") <= 2


async def test_a_redis_that_comes_late(end: Callable[..., End], tmp_path: Path) -> None:
    """A process that starts before its Redis is heard as soon as that is there."""
    with make_redis(tmp_path) as server:
        one, other = end(server), end(server)
        await asyncio.sleep(0.3)
        server.start()

        await one.meets(other)
        one.send("hello")
        await until(lambda: other.texts, seconds=10)

        assert other.texts == ["hello"]
        await one.bus.stop()
        await other.bus.stop()


async def test_a_redis_that_hangs(end: Callable[..., End], own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish without an answer is given up, so that those behind it go on."""
    import signal

    one, other = end(own_redis), end(own_redis)
    await one.meets(other)
    monkeypatch.setattr(bus_module, "PUBLISH_SECONDS", 0.1)

    own_redis.send(signal.SIGSTOP)
    one.send("lost, or late")
    await until(lambda: one.bus._broken)
    own_redis.send(signal.SIGCONT)
    one.send("after")
    await until(lambda: "after" in other.texts, seconds=10)

    await until(lambda: not one.bus._broken)


async def test_a_connection_that_died_without_a_word(
    end: Callable[..., End], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end notices that it does not hear itself, subscribes anew, and learns that it missed something."""
    monkeypatch.setattr(bus_module, "DEAF_SECONDS", 0.3)
    monkeypatch.setattr(bus_module, "PUBLISH_SECONDS", 0.2)
    async with FaultProxy(redis_server.port) as proxy:
        hosts = [{"address": proxy.redis_url, "socket_timeout": None}]
        deaf = end(layer=RedisPubSubChannelLayer(hosts=hosts, prefix="parley", symmetric_encryption_keys=[KEY]))
        other = end(redis_server)
        await deaf.meets(other)

        await proxy.turn(Way.BLACK_HOLE)
        await proxy.turn(Way.FORWARD)
        other.send("missed")
        with structlog.testing.capture_logs() as logs:
            await until(lambda: any(line["event"] == "bus.deaf" for line in logs))
        await deaf.hears(other)
        assert deaf.recoveries
        other.send("heard")
        await until(lambda: "heard" in deaf.texts)

        assert "missed" not in deaf.texts
        await deaf.bus.stop()
        await deaf.layer.flush()


async def test_a_queue_beyond_its_limit_is_dropped(
    end: Callable[..., End], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather a gap, which the others notice, than a process without memory."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    monkeypatch.setattr(bus_module, "QUEUE_LIMIT", 10)

    one.send(*map(str, range(10)))
    one.send("one too many")
    await until(lambda: other.recoveries and other.texts)

    assert other.texts == ["one too many"]


async def test_processes_that_are_gone_are_forgotten(
    end: Callable[..., End], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of them does not grow with each restart."""
    monkeypatch.setattr(bus_module, "FORGET_SECONDS", 0.3)
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)

    await other.bus.stop()

    await until(lambda: other.bus._process not in one.bus._heard)
