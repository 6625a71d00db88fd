"""The pages of docs/: their links lead somewhere, and their tables name what the code has."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from chatproject import limits, openapi
from chatproject.db import pool
from chatproject.errors import DomainError
from messaging import byte_ranges
from messaging.services import audit
from realtime import bus, database_threads, engine, lookout, resync, routing
from tests.live.server import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PACKAGES = ("accounts", "chatproject", "messaging", "realtime")
CODE = {path: path.read_text() for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)`")
FILES = {"py", "json", "yaml", "env", "md", "js", "toml"}
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")

assert all([byte_ranges, routing])  # imported, so that every error is known


def failures(kind: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    """Yield every expected failure there is."""
    for one in kind.__subclasses__():
        yield one
        yield from failures(one)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: object) -> None:
    """Each relative link names a file of the repository."""
    for target in LINK.findall(page.read_text()):  # type: ignore[attr-defined]
        assert (page.parent / target).exists(), target  # type: ignore[attr-defined]


def test_the_protocol_names_every_error_code() -> None:
    """The table of `docs/protocol.md` has each code beside its status; the administration's own is no part of it."""
    table = (ROOT / "docs" / "protocol.md").read_text().partition("| status | code |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    described = {
        (status, code)
        for row in rows
        for status in re.findall(r"\d{3}", row.split("|")[1])
        for code in re.findall(r"`(\w+)`", row)
    }
    private = {audit.ContentUnreadable, audit.ReadingNotAllowed}
    real = {one for one in failures() if one not in private and not one.__module__.startswith("tests")}

    assert {(str(one.status), one.code) for one in real} <= described
    known = {one.code for one in real} | {
        "method_not_allowed",
        "not_found",
        "permission_denied",
        "retryAfter",
        "fields",
    }
    assert {code for _, code in described} <= known
    assert openapi.NotAcceptable in real


def test_operations_name_every_variable() -> None:
    """`docs/operations.md` has a row for each variable that `chatproject/env.py` reads, and for no other."""
    code = (ROOT / "chatproject" / "env.py").read_text()
    read = set(re.findall(r'"((?:PARLEY_|DATABASE_|REDIS_)[A-Z_]+)"', code))
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## Environment\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \|", section, re.MULTILINE)

    assert set(rows) == read
    assert len(rows) == len(set(rows))


def test_operations_name_every_rate() -> None:
    """`docs/operations.md` gives the rate of each rule as the code has it."""
    page = (ROOT / "docs" / "operations.md").read_text()
    rates = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+/[smhd]) \|", page, re.MULTILINE))

    assert rates == {rule.name: rule.rate for rule in limits.Rule}


def _modules(name: str) -> Iterator[str]:
    """Yield the modules that a page may mean by the first part of a name: `realtime.engine` is `engine` for short."""
    for path in CODE:
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = parts[:-1] if parts[-1] == "__init__" else parts
        if "management" not in module and "migrations" not in module and module[-1] == name:
            yield ".".join(module)


def _leads_somewhere(start: str, rest: list[str]) -> bool:
    """Tell whether a module has what the other parts of a name say."""
    found: object = importlib.import_module(start)
    for place, part in enumerate(rest):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join([start, *rest[: place + 1]]))
            except ImportError:
                return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_are_those_of_the_code(page: Path) -> None:
    """What a page calls by a module's name is there: a name in that module, or a line of the log."""
    logged = {one for text in CODE.values() for one in re.findall(r'"([a-z_]+\.[a-z_]+)"', text)}
    for name in NAME.findall(page.read_text()):
        first, *rest = name.split(".")
        if rest[-1] in FILES or name in logged:
            continue
        modules = list(_modules(first))
        assert not modules or any(_leads_somewhere(one, rest) for one in modules), name


def test_operations_name_every_line_as_the_log_has_it() -> None:
    """Each line in the tables of `docs/operations.md` about the log is one that the code writes, or a library's."""
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Logs\n")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in NAME.findall(row)}
    code = "\n".join(CODE.values())

    assert len(named) > 20
    assert {name for name in named if f'"{name}"' not in code} <= {"engineio.server", "socketio.server"}


def test_pages_give_the_times_and_sizes_of_the_code() -> None:
    """Where they say how often, how long or how many."""
    heartbeat, ttl = engine.HEARTBEAT, settings.PARLEY_PRESENCE_TTL.total_seconds()
    look_back = heartbeat + lookout.SYNC_OVERLAP.total_seconds()
    own = 1 + database_threads.READERS
    connections = own + pool.SIZE
    said = {
        "scaling.md": [
            f"or the look every {heartbeat:.0f} s",
            f"renewing 10,000 leases every {heartbeat:.0f} s",
            f"checking 10,000 sessions every {engine.SESSION_CHECK:.0f} s",
            f"moved chats every {heartbeat:.0f} s, those of the last {look_back:.0f} s",
            f"probes: 100 processes, every {bus.PROBE_SECONDS:.0f} s",
            f"{1_000_000 / engine.SESSION_CHECK / 1000:.0f},000 sessions a second",
            f"up to {connections} for each process ({own} of the real-time side, {pool.SIZE} that",
            f"session mode or {100 * connections:,} connections",
            f"ends after {ttl:.0f} s",
        ],
        "operations.md": [
            f"at most {connections} connections",
            f"and {pool.SIZE} for REST requests",
            f"within {pool.TIMEOUT_SECONDS} s is answered `unavailable`",
            f"the look every {heartbeat:.0f} s",
            f"| {ttl:.0f} s, and up to {heartbeat:.0f} s until everybody is told |",
            f"| {resync.MISSED_LIMIT} and {resync.MISSED_CHARACTERS // 1024} KiB of text, then `sync:reset` |",
        ],
    }
    pages = {name: (ROOT / "docs" / name).read_text() for name in said}

    assert [(name, one) for name, phrases in said.items() for one in phrases if one not in pages[name]] == []
