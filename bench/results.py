"""Keeps what was measured, and draws medians and spreads from it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float


@dataclass
class Results:
    """All records of a run, each with `scenario`, `variant` and what else names it; failures have `failed`."""

    records: list[Record] = field(default_factory=list)
    facts: Record = field(default_factory=dict)

    def add(self, scenario: str, variant: str, record: Record, **names: Any) -> None:
        self.records.append({"scenario": scenario, "variant": variant, **names, **record})

    def find(self, scenario: str, variant: str, **names: Any) -> list[Record]:
        wanted = {"scenario": scenario, "variant": variant, **names}
        return [one for one in self.records if wanted.items() <= one.items() and "failed" not in one]

    def spread(self, value: Callable[[Record], float], scenario: str, variant: str, **names: Any) -> Spread | None:
        """Return None when there is no such record."""
        values = [value(one) for one in self.find(scenario, variant, **names)]
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def without(self, measured: Callable[[Record], bool]) -> Results:
        """Return a copy that lacks these records."""
        kept = [one for one in self.records if not measured(one)]
        return Results(records=kept, facts=dict(self.facts))

    def failures(self) -> Iterator[Record]:
        return (one for one in self.records if "failed" in one)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"facts": self.facts, "records": self.records}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        return cls(**json.loads(path.read_text()))
