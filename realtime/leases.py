"""Knows who is where, over all processes: each process renews a lease for each of its people, and leases run out.

Presence asks whether anybody holds a lease for a person, the bus asks who does (`realtime.directory`). Neither depends
on a disconnect being seen: a killed process's leases end by their time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Protocol
from uuid import UUID
from zlib import crc32

import msgspec
from django.conf import settings
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected

CHUNK = 500
"""People of one script: Redis does nothing else meanwhile, which takes some 3 ms."""

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
            self._expiry.get(user_id, {}).pop(holder, None)

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

    The processes' own clocks may differ, or jump, without anybody's lease being lost. With several Redis hosts each
    person's set is on one of them. A script asks for many people of a host at once: by a pipeline of single commands
    the same costs this process many times as much (docs/decisions/0011-directory-routing.md).
    """

    def __init__(self, urls: Sequence[str]) -> None:
        """`urls` are the Redis hosts, in the same order in every process."""
        self._hosts: list[Any] = [
            redis_asyncio.from_url(
                url,
                socket_timeout=2,
                socket_connect_timeout=2,
                retry=Retry(NoBackoff(), 1),  # a connection from before a restart of Redis fails once
                retry_on_error=[NotConnected],
            )
            for url in urls
        ]
        self._longest = settings.PARLEY_PRESENCE_TTL.total_seconds() + 1
        self._secret = blake2b(settings.SECRET_KEY.encode(), person=b"parley.leases").digest()
        self._renew = [host.register_script(_RENEW) for host in self._hosts]
        self._holders = [host.register_script(_HOLDERS) for host in self._hosts]

    async def renew(self, user_ids: Collection[UUID], *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        for host, chunk in self._by_host(user_ids):
            await self._renew[host](keys=[self._key(user_id) for user_id in chunk], args=[holder, ttl])

    async def release(self, user_ids: Collection[UUID], *, holder: str) -> None:
        """See `Leases`."""
        for host, chunk in self._by_host(user_ids):
            async with self._hosts[host].pipeline(transaction=False) as pipeline:
                for user_id in chunk:
                    pipeline.zrem(self._key(user_id), holder)
                await pipeline.execute()

    async def holders(self, user_ids: Collection[UUID]) -> dict[UUID, list[str]]:
        """See `Leases`."""
        questions = [self._holders_of(host, chunk) for host, chunk in self._by_host(user_ids)]
        # Most batches fit one script, and a task of its own would cost that one a third more.
        parts = [await questions[0]] if len(questions) == 1 else await asyncio.gather(*questions)
        return {user_id: held for part in parts for user_id, held in part}

    async def _holders_of(self, host: int, user_ids: Sequence[UUID]) -> Iterable[tuple[UUID, list[str]]]:
        answer = await self._holders[host](keys=[self._key(user_id) for user_id in user_ids], args=[self._longest])
        return zip(user_ids, _decoder.decode(answer), strict=True)

    async def mark(self, *, holder: str, ttl: float) -> None:
        """See `Leases`."""
        for host in self._hosts:
            await host.set(_mark(holder), 1, px=int(ttl * 1000))

    async def is_marked(self, *, holder: str) -> bool:
        """See `Leases`."""
        return all(await asyncio.gather(*(host.exists(_mark(holder)) for host in self._hosts)))

    async def close(self) -> None:
        """See `Leases`."""
        for host in self._hosts:
            await host.aclose()

    def _key(self, user_id: UUID) -> bytes:
        """Return the name of somebody's set, which tells nobody whose it is: looking up tells who is written to."""
        return b"parley:presence:%b" % blake2b(user_id.bytes, digest_size=16, key=self._secret).digest()

    def _host_of(self, user_id: UUID) -> int:
        return crc32(user_id.bytes) % len(self._hosts)

    def _by_host(self, user_ids: Collection[UUID]) -> Iterator[tuple[int, Sequence[UUID]]]:
        """Yield the people host by host, `CHUNK` at a time."""
        by_host: dict[int, list[UUID]] = defaultdict(list)
        for user_id in user_ids:
            by_host[self._host_of(user_id)].append(user_id)
        for host, held in by_host.items():
            for start in range(0, len(held), CHUNK):
                yield host, held[start : start + CHUNK]


_decoder = msgspec.msgpack.Decoder(list[list[str]])


def _mark(holder: str) -> str:
    return f"parley:process:{holder}"


def make_leases() -> MemoryLeases | RedisLeases:
    """Return the leases that fit the configuration: in Redis when there is one."""
    return RedisLeases(settings.PARLEY_REDIS_URLS) if settings.PARLEY_REDIS_URLS else MemoryLeases()
