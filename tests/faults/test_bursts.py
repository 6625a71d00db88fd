"""Point by point, nothing is lost: bursts into one chat, many writers at once, and two devices of one person."""

from __future__ import annotations

import pytest

from tests.conftest import DaphneFactory
from tests.faults.cast import Cast
from tests.faults.fleet import fleet
from tests.faults.readers import Reader
from tests.faults.writers import Writer
from tests.live.server import Redis

pytestmark = pytest.mark.live

WRITERS = 8
EVENTS = 2_000


async def test_a_burst_into_one_chat(daphne: DaphneFactory, redis_server: Redis) -> None:
    """8 writers send 2,000 messages at once into one chat, over two processes: each device has all of them in order."""
    async with fleet(daphne, redis_server) as servers, Cast(servers) as cast:
        await cast.arrive(people=WRITERS, chats=1)
        writers = [cast.add(Writer, person) for person in range(WRITERS)]
        for person in (*range(WRITERS), 0):  # the first person has two devices that read
            cast.add(Reader, person)
        await cast.start()

        for writer in writers:
            writer.write(EVENTS // WRITERS, *cast.chat_ids)
        await cast.acked(seconds=60)

        await cast.conclude(f"{EVENTS:,} messages of {WRITERS} writers into one chat")
        assert cast.ledger.acked_sends == EVENTS
