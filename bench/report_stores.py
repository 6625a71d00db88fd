"""The report's sections on Parley's three stores: the closed loop on each, and what grows with the installation."""

from __future__ import annotations

from bench import growth
from bench.marks import cost_ratios, loads, speed_ratios
from bench.results import Results
from bench.stacks import STORES
from bench.tables import COLUMNS, PICTURES, row, store_label, table

SCENARIO = "stores"
SCENARIOS = (SCENARIO, growth.SCENARIO)
"""All that is measured of the stores."""
FIRST, *OTHERS = STORES

STORES_INTRODUCTION = """\
## The three stores

Parley in the closed loop as above, with the database's processes on the server's core as well (rounds: {rounds}, each
of {seconds:g} s, the stores take turns; load average of the 15 minutes before: {load:.1f}). An acked message survives a
power cut on each of them. PostgreSQL has the settings that it is shipped with. It shares the one core with Daphne and
Redis here; a database on a machine of its own leaves that core to them.
"""

TEST_SERVER = """\
**What speaks MongoDB's protocol here is no MongoDB**: it is `secantusd-py`, a server from a wheel, made for tests. Its
figures show that Parley runs on it, and say nothing about MongoDB's speed. `MONGODB_TEST_URL` names a real one.
"""

REAL_MONGODB = """\
MongoDB ran already and elsewhere: it was not pinned to the server's core, and its CPU time is not in the figures.
"""

SIZES_INTRODUCTION = """\
## Cost against size

One person has a direct chat with each of {others:,} others. One of these chats, the long one, has as many messages as
the column says; the {shortChats:,} others have a tenth of that together. The person has read all but the last message
of each and comes back after many messages in the long one. Requests are made one at a time, and nobody else is
there. Milliseconds, median / p95.

- The pages deep in the past begin at a tenth of the long chat.
- Resync by REST asks with `after=` for pages of 100 until all that was missed is there; the time is that of all.
- Resync by socket is what the web client does: it connects, sends the cursors of all chats, is answered with
  `sync:reset` (`too_far`, above 200) and loads the newest page of that chat again; the rest it loads as it is read.
- The batch is one transaction of `messaging.services.store`, half of it into the long chat.
"""


SMALLER = """\
The stand-in takes the longer for a page the longer the chat is. A million messages would take it hours, so its sizes
are smaller here and its rounds few.
"""


def three_stores(results: Results) -> str:
    """Return the closed loop on each store; nothing when it was not measured."""
    if not loads(results, SCENARIO):
        return ""
    facts = results.facts["stores"]
    parts = [STORES_INTRODUCTION.format(**facts), REAL_MONGODB if facts["realMongodb"] else TEST_SERVER]
    for sockets, in_flight in loads(results, SCENARIO):
        found = {name: row(results, SCENARIO, name, sockets=sockets, inFlight=in_flight) for name in STORES}
        rows = [(store_label(name), *one[1:]) for name, one in found.items() if one]
        parts += [f"{sockets:,} sockets, {in_flight} in flight each:\n", table(COLUMNS, rows)]
    return "\n".join([*parts, _ratios(results), _versions(results)])


def _ratios(results: Results) -> str:
    head = ["against SQLite, FULL (medians)", *(f"{one:,} x {each}" for one, each in loads(results, SCENARIO))]
    rows = []
    for name in OTHERS:
        speed = speed_ratios(results, name, FIRST, SCENARIO)
        cost = cost_ratios(results, FIRST, name, SCENARIO)
        for what, found in (("messages per second", speed), ("CPU time for a message", cost)):
            cells = [f"{found[one]:.2f}x" if one in found else "" for one in loads(results, SCENARIO)]
            rows.append([f"{store_label(name)}: {what}", *cells])
    return table(head, rows)


def _versions(results: Results) -> str:
    versions = results.facts["stores"]["versions"]
    return f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.\n"


def sizes(results: Results) -> str:
    """Return the cost of each operation at each size, on each store; nothing when it was not measured."""
    if not growth.sizes(results):
        return ""
    facts = results.facts["stores"]
    parts = [
        SIZES_INTRODUCTION.format(**facts, others=facts["shortChats"] + 1),
        f"![Cost against size]({PICTURES['sizes']})\n",
    ]
    for name in STORES:
        measured = growth.sizes(results, name)
        if measured:
            missed = max(one["missed"] for one in results.find(growth.SCENARIO, name))
            parts += [
                f"### {store_label(name)}\n",
                f"A client that comes back has missed {missed:,} messages.\n",
                _size_table(results, name, measured),
            ]
            if measured[-1] < growth.sizes(results)[-1]:
                parts.append(SMALLER)
    return "\n".join(parts)


def _size_table(results: Results, name: str, measured: list[int]) -> str:
    ratio = f"{measured[-1]:,} : {measured[0]:,}"
    rows = []
    for operation, what in growth.OPERATIONS.items():
        cells = [_cell(results, name, size, operation) for size in measured]
        grown = growth.growth(results, name, operation)
        rows.append([what, *cells, f"{grown:.2f}x" if grown else ""])
    return table(["", *(f"{size:,}" for size in measured), ratio], rows)


def _cell(results: Results, name: str, size: int, operation: str) -> str:
    middle, high = (growth.latency(results, name, size, operation, part) for part in ("p50", "p95"))
    return "" if middle is None or high is None else f"{middle:.1f} / {high:.1f}"
