"""Measures what the line between processes costs for a message, alone: `python -m bench.bus --json bus.json`.

Real processes with the real bus, leases and Redis, without sockets and database, so that many fit a small machine: what
counts is processor time. Each process holds its share of the people and sends batches of messages, each for its writer,
who is here, and for anybody of all. What the generator itself needs is measured and taken off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import machine
from tests.live.server import ROOT, make_daphne, make_redis

COUNTS = (2, 4, 8, 16)
BATCHES = (1, 8, 32)
ROUTINGS = ("nothing", "broadcast", "lookup", "chosen")
PHASES = [(size, routing) for size in BATCHES for routing in ROUTINGS]
PEOPLE_EACH = 500
TEXT = "x" * 480
SETTLE_SECONDS = 1.0
START_SECONDS = 10.0

Row = dict[str, Any]


def phase_start(start: float, place: int, seconds: float) -> float:
    return start + place * (seconds + SETTLE_SECONDS) + SETTLE_SECONDS


def measure(count: int, *, seconds: float, pause: float) -> list[Row]:
    """Run so many processes and return a row for each size of batch and way of routing."""
    with tempfile.TemporaryDirectory(prefix="parley-bus-") as name, make_redis(Path(name)) as redis:
        redis.start()
        environment = make_daphne(Path(name), REDIS_URL=redis.url, PARLEY_LOG_LEVEL="WARNING").environment
        start = time.time() + START_SECONDS * (1 + count / 4)
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bench.bus_process",
                    json.dumps({"place": place, "count": count, "start": start, "seconds": seconds, "pause": pause}),
                ],
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


def median(rows: list[Row]) -> Row:
    """Return one row with the medians of rows that were measured alike."""
    return {
        key: value if isinstance(value, str) else statistics.median(row[key] for row in rows)
        for key, value in rows[0].items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures what the line between processes costs for a message.")
    parser.add_argument("--processes", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two batches of one process")
    parser.add_argument("--json", type=Path, help="where to keep the medians")
    arguments = parser.parse_args()
    print("processes batch routing    us/message  of which redis  arrived/message")
    found: list[Row] = []
    for count in arguments.processes:
        rounds = [measure(count, seconds=arguments.seconds, pause=arguments.pause) for _ in range(arguments.rounds)]
        for rows in zip(*rounds, strict=True):
            row = median(list(rows))
            found.append(row)
            whole = row["microseconds"] + row["redisMicroseconds"]
            print(
                f"{count:9} {row['batch']:5} {row['routing']:10} {whole:10.1f} {row['redisMicroseconds']:15.1f} "
                f"{row['arrived']:16.2f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
