"""Tests of what the shared cache writes to Redis and believes from it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import DataError

from chatproject.caches import SharedCache
from chatproject.redis_url import parse
from tests.live.redis_forms import cluster
from tests.live.server import Redis, make_daphne, make_redis

pytestmark = pytest.mark.live


@pytest.fixture(params=["one", "two", "cluster"])
def cache(request: pytest.FixtureRequest, redis_server: Redis, tmp_path: Path) -> Iterator[SharedCache]:
    """The cache on each form of Redis that keeps keys in one place or in several."""
    if request.param == "cluster":
        with cluster(tmp_path) as servers:
            yield SharedCache(parse(servers.url), {})
    elif request.param == "two":
        with make_redis(tmp_path) as second:
            second.start()
            yield SharedCache(parse(f"{redis_server.url},{second.url}"), {})
    else:
        yield SharedCache(parse(redis_server.url), {})


def test_values_come_back(cache: SharedCache) -> None:
    """Text, numbers, None and nested values are what they were; counters count; what is deleted is gone."""
    values = {"text": "there", "number": 5, "nothing": None, "nested": {"a": [1, True, "☕"]}}

    cache.set_many(values)

    assert cache.get_many([*values, "absent"]) == values
    assert cache.incr("number") == 6
    assert not cache.add("number", 1)
    cache.delete_many(values)
    assert cache.get_many(values) == {}


def test_a_counter_that_has_ended_is_not_begun_without_an_end(cache: SharedCache) -> None:
    """It would stay for ever."""
    with pytest.raises(ValueError, match="not found"):
        cache.incr("ended")

    assert cache.get("ended") is None


def test_others_keys_are_left_alone(cache: SharedCache) -> None:
    """The Redis may be shared, and holds more than the cache."""
    with pytest.raises(NotImplementedError):
        cache.clear()


def test_a_pickle_is_not_opened(redis_server: Redis) -> None:
    """What somebody else has put into Redis is data or an error, never code."""
    cache = SharedCache(parse(redis_server.url), {})
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(cache.make_key("planted"), pickle.dumps(print))

    with pytest.raises(DataError):
        cache.get("planted")


def test_settings_use_it_with_redis(redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server with REDIS_URL counts there, under its prefix."""
    environment = {"REDIS_URL": redis_server.url, "PARLEY_REDIS_PREFIX": "acme"}
    server = make_daphne(tmp_path_factory.mktemp("settings"), **environment)
    code = (
        "from django.core.cache import cache; print(type(cache._connections['default']).__name__, cache.make_key('x'))"
    )

    assert server.manage("shell", "--no-imports", "-c", code).strip() == "SharedCache acme:cache:1:x"
