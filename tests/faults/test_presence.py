"""After any kill presence is right within its TTL: the gone are shown as gone, and nobody else is."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.live.clients import Talker, register
from tests.live.server import Redis

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

TTL_SECONDS = 60
"""What docs/operations.md promises: the lease's time, and a beat."""


async def test_presence_after_kills(daphne: DaphneFactory, own_redis: Redis) -> None:
    """A Daphne is killed with Ada's socket, and Redis with all leases: Bob hears that Ada went, not Carol."""
    killed, other = daphne(REDIS_URL=own_redis.url), daphne(REDIS_URL=own_redis.url)
    ada, bob, carol = [await register(other, name) for name in ("ada", "bob", "carol")]
    async with AsyncExitStack() as stack:
        on_ada = await stack.enter_async_context(Talker(killed, ada))
        on_bob = await stack.enter_async_context(Talker(other, bob))
        on_carol = await stack.enter_async_context(Talker(other, carol))
        await on_ada.say("hello", receiverId=bob.id)
        await on_carol.say("hello", receiverId=bob.id)
        await on_bob.event("message:receive", senderId=carol.id)

        started = time.monotonic()
        killed.kill()
        own_redis.kill()
        own_redis.start()
        await on_bob.event("user:status", userId=ada.id, status="offline", patience=TTL_SECONDS)
        took = time.monotonic() - started

        print(f"\nAda was shown as gone {took:.1f} s after the kill")  # noqa: T201
        async with httpx.AsyncClient(base_url=other.url, headers=bob.headers) as client:
            shown = [(await client.get(f"/user/{one.id}")).json()["status"] for one in (ada, carol)]
        await asyncio.sleep(1)
        assert shown == ["offline", "online"]
        told = [frame["data"] for frame in on_bob.inbox if frame.get("event") == "user:status"]
        # What holds may be said again after a loss.
        assert {one["status"] for one in told if one["userId"] == carol.id} <= {"online"}
