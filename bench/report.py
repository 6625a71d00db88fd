"""Writes bench/report.md from what was measured."""

from __future__ import annotations

from collections.abc import Iterator

from bench import report_stores
from bench.marks import all_marks, cost_ratios, loads, speed_ratios
from bench.results import Results
from bench.stacks import SERVERS, VARIANTS
from bench.tables import COLUMNS, PICTURES, label, row, spread, table

INTRODUCTION = """\
# Benchmark

Written by `make bench`; do not edit. [README.md](README.md) says how to run it and what the parts are.

All variants do the same work for each message: find out whether its sender is in the chat, encrypt it (AES-256-GCM),
insert it, ack it to the sender, deliver it to the other person. A message counts once it was both acked and delivered.
Contents have 100 characters, sockets are authenticated, people are in pairs and everybody writes. The whole server
side (server, Redis, database) is pinned to one core, the load generator to the other. The variants take turns
(rounds: {rounds}, each of {seconds:g} s after a warm-up and with a fresh database). Figures are medians of the rounds,
with the lowest and the highest in brackets. A run in which a message was lost, doubled, refused or misdelivered is a
failure, not a figure.
"""

LIMITS = """\
What limits these figures, by profile, and what more would need:
[docs/decisions/0012-hot-path.md](../docs/decisions/0012-hot-path.md).
"""

QUIET_LOAD = 0.5
DISTURBED = """\
**Other programs were at work on this machine before the run, and may have been during it. Figures of single runs are
too low then and ratios uncertain; CPU time for a message suffers least.**
"""

DURABILITY = """\
**FULL**: an acked message survives a power cut (SQLite, WAL, `synchronous=FULL`). **NORMAL**: it survives the end of
the process alone. Prosody does not encrypt, stores each message twice (an archive for each of the two people), and
acks by XEP-0198 once it has handled a stanza. Its FULL is the archive in SQLite with a rollback journal, as it is
shipped; its NORMAL is the archive in files, which it does not synchronise.

Peer (a) uses `ioredis`. The client `redis` put off its publishing for as long as the event loop was busy: of 21,000
events of a run 2,100 had reached Redis when the run was over, so that it did not do the same work.
"""


def text(results: Results) -> str:
    """Return the whole report."""
    sections = (
        INTRODUCTION.format(**results.facts),
        DISTURBED if results.facts["load"] > QUIET_LOAD else "",
        _marks(results),
        _closed_loop(results),
        DURABILITY,
        _ratios(results),
        _rates(results),
        _others(results),
        _servers(results),
        report_stores.three_stores(results),
        report_stores.sizes(results),
        _failures(results),
        _machine(results),
    )
    return "\n".join(section for section in sections if section)


def _marks(results: Results) -> str:
    rows = [(one.what, one.wanted, one.measured, one.verdict) for one in all_marks(results)]
    return "## What must be reached\n\n" + table(("", "wanted", "measured", ""), rows) + f"\n{LIMITS}"


def _closed_loop(results: Results) -> str:
    parts = [
        "## Closed loop\n",
        f"![Messages per second]({PICTURES['speed']})\n",
        f"![Latency]({PICTURES['latency']})\n",
    ]
    for sockets, in_flight in loads(results):
        rows = [row(results, "closed loop", name, sockets=sockets, inFlight=in_flight) for name in VARIANTS]
        parts += [f"### {sockets:,} sockets, {in_flight} in flight each\n", table(COLUMNS, filter(None, rows))]
    return "\n".join(parts)


PAIRS = (
    ("parley-full", "express-full"),
    ("parley-normal", "express-normal"),
    ("parley-full", "express-normal"),
    ("parley-full", "channels-full"),
    ("parley-normal", "channels-normal"),
    ("parley-full", "prosody-full"),
    ("parley-normal", "prosody-normal"),
)


def _ratios(results: Results) -> str:
    parts = []
    for title, ratios in (
        ("How many times as fast (medians)", speed_ratios),
        ("How many times as little CPU time a message takes; waiting for the disk is not in it", cost_ratios),
    ):
        found = {pair: ratios(results, *pair) for pair in PAIRS}
        rows = [
            [f"{label(ours)} : {label(theirs)}", *(_cell(by_load.get(one)) for one in loads(results))]
            for (ours, theirs), by_load in found.items()
            if by_load
        ]
        head = [title, *(f"{sockets:,} x {in_flight}" for sockets, in_flight in loads(results))]
        parts += [table(head, rows)] if rows else []
    return "\n".join(["### Ratios\n", *parts]) if parts else ""


def _cell(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _rates(results: Results) -> str:
    parts = []
    for durability in ("full", "normal"):
        names = (f"parley-{durability}", f"express-{durability}")
        rows = [found for name in names if (found := row(results, "rate", name))]
        rates = {one["rate"] for name in names for one in results.find("rate", name)}
        if rows:
            parts.append(f"{durability.upper()}, {min(rates):,} messages per second over 100 sockets:\n")
            parts.append(table(COLUMNS, rows))
    if not parts:
        return ""
    how = "An open loop: messages are due at a fixed rate, and latency counts from when a message was due.\n"
    return "\n".join(["## At half of (a)'s top speed\n", how, *parts])


def _others(results: Results) -> str:
    parts = list(_other_parts(results))
    return "\n".join(["## Fan-out, idle sockets, REST, storm\n", *parts]) if parts else ""


def _other_parts(results: Results) -> Iterator[str]:
    for name in VARIANTS:
        for each in sorted({one["inFlight"] for one in results.find("fan-out", name)}):
            found = results.spread(lambda one: one["deliveriesPerSecond"], "fan-out", name, inFlight=each)
            took = results.spread(lambda one: one["complete"]["p50"], "fan-out", name, inFlight=each)
            load = results.spread(lambda one: one["loadCpu"], "fan-out", name, inFlight=each)
            yield (
                f"- fan-out, {label(name)}, {each} under way: {spread(found)} deliveries per second; the last of "
                f"1,000 members has a message after {took.median:.0f} ms; load's core in use {load.median:.0%}"
            )
    for name in VARIANTS:
        for one in results.find("idle", name):
            yield (
                f"- idle, {label(name)}: {one['kibPerSocket']:.1f} KiB a socket with {one['sockets']:,} sockets "
                f"(Redis {one['redisKibPerSocket']:.1f} KiB), {one['serverKib'] / 1024:.0f} MiB in all"
            )
    for one in results.find("pages", "parley-full"):
        times = ", ".join(f"{name} {took['p50']:.2f} / {took['p99']:.2f}" for name, took in one["latencies"].items())
        yield f"- REST, p50 / p99 ms (large: 1,000,000 messages, small: 1,000): {times}"
    for one in results.find("storm", "parley-full"):
        resumed = one["resumed"]
        yield (
            f"- storm: {resumed['count']:,} of {one['clients']:,} clients resumed, with {one['missed']:,} of "
            f"{one['expected']:,} missed messages, in {one['seconds']:.1f} s "
            f"(p50 {(resumed['p50'] or 0) / 1000:.1f} s); errors: {one['errors'] or 'none'}"
        )
    yield ""


def _servers(results: Results) -> str:
    parts = []
    for sockets, in_flight in loads(results):
        names = ("parley-full", *SERVERS)
        rows = [row(results, "closed loop", name, sockets=sockets, inFlight=in_flight) for name in names]
        if any(rows[1:]):
            parts += [f"{sockets:,} sockets, {in_flight} in flight each:\n", table(COLUMNS, filter(None, rows))]
    if not parts:
        return ""
    how = "The same application on uvicorn (uvloop, httptools) and granian (uvloop); the first row is Daphne.\n"
    return "\n".join(["## Other ASGI servers\n", how, *parts])


def _failures(results: Results) -> str:
    lines = [f"- {one['scenario']}, {label(one['variant'])}: {one['failed']}" for one in results.failures()]
    lines += [f"- {label(name)} could not run: {why}" for name, why in results.facts["missing"].items()]
    return "\n".join(["## What failed\n", *lines, ""]) if lines else ""


def _machine(results: Results) -> str:
    facts = results.facts
    rows = [
        ("CPU", f"{facts['cpu']}, {facts['cores']} cores"),
        ("memory", f"{facts['memoryGib']} GiB"),
        ("kernel", facts["kernel"]),
        ("fdatasync of 4 KiB", f"p50 {facts['fsyncP50']:.2f} ms, p99 {facts['fsyncP99']:.2f} ms"),
        ("time that the host took away, since boot", f"{facts['stealPercent']} %"),
        ("load average of the 15 minutes before the run", f"{facts['load']:.1f}"),
        *facts["versions"].items(),
    ]
    return "## Machine\n\n" + table(("", ""), rows)
