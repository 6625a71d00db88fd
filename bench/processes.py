"""Measures what a message costs on 1, 2 and 4 processes: `python -m bench.processes --json processes.json`.

People are spread over the processes at random, so that a pair shares a process as rarely as in a large installation.
Each runs with every batch told to all (`broadcast`), with a look-up for each batch (`lookup`), and as it is (`chosen`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import redis

from bench import machine, scenarios
from bench.stacks.base import People
from bench.stacks.parley import Parley
from tests.live.server import make_daphne

COUNTS = (1, 2, 4)
ROUTINGS = ("broadcast", "lookup", "chosen")
SOCKETS = 200
LOADS: dict[str, dict[str, float]] = {
    "100 msg/s": {"rate": 100, "in_flight": 1},
    "400 msg/s": {"rate": 400, "in_flight": 1},
    "as fast as it goes": {"rate": 0, "in_flight": 1},
}

Row = dict[str, Any]


class Processes(Parley):
    """Parley on several Daphne processes, one Redis and one SQLite file."""

    def __init__(self, directory: Path, *, count: int, routing: str) -> None:
        super().__init__(directory)
        self.servers = [self.server]
        for _ in range(count - 1):
            server = make_daphne(directory, REDIS_URL=self.redis.url, PARLEY_LOG_LEVEL="WARNING")
            self.servers.append(server)
            self.add(f"server {len(self.servers)}", server)
        for server in self.servers:
            server.command[-1] = "bench.routing_asgi:application"
            server.environment["BENCH_ROUTING"] = routing
        self._ports: list[int] = []

    def spread(self, people: People) -> None:
        """Give each person a process, the same at each run."""
        dice = random.Random(1)
        self._ports = [dice.choice(self.servers).port for _ in people.accounts]

    @property
    def address(self) -> dict[str, Any]:
        return {**super().address, "ports": self._ports}

    def redis_calls(self) -> dict[str, int]:
        """Return how often Redis was asked for what, so far."""
        with redis.Redis.from_url(self.redis.url) as client:
            found = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): values["calls"] for name, values in found.items()}


def measure(directory: Path, *, count: int, routing: str, seconds: float) -> list[Row]:
    stack = Processes(directory, count=count, routing=routing)
    people = stack.populate(SOCKETS)
    stack.spread(people)
    rows: list[Row] = []
    with stack:
        for name, load in LOADS.items():
            before = stack.redis_calls()
            result = scenarios.traffic(
                stack, people, in_flight=int(load["in_flight"]), rate=load["rate"], warmup=2, seconds=seconds
            )
            calls = stack.redis_calls()
            sent = result["counts"]["sent"]
            cpu = {
                role: used * result["seconds"] / result["messages"] * 1000 for role, used in result["serverCpu"].items()
            }
            rows.append(
                {
                    "processes": count,
                    "routing": routing,
                    "load": name,
                    "perSecond": result["perSecond"],
                    "cpuPer1000": result["cpuPer1000"],
                    "redisCpuPer1000": cpu["redis"],
                    "deliveryP50": result["delivery"]["p50"],
                    "deliveryP99": result["delivery"]["p99"],
                    "publishesPerMessage": (calls.get("publish", 0) - before.get("publish", 0)) / sent,
                    "lookupsPerMessage": (calls.get("evalsha", 0) - before.get("evalsha", 0)) / sent,
                }
            )
            print_row(rows[-1])
    return rows


def print_row(row: Row) -> None:
    print(
        f"{row['processes']:9} {row['routing']:10} {row['load']:18} {row['perSecond']:7.0f} {row['cpuPer1000']:9.3f} "
        f"{row['redisCpuPer1000']:9.3f} {row['deliveryP50']:7.1f} {row['deliveryP99']:7.1f} "
        f"{row['publishesPerMessage']:9.2f} {row['lookupsPerMessage']:8.2f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures what a message costs on several processes.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--json", type=Path, help="where to keep the rows")
    arguments = parser.parse_args()
    machine.prepare()
    print("processes routing    load                 msg/s  cpu/1000     redis  p50 ms  p99 ms publishes look-ups")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        for turn in range(arguments.rounds):
            for count in COUNTS:
                for routing in ROUTINGS:
                    home = Path(directory) / f"{turn}-{count}-{routing}"
                    home.mkdir()
                    rows += measure(home, count=count, routing=routing, seconds=arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
