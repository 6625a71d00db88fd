"""Checks of Redis, and of the channel layer and the cache that stand on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import redis
from django.core.cache import cache

from chatproject.env import ENV
from chatproject.ids import uuid7
from realtime import health
from realtime.diagnosis.findings import Finding, fail, first_line, ok, place, warn

OLDEST_REDIS = (6, 2)
PATIENCE = 5.0


def connect(url: str) -> redis.Redis:
    """Return a client of one of the configured Redis hosts; it connects at the first command."""
    return redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)


def remedy_for(error: BaseException) -> str:
    """Return what to do about an error of Redis."""
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in str(error) or "WRONGPASS" in str(error):
        return "correct the password in REDIS_URL"
    if isinstance(error, ValueError):
        return "correct REDIS_URL: redis://:PASSWORD@HOST:6379/0, or rediss:// for TLS"
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return "start Redis, or correct host and port in REDIS_URL"
    return "see the message of Redis"


def redis_server() -> Iterator[Finding]:
    """Ask each Redis who it is."""
    part = "redis"
    if not ENV.redis_urls:
        if ENV.production:
            yield warn(part, "none: this process must be the only one", "set REDIS_URL to run more than one process")
        else:
            yield ok(part, "none: one process serves alone")
    for url in ENV.redis_urls:
        yield _redis_host(part, url)


def _redis_host(part: str, url: str) -> Finding:
    try:
        with connect(url) as client:
            about = client.info("server")
    except Exception as error:  # noqa: BLE001  a wrong URL raises ValueError, a wrong host OSError
        return fail(part, f"{place(url)} cannot be used: {first_line(error)}", remedy_for(error))
    version = str(about.get("redis_version", "0"))
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST_REDIS:
        return warn(part, f"version {version} is old", "update to Redis 6.2 or newer")
    return ok(part, f"version {version} at {place(url)}")


def channel_layer() -> Iterator[Finding]:
    """Send a message through the channel layer and back."""
    part = "channel layer"
    try:
        asyncio.run(asyncio.wait_for(health.channel_layer(), timeout=PATIENCE))
    except TimeoutError:
        yield fail(part, f"no message came back within {PATIENCE:g} s", "see the line of redis")
    except Exception as error:  # noqa: BLE001
        yield fail(part, f"no message gets through: {first_line(error)}", remedy_for(error))
    else:
        yield ok(part, "a message went through and came back")


def shared_cache() -> Iterator[Finding]:
    """Write to the cache that counts the rate limits, and read it back."""
    part, key = "cache", f"doctor:{uuid7().hex}"
    try:
        cache.set(key, "there", timeout=10)
        found = cache.get(key)
        cache.delete(key)
    except Exception as error:  # noqa: BLE001
        yield fail(part, f"it cannot be used, so nothing is rate limited: {first_line(error)}", remedy_for(error))
        return
    if found == "there":
        yield ok(part, "what is written can be read")
    else:
        yield fail(part, "what was written is not there", "see whether Redis is full (maxmemory)")
