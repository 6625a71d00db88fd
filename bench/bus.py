"""Measures what the line between processes costs for a message, alone: `python -m bench.bus --json bus.json`.

Real processes with the real bus, leases and Redis, without sockets and database, so that many fit a small machine: what
counts is processor time. Each process holds its share of the people and sends batches of messages, each for its writer,
who is here, and for anybody of all. What the generator itself needs is measured and taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from bench import machine
from tests.live.server import ROOT, make_daphne, make_redis

COUNTS = (2, 4, 8, 16)
BATCHES = (1, 8, 32)
ROUTINGS = ("nothing", "broadcast", "lookup", "chosen")
PHASES = [(size, routing) for size in BATCHES for routing in ROUTINGS]
PEOPLE_EACH = 500
TEXT = "x" * 480
SETTLE_SECONDS = 1.0

Row = dict[str, Any]


def phase_start(start: float, place: int, seconds: float) -> float:
    return start + place * (seconds + SETTLE_SECONDS) + SETTLE_SECONDS


# --- One of the processes ---------------------------------------------------------------------------------------------


async def serve(*, place: int, count: int, start: float, seconds: float, pause: float) -> list[dict[str, float]]:
    """Send and receive through all phases; return the processor time and the messages of each."""
    from chatproject.ids import uuid7
    from realtime import bus as bus_module
    from realtime.hub import Hub
    from realtime.leases import make_leases
    from realtime.parcels import Parcel

    people = [UUID(int=number) for number in range(count * PEOPLE_EACH)]
    mine = people[place::count]
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
    await leases.renew(mine, holder=process, ttl=600)
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


# --- All of them ------------------------------------------------------------------------------------------------------


def measure(count: int, *, seconds: float, pause: float) -> list[Row]:
    """Run so many processes and return a row for each size of batch and way of routing."""
    with tempfile.TemporaryDirectory(prefix="parley-bus-") as name, make_redis(Path(name)) as redis:
        redis.start()
        environment = make_daphne(Path(name), REDIS_URL=redis.url, PARLEY_LOG_LEVEL="WARNING").environment
        start = time.time() + 6 + count
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.bus", "--serve", json.dumps([place, count, start, seconds, pause])],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for place in range(count)
        ]
        redis_cpu = []
        for place in range(len(PHASES)):
            time.sleep(max(0, phase_start(start, place, seconds) - time.time()))
            before = machine.cpu_seconds(redis.pid)
            time.sleep(seconds)
            redis_cpu.append(machine.cpu_seconds(redis.pid) - before)
        answers = [json.loads(process.communicate()[0]) for process in processes]
    totals = [
        {key: sum(answer[place][key] for answer in answers) for key in ("cpu", "sent", "arrived")}
        for place in range(len(PHASES))
    ]
    rows = []
    for (size, routing), total, redis_used in zip(PHASES, totals, redis_cpu, strict=True):
        if routing == "nothing":
            idle, idle_redis = total["cpu"] / total["sent"], redis_used / total["sent"]
            continue
        rows.append(
            {
                "processes": count,
                "batch": size,
                "routing": routing,
                "microseconds": (total["cpu"] / total["sent"] - idle) * 1e6,
                "redisMicroseconds": (redis_used / total["sent"] - idle_redis) * 1e6,
                "arrived": total["arrived"] / total["sent"],
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures what the line between processes costs for a message.")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two batches of one process")
    parser.add_argument("--json", type=Path, help="where to keep the rows")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
        django.setup()
        place, count, start, seconds, pause = json.loads(arguments.serve)
        print(json.dumps(asyncio.run(serve(place=place, count=count, start=start, seconds=seconds, pause=pause))))
        return 0
    print("processes batch routing    us/message  of which redis  arrived/message")
    rows: list[Row] = []
    for count in COUNTS:
        for row in measure(count, seconds=arguments.seconds, pause=arguments.pause):
            rows.append(row)
            whole = row["microseconds"] + row["redisMicroseconds"]
            print(
                f"{count:9} {row['batch']:5} {row['routing']:10} {whole:10.1f} {row['redisMicroseconds']:15.1f} "
                f"{row['arrived']:16.2f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
