"""One of the processes of `bench.bus`, run in a server's environment: `python -m bench.bus_process '{...}'`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup()

from django.conf import settings  # noqa: E402

from bench.bus import PEOPLE_EACH, PHASES, TEXT, phase_start  # noqa: E402
from chatproject.ids import uuid7  # noqa: E402
from realtime import bus as bus_module  # noqa: E402
from realtime.hub import Hub  # noqa: E402
from realtime.leases import make_leases  # noqa: E402
from realtime.parcels import Parcel  # noqa: E402

LEASE_SECONDS = 600


async def serve(*, place: int, count: int, start: float, seconds: float, pause: float) -> list[dict[str, float]]:
    """Send and receive through all phases; return the processor time and the messages of each."""
    people = [UUID(int=number) for number in range(count * PEOPLE_EACH)]
    mine = people[place::count]
    settings.PARLEY_PRESENCE_TTL = timedelta(seconds=LEASE_SECONDS)
    hub, leases, process = Hub(), make_leases(), uuid7().hex
    here = set(mine)
    arrived = 0

    def receive(parcels: Any) -> None:
        nonlocal arrived
        for parcel in parcels:
            hub.deliver(parcel)
            arrived += sum(one in here for one in parcel.recipients)

    bus = bus_module.Bus(
        process=process, leases=leases, receive=receive, recovered=lambda: None, is_here=here.__contains__
    )
    choose = bus_module.lookup_pays
    await leases.renew(mine, holder=process, ttl=LEASE_SECONDS)
    bus.start()
    dice = random.Random(place)
    found = []
    for number, (size, routing) in enumerate(PHASES):
        fixed = {"broadcast": False, "lookup": True}.get(routing)
        bus_module.lookup_pays = choose if fixed is None else lambda fixed=fixed, **_: fixed
        begin = phase_start(start, number, seconds)
        await asyncio.sleep(begin - time.time() + pause * place / count)
        arrived, sent, cpu = 0, 0, time.process_time()
        while time.time() < begin + seconds:
            batch = [Parcel(recipients=(dice.choice(mine), dice.choice(people)), text=TEXT) for _ in range(size)]
            sent += size
            if routing != "nothing":
                bus.send(batch)
            await asyncio.sleep(pause)
        found.append({"cpu": time.process_time() - cpu, "sent": sent, "arrived": arrived})
    await bus.stop()
    await leases.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(serve(**json.loads(sys.argv[1])))))
