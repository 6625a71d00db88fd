"""Django's cache on whatever Redis there is, which counts the exact rate limits for all processes.

Values are written as JSON: Django's own form is pickle, and unpickling runs what somebody put there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from zlib import crc32

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import DataError

from chatproject import redis_clients
from chatproject.redis_url import RedisServer

_COUNT = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return redis.call('INCRBY', KEYS[1], ARGV[1])
end
"""


class JsonSerializer:
    """A serializer for Django's Redis cache; integers stay as they are, for `incr`."""

    def dumps(self, value: Any) -> int | bytes:
        """Return what Redis stores. Raises `TypeError` for what JSON does not know."""
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, stored: bytes) -> Any:
        """Return the value. Raises `DataError`, a `RedisError`, for what `dumps` has not written."""
        try:
            return json.loads(stored)
        except ValueError as error:
            raise DataError("The cache holds a value that is no JSON.") from error


class _Client(RedisCacheClient):
    """Keeps each key on one of the servers; no command has two keys, which a Cluster would refuse."""

    def __init__(self, servers: Any) -> None:
        super().__init__(servers, serializer=cast("Any", JsonSerializer))
        self._redis: Sequence[RedisServer] = servers
        self._clients: dict[int, Any] = {}

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        place = crc32((key or "").encode()) % len(self._redis)
        if place not in self._clients:
            self._clients[place] = redis_clients.client(self._redis[place])
        return self._clients[place]

    def incr(self, key: Any, delta: int) -> int:
        counted = self.get_client(key, write=True).eval(_COUNT, 1, key, delta)
        if counted is None:
            raise ValueError(f"Key {key!r} not found.")
        return int(counted)

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        absent = object()
        return {key: value for key in keys if (value := self.get(key, absent)) is not absent}

    def set_many(self, data: Mapping[Any, Any], timeout: Any) -> None:
        for key, value in data.items():
            self.set(key, value, timeout)

    def delete_many(self, keys: Iterable[Any]) -> None:
        for key in keys:
            self.delete(key)

    def clear(self) -> bool:
        """Refuse: others keep their keys in the same Redis."""
        raise NotImplementedError("Keys of the shared cache end by their time.")


class SharedCache(RedisCache):
    """Django's Redis cache; its `LOCATION` is a sequence of `RedisServer`."""

    def __init__(self, servers: Any, params: dict[str, Any]) -> None:
        super().__init__(servers, params)
        self._class = _Client
