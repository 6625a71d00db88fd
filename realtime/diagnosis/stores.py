"""Checks of Redis, and of the channel layer and the cache that stand on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import redis
from django.core.cache import cache
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from chatproject import redis_clients
from chatproject.env import ENV
from chatproject.ids import uuid7
from chatproject.redis_url import Kind, RedisServer
from realtime import health
from realtime.diagnosis.findings import Finding, fail, first_line, ok, warn

OLDEST_REDIS = (6, 2)
PATIENCE = 5.0


def remedy_for(error: BaseException) -> str:
    """Return what to do about an error of Redis."""
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in str(error) or "WRONGPASS" in str(error):
        return "correct the password in REDIS_URL"
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "start the sentinels and their master, or correct the service's name in REDIS_URL"
    if "cluster support disabled" in str(error):
        return "write redis:// in REDIS_URL: it is no Cluster"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "name the certificate authority in REDIS_URL: ?ssl_ca_certs=/its/file.pem"
    if isinstance(error, redis_clients.AWAY):
        return "start Redis, or correct host and port in REDIS_URL"
    return "see the message of Redis"


def redis_server() -> Iterator[Finding]:
    """Ask each Redis who it is."""
    part = "redis"
    if not ENV.redis:
        if ENV.production:
            yield warn(part, "none: this process must be the only one", "set REDIS_URL to run more than one process")
        else:
            yield ok(part, "none: one process serves alone")
    for server in ENV.redis:
        yield _server(part, server)


def _server(part: str, server: RedisServer) -> Finding:
    try:
        with redis_clients.client(server, seconds=PATIENCE) as client:
            told = redis_clients.ask_each(client, server, "INFO", "server")
            missing = _slots_of_nobody(client) if server.kind is Kind.CLUSTER else 0
    except Exception as error:  # noqa: BLE001  whatever it is: that server is of no use
        return fail(part, f"{server} cannot be used: {first_line(error)}", remedy_for(error))
    if missing:
        return fail(part, f"{server} has nobody for {missing} slots", "start the nodes that are away (CLUSTER NODES)")
    oldest = min((str(about.get("redis_version", "0")) for about in told), key=_numbers)
    if _numbers(oldest) < OLDEST_REDIS:
        return warn(part, f"version {oldest} is old", "update to Redis 6.2 or newer")
    return ok(part, f"version {oldest} at {server}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".")[:2])


def _slots_of_nobody(client: Any) -> int:
    return REDIS_CLUSTER_HASH_SLOTS - int(client.cluster_info()["cluster_slots_ok"])


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
