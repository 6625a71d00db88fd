"""Tells the other processes once a second, through Redis, what was counted here towards limits, and learns their part.

Nobody waits for it: a call is counted in memory. With Redis away each process counts for itself, and tells it later.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import structlog

from chatproject import redis_clients
from chatproject.limits import RETRY_SECONDS
from chatproject.redis_keys import Group, Keys
from chatproject.redis_url import RedisServer
from chatproject.tally import Share, Tally

log = structlog.get_logger("parley.limits")

EXCHANGE_SECONDS = 1.0
"""How often: so long a process may go on without knowing what the others have counted."""
SPARE_SECONDS = 5
"""How long a count outlives its window: the processes' clocks differ."""

_ADD = """
local totals = {}
for place, key in ipairs(KEYS) do
    totals[place] = redis.call('INCRBY', key, ARGV[2 * place - 1])
    redis.call('EXPIRE', key, ARGV[2 * place])
end
return totals
"""


class Exchange:
    """This process's part in counting together."""

    def __init__(self, tally: Tally, servers: Sequence[RedisServer]) -> None:
        """`servers` come in the same order in every process."""
        self._tally = tally
        self._servers = [redis_clients.async_client(server) for server in servers]
        self._add = [server.register_script(_ADD) for server in self._servers]
        self._keys = Keys("limit", servers)
        self._away_until = 0.0

    async def run(self) -> None:
        """Exchange once, unless Redis was away a moment ago."""
        if time.monotonic() < self._away_until:
            return
        shares = self._tally.take()
        try:
            await redis_clients.learn_nodes(self._servers)
        except redis_clients.AWAY as error:
            self._tally.give_back(shares)
            self._note_away(error)
            return
        outcomes = await asyncio.gather(*(self._exchange(group) for group in self._keys.group(shares, _subject)))
        if failures := [error for error in outcomes if error is not None]:
            self._note_away(failures[0])

    def _note_away(self, error: BaseException) -> None:
        self._away_until = time.monotonic() + RETRY_SECONDS
        log.warning("limits.unavailable", error=type(error).__name__)

    async def _exchange(self, group: Group[Share]) -> BaseException | None:
        """Add a group's counts to those of the others; return what went wrong."""
        now = time.time()
        arguments: list[int] = []
        for share in group.items:
            arguments += (share.calls, max(1, math.ceil(share.ends - now)) + SPARE_SECONDS)
        try:
            totals = await self._add[group.server](keys=group.keys, args=arguments)
        except redis_clients.AWAY as error:
            self._tally.give_back(group.items)
            return error
        except BaseException:
            self._tally.give_back(group.items)
            raise
        self._tally.learn(dict(zip(group.items, map(int, totals), strict=True)))
        return None

    async def close(self) -> None:
        """Close the connections."""
        for server in self._servers:
            await server.aclose()


def _subject(share: Share) -> bytes:
    return f"{share.name}|{share.ends}".encode()
