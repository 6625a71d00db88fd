"""The channel layer over Redis, which also sends several groups a message each in one round trip.

This is the only module that depends on the insides of channels-redis, whose version is pinned: its own `group_send`
waits for Redis after each message, which for a batch to many processes is most of what that batch costs.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer


class PipelinedLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """`RedisPubSubChannelLayer` with `group_send_each`."""

    async def group_send_each(self, messages: Mapping[str, dict[str, Any]]) -> None:
        """Send each group its message, on each Redis host in the order of the groups. Raises `RedisError`."""
        layer = self._get_layer()
        by_host: dict[Any, list[tuple[str, bytes]]] = defaultdict(list)
        for group, message in messages.items():
            channel = layer._get_group_channel_name(group)
            by_host[layer._get_shard(channel)].append((channel, self.serialize(message)))
        await asyncio.gather(*(_publish(host, published) for host, published in by_host.items()))


async def _publish(host: Any, published: list[tuple[str, bytes]]) -> None:
    async with host._lock:
        host._ensure_redis()
        async with host._redis.pipeline(transaction=False) as pipeline:
            for channel, message in published:
                pipeline.publish(channel, message)
            await pipeline.execute()


async def send_each(layer: Any, messages: Mapping[str, dict[str, Any]]) -> None:
    """Send each group its message through whatever channel layer there is, in the order of the groups."""
    if len(messages) > 1 and isinstance(layer, PipelinedLayer):
        await layer.group_send_each(messages)
    else:
        for group, message in messages.items():
            await layer.group_send(group, message)
