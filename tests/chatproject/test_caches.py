"""Tests of what the shared cache writes to Redis and believes from it."""

from __future__ import annotations

import pickle

import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import DataError

from tests.live.server import Redis, make_daphne

pytestmark = pytest.mark.live

SERIALIZER = "chatproject.caches.JsonSerializer"


@pytest.fixture
def cache(redis_server: Redis) -> RedisCache:
    """Django's cache on a real Redis, with our serializer."""
    return RedisCache(redis_server.url, {"OPTIONS": {"serializer": SERIALIZER}})


def test_values_come_back(cache: RedisCache) -> None:
    """Text, numbers, None and nested values are what they were; counters count."""
    values = {"text": "there", "number": 5, "nothing": None, "nested": {"a": [1, True, "☕"]}}

    cache.set_many(values)

    assert cache.get_many(values) == values
    assert cache.incr("number") == 6


def test_a_pickle_is_not_opened(cache: RedisCache, redis_server: Redis) -> None:
    """What somebody else has put into Redis is data or an error, never code."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(cache.make_key("planted"), pickle.dumps(print))

    with pytest.raises(DataError):
        cache.get("planted")


def test_settings_use_it_with_redis(redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server with REDIS_URL has this serializer in its settings."""
    server = make_daphne(tmp_path_factory.mktemp("settings"), REDIS_URL=redis_server.url)
    code = "from django.conf import settings; print(settings.CACHES['default']['OPTIONS']['serializer'])"

    assert server.manage("shell", "--no-imports", "-c", code).strip() == SERIALIZER
