"""The benchmark's entry: `python -m bench.run`, or `make bench`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import load, machine, traffic
from bench.setup import install
from bench.stacks import VARIANTS


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares Parley with its peers on this machine.")
    parser.add_argument("--quick", action="store_true", help="one round, short, printed only: for a look while working")
    parser.add_argument(
        "--only", default="", help="variants or their beginnings, comma-separated: " + ", ".join(VARIANTS)
    )
    return parser.parse_args()


def chosen(only: str) -> list[str]:
    prefixes = tuple(filter(None, only.split(","))) or ("",)
    return [name for name in VARIANTS if name.startswith(prefixes)]


def quick(names: list[str], directory: Path) -> None:
    print(
        f"{'variant':16} {'sockets':>7} {'in flight':>9} {'msg/s':>8}  ack p50/p99 ms  delivery p50/p99  cpu/1000  server redis  load"
    )
    for name in names:
        home = directory / name
        home.mkdir()
        stack = VARIANTS[name](home)
        people = stack.populate(1000)
        with stack:
            for sockets, in_flight in ((100, 1), (100, 4), (1000, 1)):
                try:
                    r = traffic.measure(stack, people.first(sockets), in_flight=in_flight, warmup=1, seconds=4)
                except load.LoadFailedError as error:
                    print(f"{name:16} {sockets:7} {in_flight:9} failed: {error}")
                    continue
                print(
                    f"{name:16} {sockets:7} {in_flight:9} {r['perSecond']:8.0f}  {r['ack']['p50']:6.1f} {r['ack']['p99']:6.1f}  "
                    f"{r['delivery']['p50']:8.1f} {r['delivery']['p99']:6.1f}  {r['cpuPer1000']:8.3f}  "
                    f"{r['serverCpu']['server']:5.0%} {r['serverCpu'].get('redis', 0):5.0%} {r['loadCpu']:5.0%}",
                    flush=True,
                )


def main() -> int:
    options = arguments()
    names = chosen(options.only)
    install(names)
    machine.prepare()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        quick(names, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
