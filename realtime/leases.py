"""Knows who is where, over all processes: each process renews a lease for each of its people, and leases run out.

Presence asks whether anybody holds a lease for a person, the bus asks who does (`realtime.directory`). Neither depends
on a disconnect being seen: a killed process's leases end by their time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Protocol
from uuid import UUID

import msgspec
from django.conf import settings

from chatproject import redis_clients
from chatproject.redis_keys import Group, Keys
from chatproject.redis_url import RedisServer

CHOICE = "choice"
"""The holder of the lease that a choice by REST takes for somebody without a socket; no process has this name."""

_RENEW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for _, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    redis.call('ZADD', key, now + ARGV[2], ARGV[1])
    redis.call('EXPIRE', key, math.floor(ARGV[2]) + 1)
end
"""

# One that ends later than any lease can was taken before Redis's clock was set back.
_HOLDERS = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local found = {}
for place, key in ipairs(KEYS) do
    found[place] = redis.call('ZRANGEBYSCORE', key, now, now + ARGV[1])
end
return cmsgpack.pack(found)
"""


class Leases(Protocol):
    """Who holds a lease for whom. `holder` names a process (or a sign of life by REST), `ttl` is in seconds."""

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """Take or prolong the holder's lease for each person."""

    async def release(self, user_ids: Collection[UUID], *, holder: str) -> None:
        """Give up the holder's lease for each person."""

    async def holders(self, user_ids: Collection[UUID]) -> dict[UUID, list[str]]:
        """Return who holds a lease for each of the people."""

    async def mark(self, *, holder: str, ttl: float) -> None:
        """Note that all of the holder's leases have been renewed."""

    async def is_marked(self, *, holder: str) -> bool:
        """Tell whether the mark is still there: without it, leases may have been lost as well."""

    async def close(self) -> None:
        """Close the connections."""


class MemoryLeases:
    """Leases of a process that serves alone."""

    def __init__(self) -> None:
        self._expiry: dict[UUID, dict[str, float]] = {}
        self._marks: dict[str, float] = {}

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        expiry = time.monotonic() + ttl
        for user_id in user_ids:
            self._expiry.setdefault(user_id, {})[holder] = expiry

    async def release(self, user_ids: Collection[UUID], *, holder: str) -> None:
        """See `Leases`."""
        for user_id in user_ids:
            held = self._expiry.get(user_id, {})
            held.pop(holder, None)
            if not held:
                self._expiry.pop(user_id, None)

    async def holders(self, user_ids: Collection[UUID]) -> dict[UUID, list[str]]:
        """See `Leases`."""
        return {user_id: self._live(user_id) for user_id in user_ids}

    def _live(self, user_id: UUID) -> list[str]:
        now = time.monotonic()
        held = {holder: expiry for holder, expiry in self._expiry.pop(user_id, {}).items() if expiry > now}
        if held:
            self._expiry[user_id] = held
        return list(held)

    async def mark(self, *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        self._marks[holder] = time.monotonic() + ttl

    async def is_marked(self, *, holder: str) -> bool:
        """See `Leases`."""
        return self._marks.get(holder, 0) > time.monotonic()

    async def close(self) -> None:
        """See `Leases`: there are none."""


class RedisLeases:
    """Leases in Redis: a sorted set for each person, its members the holders, scored by their end on Redis's clock.

    The processes' own clocks may differ, or jump, without anybody's lease being lost. With several Redis servers each
    person's set is on one of them. A script asks for many people of a server at once: by a pipeline of single commands
    the same costs this process many times as much (docs/decisions/0011-directory-routing.md).
    """

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        """`servers` come in the same order in every process."""
        self._servers = [redis_clients.async_client(server) for server in servers]
        self._keys = Keys("presence", servers)
        self._marks = Keys("process", servers)
        self._longest = settings.PARLEY_PRESENCE_TTL.total_seconds() + 1
        self._renew = [server.register_script(_RENEW) for server in self._servers]
        self._holders = [server.register_script(_HOLDERS) for server in self._servers]

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        for group in self._keys.group(user_ids, _bytes):
            await self._renew[group.server](keys=group.keys, args=[holder, ttl])

    async def release(self, user_ids: Collection[UUID], *, holder: str) -> None:
        """See `Leases`."""
        for group in self._keys.group(user_ids, _bytes):
            async with self._servers[group.server].pipeline(transaction=False) as pipeline:
                for key in group.keys:
                    pipeline.zrem(key, holder)
                await pipeline.execute()

    async def holders(self, user_ids: Collection[UUID]) -> dict[UUID, list[str]]:
        """See `Leases`."""
        await redis_clients.learn_nodes(self._servers)
        questions = [self._holders_of(group) for group in self._keys.group(user_ids, _bytes)]
        # Most batches fit one script, and a task of its own would cost that one a third more.
        parts = [await questions[0]] if len(questions) == 1 else await asyncio.gather(*questions)
        return {user_id: held for part in parts for user_id, held in part}

    async def _holders_of(self, group: Group[UUID]) -> Iterable[tuple[UUID, list[str]]]:
        answer = await self._holders[group.server](keys=group.keys, args=[self._longest])
        return zip(group.items, _decoder.decode(answer), strict=True)

    async def mark(self, *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        for server, keys in self._marks.everywhere(holder):
            async with self._servers[server].pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.set(key, 1, px=int(ttl * 1000))
                await pipeline.execute()

    async def is_marked(self, *, holder: str) -> bool:
        """See `Leases`."""
        await redis_clients.learn_nodes(self._servers)
        found = await asyncio.gather(*(self._are_there(*marks) for marks in self._marks.everywhere(holder)))
        return all(found)

    async def _are_there(self, server: int, keys: Sequence[bytes]) -> bool:
        async with self._servers[server].pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.exists(key)
            return all(await pipeline.execute())

    async def close(self) -> None:
        """See `Leases`."""
        for server in self._servers:
            await server.aclose()


_bytes = attrgetter("bytes")
_decoder = msgspec.msgpack.Decoder(list[list[str]])


def make_leases() -> MemoryLeases | RedisLeases:
    """Return the leases that fit the configuration: in Redis when there is one."""
    return RedisLeases(settings.PARLEY_REDIS) if settings.PARLEY_REDIS else MemoryLeases()
