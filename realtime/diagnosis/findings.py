"""What a check finds, and how checks are run: each on its own and bounded in time, so that one part cannot hide
another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from realtime.health import in_thread

SECONDS = 10.0
"""How long a check may take."""
LONGEST_DETAIL = 200

_MONGODB_REST = re.compile(r", full error: | \(configured timeouts: |, Timeout: ")
"""Where MongoDB's driver goes on with the whole answer of the server, or with all that it knows of the servers."""
_CREDENTIALS = re.compile(r"//[^/\s]*@")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report: which part, how it is, and what to do about it (empty when nothing)."""

    part: str
    level: Level
    message: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return `{part, level, message, remedy}`."""
        return {name: str(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Check:
    """A part and how to look at it; it is passed over when the part that it needs has failed."""

    part: str
    look: Callable[[], Iterable[Finding]]
    needs: str = ""


def ok(part: str, message: str) -> Finding:
    """Report that a part is as it should be."""
    return Finding(part=part, level=Level.OK, message=message)


def warn(part: str, message: str, remedy: str) -> Finding:
    """Report something that will do, but not well."""
    return Finding(part=part, level=Level.WARN, message=message, remedy=remedy)


def fail(part: str, message: str, remedy: str) -> Finding:
    """Report something that keeps Parley from its work or its promises."""
    return Finding(part=part, level=Level.FAIL, message=message, remedy=remedy)


def examine(checks: Iterable[Check], *, seconds: float = SECONDS) -> Iterator[Finding]:
    """Run the checks, in their order, and yield what they find: one line for each problem, none for what follows."""
    failed: set[str] = set()
    for check in checks:
        if check.needs in failed:
            failed.add(check.part)
            continue
        for finding in _findings(check, seconds):
            if finding.level is Level.FAIL:
                failed.add(check.part)
            yield finding


def _findings(check: Check, seconds: float) -> list[Finding]:
    """Return what a check finds; one that breaks or hangs is a finding itself."""
    try:
        return in_thread(lambda: list(check.look())).result(timeout=seconds)
    except TimeoutError:
        remedy = "see whether it runs, and whether host, port and network are right"
        return [fail(check.part, f"no answer within {seconds:g} s", remedy)]
    except Exception as error:  # noqa: BLE001  a check that breaks must not hide the others
        message = f"{type(error).__name__}: {first_line(error)}"
        return [fail(check.part, message, "see whether the other lines tell more")]


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level of all."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, short and without credentials."""
    text = said(error).strip() or type(error).__name__
    text = _MONGODB_REST.split(text)[0]
    return _CREDENTIALS.sub("//", text.splitlines()[0])[:LONGEST_DETAIL]


def said(error: BaseException) -> str:
    """Return an error's whole text; MongoDB's backend raises errors without one, from those of the driver."""
    return str(error) or str(error.__cause__ or "")


def place(url: str) -> str:
    """Return the host, port and path of a URL, never its credentials."""
    return urlsplit(url).netloc.rpartition("@")[2] + urlsplit(url).path
