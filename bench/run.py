"""The benchmark's entry: `python -m bench.run`, or `make bench`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import growth, machine, marks, plots, report, report_stores, scenarios, versions
from bench.console import Console
from bench.plan import FULL, QUICK, Plan
from bench.results import Record, Results
from bench.setup import install
from bench.stacks import SERVERS, STORES, VARIANTS
from bench.stacks.base import Stack
from bench.stacks.databases import MongoDB
from bench.stacks.parley import Parley

HOME = Path(__file__).parent
RESULTS = HOME / "results.json"
PARTS: dict[str, Callable[[Record], bool]] = {
    "rates": lambda one: one["scenario"] == "rate",
    "servers": lambda one: one["variant"] in SERVERS,
    "stores": lambda one: one["scenario"] in report_stores.SCENARIOS,
}
"""What can be measured on its own, and which records that replaces."""
UNFINISHED = HOME / "unfinished.json"
"""What a run has measured so far; the results of the last one stay as they are until it has come to its end."""


class Run:
    """One run: starts each stack afresh for each measurement of each round, and collects the records."""

    def __init__(self, plan: Plan, results: Results, directory: Path, keep: Path | None) -> None:
        """`results` get what is measured; `keep` is the file that holds them after each measurement."""
        self.plan = plan
        self.names: list[str] = []
        self.results = results
        self._keep = keep
        self._directory = directory
        self._started = 0
        self._console = Console()

    def everything(self, names: list[str]) -> None:
        """Compare these variants in all that the plan has."""
        self.names = names
        for number in range(self.plan.rounds):
            for name in self.names:
                self._closed_loop(name, number)
        if self.plan.extras:
            self.rates(self.names)
            for number in range(self.plan.rounds):
                for name in self._among("parley-full", "express-full"):
                    self._group(name, number)
            self.servers()
            for name in self._among("parley-full", "express-full"):
                self._idle(name)
            for name in self._among("parley-full"):
                self._pages(name)
                self._storm(name)

    def servers(self) -> None:
        """Let other ASGI servers serve the same application."""
        for number in range(self.plan.rounds):
            for name in SERVERS:
                self._closed_loop(name, number)

    def stores(self, names: list[str]) -> None:
        """Measure Parley on its stores: the closed loop, and the cost against size."""
        plan = self.plan
        loop = replace(plan, loads=plan.store_loads, people=plan.store_people)
        for number in range(plan.rounds):
            for name in names:
                self._closed_loop(name, number, plan=loop, scenario=report_stores.SCENARIO)
        for name in names:
            self._sizes(name)

    def _sizes(self, name: str) -> None:
        plan = self.plan
        missed, seconds = plan.missed_on(name), plan.size_seconds
        with self._stack(name) as stack:
            assert isinstance(stack, Parley)
            for size in plan.sizes_on(name):
                print(f"\n{name} grows to {size:,} messages", flush=True)
                people = stack.grow(size, chats=plan.short_chats, away=missed)
                with stack:
                    for work in (
                        partial(
                            scenarios.requests_at, size=size, warmup=5, rounds=plan.request_rounds, seconds=seconds
                        ),
                        partial(scenarios.resync, missed=missed, rounds=plan.resync_rounds, seconds=seconds),
                        partial(scenarios.batches, count=plan.batches),
                    ):
                        self._measure(growth.SCENARIO, name, partial(work, stack, people), size=size, missed=missed)

    def _among(self, *names: str) -> list[str]:
        return [name for name in names if name in self.names]

    @contextmanager
    def _stack(self, name: str) -> Iterator[Stack]:
        """Make a stack in a directory of its own; it does not run yet."""
        self._started += 1
        home = self._directory / f"{self._started:03}-{name}"
        home.mkdir()
        stack = {**VARIANTS, **SERVERS, **STORES}[name](home)
        try:
            yield stack
        finally:
            stack.discard()

    def _measure(self, scenario: str, name: str, work: Callable[[], Record], **names: Any) -> None:
        """Run one measurement; a failure is a record too and ends nothing else."""
        try:
            record = work()
        except Exception as error:  # noqa: BLE001  whatever it was, it belongs into the report
            traceback.print_exc()
            record = {"failed": f"{type(error).__name__}: {error}"[:2000]}
        self.results.add(scenario, name, record, **names)
        self._console.show(self.results.records[-1])
        if self._keep:
            self.results.save(self._keep)

    def _closed_loop(self, name: str, number: int, *, plan: Plan | None = None, scenario: str = "closed loop") -> None:
        plan = plan or self.plan
        with self._stack(name) as stack:
            people = stack.populate(plan.people)
            with stack:
                for sockets, in_flight in plan.loads:
                    self._measure(
                        scenario,
                        name,
                        lambda count=sockets, each=in_flight: scenarios.traffic(
                            stack, people.first(count), in_flight=each, warmup=plan.warmup, seconds=plan.seconds
                        ),
                        sockets=sockets,
                        inFlight=in_flight,
                        round=number,
                    )

    def rates(self, names: list[str]) -> None:
        """Let both work at half of what (a) can at most, with the same durability."""
        self.names = names
        for durability in ("full", "normal"):
            top = marks.top_speed(self.results, f"express-{durability}")
            if top is None:
                continue
            rate = round(top.median / 2)
            for number in range(self.plan.rounds):
                for name in self._among(f"parley-{durability}", f"express-{durability}"):
                    self._at_rate(name, rate, number)

    def _at_rate(self, name: str, rate: int, number: int) -> None:
        plan = self.plan
        with self._stack(name) as stack:
            people = stack.populate(plan.rate_sockets)
            with stack:
                self._measure(
                    "rate",
                    name,
                    lambda: scenarios.traffic(stack, people, rate=rate, warmup=plan.warmup, seconds=plan.seconds),
                    rate=rate,
                    round=number,
                )

    def _group(self, name: str, number: int) -> None:
        plan = self.plan
        with self._stack(name) as stack:
            people = stack.populate(plan.group, group=True)
            with stack:
                for each in plan.group_in_flight:
                    self._measure(
                        "fan-out",
                        name,
                        lambda in_flight=each: scenarios.fan_out(
                            stack, people, in_flight=in_flight, warmup=plan.warmup, seconds=plan.seconds
                        ),
                        inFlight=each,
                        round=number,
                    )

    def _idle(self, name: str) -> None:
        plan = self.plan
        with self._stack(name) as stack:
            people = stack.populate(plan.idle_sockets + plan.idle_warm)
            with stack:
                self._measure(
                    "idle",
                    name,
                    lambda: scenarios.idle(stack, people, warm=plan.idle_warm, settle=2, seconds=plan.idle_seconds),
                )

    def _pages(self, name: str) -> None:
        plan = self.plan
        with self._stack(name) as stack:
            people = stack.populate(4, fill=[plan.large_chat, plan.small_chat])
            with stack:
                self._measure(
                    "pages",
                    name,
                    lambda: scenarios.pages(stack, people, large=0, small=2, warmup=20, rounds=plan.page_rounds),
                )

    def _storm(self, name: str) -> None:
        plan = self.plan
        with self._stack(name) as stack:
            people = stack.populate(plan.storm_clients, messages=plan.storm_missed)
            with stack:
                self._measure("storm", name, lambda: scenarios.storm(stack, people, missed=plan.storm_missed, away=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares Parley with its peers on this machine.")
    parser.add_argument("--quick", action="store_true", help="one short round, printed only: for a look while working")
    parser.add_argument(
        "--only", default="", help=f"variants or how their names begin, comma-separated: {', '.join(VARIANTS | STORES)}"
    )
    parser.add_argument("--rounds", type=int, help="how often each variant takes its turn")
    parser.add_argument("--part", choices=PARTS, help="measure this alone; the rest of the report stays as it is")
    parser.add_argument("--report", action="store_true", help="write the report of the last run again, and no more")
    return parser.parse_args()


def chosen(only: str, among: Iterable[str]) -> list[str]:
    prefixes = tuple(filter(None, only.split(","))) or ("",)
    return [name for name in among if name.startswith(prefixes)]


def write(results: Results) -> None:
    plots.draw(results, HOME)
    (HOME / "report.md").write_text(report.text(results))
    print(f"\nwritten: {HOME / 'report.md'}")


def facts(plan: Plan, home: Path) -> dict[str, Any]:
    """Return the machine, as it is now, and what this run does."""
    return {**machine.facts(home), "rounds": plan.rounds, "seconds": plan.seconds}


def store_facts(plan: Plan, home: Path) -> dict[str, Any]:
    """Return what a reader has to know about the stores' part of the report."""
    return {
        **facts(plan, home),
        "versions": versions.of_stores(),
        "realMongodb": MongoDB.named,
        "shortChats": plan.short_chats,
    }


def measure(run: Run, options: argparse.Namespace, home: Path) -> None:
    """Measure what was asked for, into `run.results`."""
    names = chosen(options.only, VARIANTS)
    if options.part is None:
        missing = install(names)
        run.results.facts = {**facts(run.plan, home), "versions": versions.all_of_them(), "missing": missing}
        run.everything([name for name in names if name not in missing])
    elif options.part == "rates":
        run.rates(names)
    elif options.part == "servers":
        run.servers()
    if options.part == "stores" or (options.part is None and run.plan.stores):
        run.results.facts["stores"] = store_facts(run.plan, home)
        run.stores(chosen(options.only, STORES))


def main() -> int:
    options = arguments()
    if options.report:
        write(Results.load(RESULTS))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill stops every child as Ctrl-C does
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = plan.with_rounds(options.rounds)
    machine.prepare()
    before = Results()
    if options.part and not options.quick:
        before = Results.load(RESULTS).without(PARTS[options.part])
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        run = Run(plan, before, Path(directory), None if options.quick else UNFINISHED)
        try:
            measure(run, options, Path(directory))
        except KeyboardInterrupt:
            print("\nstopped")
            return 130
        if not options.quick:
            UNFINISHED.replace(RESULTS)
            write(run.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
