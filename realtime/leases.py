"""Counts who is there, over all processes: each process renews a lease for each of its people, and leases run out.

Presence never depends on a disconnect being seen: a killed process's leases end by their time.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from redis import asyncio as redis_asyncio


class Leases(Protocol):
    """Who holds a lease for whom. `holder` names a process (or a sign of life by REST), `ttl` is in seconds."""

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """Take or prolong the holder's lease for each person."""

    async def release(self, user_id: UUID, *, holder: str) -> None:
        """Give the holder's lease up."""

    async def is_held(self, user_id: UUID) -> bool:
        """Tell whether anybody holds a lease for the person."""


class MemoryLeases:
    """Leases of a process that serves alone."""

    def __init__(self) -> None:
        self._expiry: dict[UUID, dict[str, float]] = {}

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        expiry = time.monotonic() + ttl
        for user_id in user_ids:
            self._expiry.setdefault(user_id, {})[holder] = expiry

    async def release(self, user_id: UUID, *, holder: str) -> None:
        """See `Leases`."""
        self._expiry.get(user_id, {}).pop(holder, None)

    async def is_held(self, user_id: UUID) -> bool:
        """See `Leases`."""
        now = time.monotonic()
        held = {holder: expiry for holder, expiry in self._expiry.get(user_id, {}).items() if expiry > now}
        if held:
            self._expiry[user_id] = held
        else:
            self._expiry.pop(user_id, None)
        return bool(held)


class RedisLeases:
    """Leases in Redis: a sorted set for each person, its members the holders, scored by their end on Redis's clock.

    The processes' own clocks may differ, or jump, without anybody's presence being lost.
    """

    def __init__(self, url: str) -> None:
        self._longest = settings.PARLEY_PRESENCE_TTL.total_seconds() + 1
        self._redis: Any = redis_asyncio.from_url(url, socket_timeout=2, socket_connect_timeout=2)

    @staticmethod
    def _key(user_id: UUID) -> str:
        return f"parley:presence:{user_id}"

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        now = await self._now()
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user_id in user_ids:
                pipeline.zremrangebyscore(self._key(user_id), "-inf", now)
                pipeline.zadd(self._key(user_id), {holder: now + ttl})
                pipeline.expire(self._key(user_id), int(ttl) + 1)
            await pipeline.execute()

    async def release(self, user_id: UUID, *, holder: str) -> None:
        """See `Leases`."""
        await self._redis.zrem(self._key(user_id), holder)

    async def is_held(self, user_id: UUID) -> bool:
        """See `Leases`."""
        now = await self._now()
        # One that ends later than any lease was taken before Redis's clock was set back.
        return bool(await self._redis.zcount(self._key(user_id), now, now + self._longest))

    async def _now(self) -> float:
        seconds, microseconds = await self._redis.time()
        return float(seconds + microseconds / 1_000_000)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def make_leases() -> MemoryLeases | RedisLeases:
    """Return the leases that fit the configuration: in Redis when there is one."""
    return RedisLeases(settings.PARLEY_REDIS_URL) if settings.PARLEY_REDIS_URL else MemoryLeases()
