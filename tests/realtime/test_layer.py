"""Tests of the channel layer that sends many groups a message each at once, over one Redis and over two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from redis.exceptions import RedisError

from chatproject.redis_clients import layer_host
from chatproject.redis_url import parse
from realtime.layer import PipelinedLayer, send_each
from tests.live.server import Redis, make_redis

GROUPS = [f"group.{number}" for number in range(12)]


@pytest.fixture(params=["in memory", "one host", "two hosts"])
async def layer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Each layer that the bus may find."""
    if request.param == "in memory":
        yield InMemoryChannelLayer()
        return
    server: Redis = request.getfixturevalue("redis_server")
    with make_redis(tmp_path) as second:
        second.start()
        urls = [server.url, second.url][: 1 + (request.param == "two hosts")]
        layer = PipelinedLayer(hosts=[layer_host(one) for one in parse(",".join(urls))])
        yield layer
        await layer.flush()


async def test_each_group_gets_its_message(layer: Any) -> None:
    """And none of the others', in the order in which they were sent."""
    channels = {}
    for group in GROUPS:
        channels[group] = await layer.new_channel()
        await layer.group_add(group, channels[group])
    await asyncio.sleep(0.2)

    for number in range(3):
        await send_each(layer, {group: {"type": "test", "text": f"{number} to {group}"} for group in GROUPS})
    await send_each(layer, {GROUPS[0]: {"type": "test", "text": "one more"}})

    for group, channel in channels.items():
        texts = [(await asyncio.wait_for(layer.receive(channel), 5))["text"] for _ in range(3)]
        assert texts == [f"{number} to {group}" for number in range(3)]
    assert (await asyncio.wait_for(layer.receive(channels[GROUPS[0]]), 5))["text"] == "one more"


async def test_a_redis_that_is_away() -> None:
    """It is told, so that the bus takes note."""
    layer = PipelinedLayer(hosts=[layer_host(one) for one in parse("redis://127.0.0.1:1/0")])

    with pytest.raises(RedisError):
        await send_each(layer, {group: {"type": "test"} for group in GROUPS})
    await layer.flush()
