"""Tests of the line between processes: in memory, over a real Redis, and over one that goes away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis as redis_client
import structlog
from channels.layers import InMemoryChannelLayer, channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer

from chatproject.ids import uuid7
from chatproject.redis_clients import layer_host
from chatproject.redis_url import parse
from realtime import bus as bus_module
from realtime import streams
from realtime.bus import GROUP, Bus
from realtime.layer import PipelinedLayer
from realtime.leases import Leases, MemoryLeases, RedisLeases
from realtime.parcels import Parcel, decode
from tests.live.server import Redis, make_redis
from tests.realtime.conftest import until

KEY = "a key that both processes have"
ADA = uuid7()


class End:
    """One process's end of the bus."""

    def __init__(self, layer: Any, leases: Leases) -> None:
        channel_layers.set("default", layer)
        self.layer = layer
        self.leases = leases
        self.texts: list[str] = []
        self.recoveries = 0
        self.process = uuid7().hex
        self.bus = Bus(
            process=self.process,
            leases=leases,
            receive=self.receive,
            recovered=self.recovered,
            is_here=lambda _: False,
        )

    def receive(self, parcels: Sequence[Parcel]) -> None:
        """Take the others' parcels."""
        self.texts.extend(parcel.text for parcel in parcels)

    def recovered(self) -> None:
        """Take note of a gap."""
        self.recoveries += 1

    def send(self, *texts: str, to: UUID = ADA) -> None:
        """Send parcels with these texts."""
        self.bus.send([Parcel(recipients=(to,), text=text) for text in texts])

    async def holds(self, user_id: UUID, *, ttl: float = 30) -> None:
        """Take a lease for somebody with a socket here."""
        await self.leases.renew([user_id], holder=self.process, ttl=ttl)

    async def meets(self, other: End) -> None:
        """Wait until either hears the other; Ada has a socket on both."""
        for end in (self, other):
            await end.holds(ADA)
        await until(lambda: other.process in self.bus._heard and self.process in other.bus._heard)
        await asyncio.sleep(2 * bus_module.PROBE_SECONDS)
        self.recoveries = other.recoveries = 0


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
    in_memory = MemoryLeases()

    def make(server: Redis | None = None, *, layer: Any = None, key: str = KEY) -> End:
        if server is not None:
            hosts = [layer_host(one) for one in parse(server.url)]
            layer = PipelinedLayer(hosts=hosts, prefix="parley", symmetric_encryption_keys=[key])
        made = End(layer or InMemoryChannelLayer(), RedisLeases(parse(server.url)) if server else in_memory)
        made.bus.start()
        ends.append(made)
        return made

    yield make
    for one in ends:
        await one.bus.stop()
        await one.layer.flush()
        await one.leases.close()
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
    one.send("first")
    await until(lambda: other.texts)
    before = one.bus._sent.last()[other.process]

    for number in range(120):
        one.send(str(number))
    await until(lambda: len(other.texts) == 121)

    assert one.bus._sent.last()[other.process] - before == 3


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
        await stranger.group_send(
            GROUP, {"type": "bus.parcels", "process": "x", "number": number, "direct": False, "payload": b""}
        )
    await one.layer.group_send(GROUP, {"type": "something.else"})
    await one.layer.group_send(
        GROUP, {"type": "bus.parcels", "process": "y", "number": 1, "direct": False, "payload": b"\xc1"}
    )
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
        back = time.monotonic()
        await until(lambda: one.recoveries and other.recoveries, seconds=20)
        await until(lambda: min(end.bus._heard_itself_at for end in (one, other)) > back, seconds=20)
    await other.holds(ADA)
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
    await until(lambda: one.bus._broken, seconds=20)
    own_redis.send(signal.SIGCONT)
    one.send("after")
    await until(lambda: "after" in other.texts, seconds=20)

    await until(lambda: not one.bus._broken, seconds=20)


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
    monkeypatch.setattr(streams, "FORGET_SECONDS", 0.3)
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)

    await other.bus.stop()

    await until(lambda: other.process not in one.bus._heard)


# --- Where a batch goes -----------------------------------------------------------------------------------------------


async def test_a_batch_goes_to_the_processes_of_its_people(end: Callable[..., End], redis_server: Redis) -> None:
    """Each gets its own people's parcels; one without any of them hears nothing but probes."""
    bob, eve, nobody = uuid7(), uuid7(), uuid7()
    one, two, three, four = (end(redis_server) for _ in range(4))
    for other in (two, three, four):
        await one.meets(other)
    await two.holds(bob)
    await three.holds(eve)
    await one.holds(eve)
    await four.leases.release([ADA], holder=four.process)
    before = one.bus._sent.last()

    for text in ("a", "b"):
        one.send(f"{text} for bob", to=bob)
        one.send(f"{text} for eve", to=eve)
        one.send(f"{text} for nobody", to=nobody)
    await until(lambda: len(two.texts) == 2 and len(three.texts) == 2)
    await asyncio.sleep(2 * bus_module.PROBE_SECONDS)

    assert two.texts == ["a for bob", "b for bob"]
    assert three.texts == ["a for eve", "b for eve"]
    assert one.texts == four.texts == []
    assert one.bus._sent.last().get(four.process) == before.get(four.process)
    assert [other.recoveries for other in (two, three, four)] == [0, 0, 0]


async def test_many_recipients_on_few_processes_are_not_looked_up(end: Callable[..., End], redis_server: Redis) -> None:
    """The broadcast reaches them whatever the leases say."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)

    one.bus.send([Parcel(recipients=tuple(uuid7() for _ in range(1_000)), text="to the large group")])
    await until(lambda: other.texts)

    assert other.texts == ["to the large group"]


async def test_a_lease_of_a_process_that_is_gone(end: Callable[..., End], redis_server: Redis) -> None:
    """What is sent there is heard by nobody, and the others get theirs."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    await one.leases.renew([ADA], holder="gone", ttl=30)

    one.send("hello")
    await until(lambda: other.texts)

    assert other.texts == ["hello"]
    assert one.bus._sent.last()["gone"] == 1


async def test_leases_that_cannot_be_asked(
    end: Callable[..., End], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are broadcast for a while, without asking for each one again; nothing is lost."""
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    asked = one.leases
    one.bus._leases = RedisLeases(parse("redis://127.0.0.1:1/0"))

    with structlog.testing.capture_logs() as logs:
        for number in range(3):
            one.send(str(number))
            await until(lambda number=number: len(other.texts) > number)  # type: ignore[misc]

    assert [line["event"] for line in logs] == ["bus.lookup_failed"]
    assert other.texts == ["0", "1", "2"]
    one.bus._leases = asked
    monkeypatch.setattr(one.bus, "_blind_until", 0)
    one.send("by lookup")
    await until(lambda: len(other.texts) == 4)
    assert one.bus._sent.last()[other.process] == 1


async def test_leases_that_make_no_sense(end: Callable[..., End], redis_server: Redis) -> None:
    """Somebody has put something else in their place: the batch is broadcast."""
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
        one, other = end(redis_server), end(redis_server)
        await one.meets(other)
        (key,) = client.keys("parley:presence:*")
        client.set(key, "nonsense")

        one.send("hello")
        await until(lambda: other.texts)

        client.delete(key)
    assert other.texts == ["hello"]


async def test_leases_that_hang(end: Callable[..., End], redis_server: Redis, own_redis: Redis) -> None:
    """A question is given up in time, and the batch broadcast."""
    import signal

    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    one.bus._leases = hanging = RedisLeases(parse(own_redis.url))
    await hanging.holders([ADA])
    own_redis.send(signal.SIGSTOP)

    one.send("hello")
    await until(lambda: other.texts, seconds=bus_module.LOOKUP_SECONDS + 1)

    own_redis.send(signal.SIGCONT)
    await hanging.close()


# --- Alone ------------------------------------------------------------------------------------------------------------


class CountingLayer(InMemoryChannelLayer):
    """A layer that counts what carries parcels."""

    carried = 0

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Count and send."""
        self.carried += bool(decode(message["payload"]))
        await super().group_send(group, message)


async def test_a_lone_process_sends_nothing_and_whoever_comes_notices(
    end: Callable[..., End], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts, so that a process that was there already learns with the next probe that it missed something."""
    monkeypatch.setattr(bus_module, "ALIVE_SECONDS", 0.35)
    layer = CountingLayer()
    one = end(layer=layer)
    await until(lambda: one.bus._is_alone)

    other = End(layer, one.leases)
    await other.holds(ADA)
    for _ in range(5):
        one.send("to nobody")
    assert layer.carried == 0
    other.bus.start()
    await until(lambda: other.recoveries)

    await until(lambda: not one.bus._is_alone)
    one.send("hello")
    await until(lambda: other.texts)
    assert other.texts == ["hello"]
    await other.bus.stop()


async def test_a_process_whose_company_has_ended(end: Callable[..., End], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is alone again once the other one has been silent for three probes."""
    monkeypatch.setattr(bus_module, "ALIVE_SECONDS", 0.35)
    layer = CountingLayer()
    one, other = end(layer=layer), end(layer=layer)
    await one.meets(other)
    await asyncio.sleep(0.5)
    assert not one.bus._is_alone

    await other.bus.stop()

    await until(lambda: one.bus._is_alone)


async def test_a_subscription_that_died_without_a_sign(
    end: Callable[..., End], redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis forgets of it is noticed by our own probes that do not come back, and it is made anew."""
    monkeypatch.setattr(bus_module, "DEAF_SECONDS", 0.3)
    one, other = end(redis_server), end(redis_server)
    await one.meets(other)
    (shard,) = other.layer._get_layer()._shards

    with structlog.testing.capture_logs() as logs:
        await shard._pubsub.unsubscribe()
        await until(lambda: "bus.deaf" in [line["event"] for line in logs])
        deaf_until = other.bus._heard_itself_at
        await until(lambda: other.bus._heard_itself_at > deaf_until)
    one.send("hello")
    await until(lambda: "hello" in other.texts)


async def test_a_deaf_process_is_not_alone(end: Callable[..., End], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not even hear itself cannot know who else is there, and goes on sending."""
    monkeypatch.setattr(bus_module, "ALIVE_SECONDS", 0.35)
    layer = LossyLayer()
    one = end(layer=layer)
    await until(lambda: one.bus._is_alone)

    layer.full = True

    await until(lambda: not one.bus._is_alone)
