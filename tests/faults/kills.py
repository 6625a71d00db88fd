"""Kills processes while a run goes on, and starts them again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

from tests.faults.cast import Cast
from tests.faults.devices import until


def _has_come_to(cast: Cast, sends: int) -> bool:
    return cast.ledger.acked_sends >= sends


async def kill_along(cast: Cast, victims: Sequence[str], *, sends: int) -> Counter[str]:
    """Kill each victim by SIGKILL in turn, spread evenly over so many acked sends; each starts again at once.

    The next one may be killed while the last one still starts. Returns once all of them run again.
    """
    starting: dict[str, asyncio.Task[None]] = {}
    killed: Counter[str] = Counter()
    for place, name in enumerate(victims, start=1):
        await until(partial(_has_come_to, cast, sends * place // (len(victims) + 1)), seconds=120, what="no progress")
        if name in starting:
            await starting[name]
        process = cast.fleet.process(name)
        await asyncio.to_thread(process.kill)
        killed[name] += 1
        cast.ledger.counts[f"kill -9 of {name}"] += 1
        starting[name] = asyncio.ensure_future(asyncio.to_thread(process.start))
    await asyncio.gather(*starting.values())
    return killed
