"""The pages of docs/: their links lead somewhere, and their tables name what the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from chatproject import limits, openapi
from chatproject.errors import DomainError
from messaging import byte_ranges
from messaging.services import audit
from realtime import routing
from tests.live.server import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
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
