"""Watches what is asked of the database: SQL as Django executes it, MongoDB's commands as the driver sends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection
from pymongo import monitoring


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of SQL with its parameters."""

    sql: str
    parameters: Any


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An aggregation of one collection."""

    collection: str
    stages: list[dict[str, Any]]


class _Listener(monitoring.CommandListener):
    """Notes the aggregations: the backend reads in no other way."""

    def __init__(self) -> None:
        self.noted: list[Pipeline] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.noted is not None and event.command_name == "aggregate":
            self.noted.append(Pipeline(event.command["aggregate"], list(event.command["pipeline"])))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Have no need of it."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Have no need of it."""


_listener = _Listener()
monitoring.register(_listener)  # for clients that are made from now on: `tests/conftest.py` comes before all of them


@contextmanager
def watched() -> Iterator[list[Any]]:
    """Give a list that fills with the `Statement`s or `Pipeline`s that read something."""
    found: list[Any] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            found.append(Statement(sql, parameters))
        return execute(sql, parameters, many, context)

    if connection.vendor == "mongodb":
        _listener.noted = found
        try:
            yield found
        finally:
            _listener.noted = None
    else:
        with connection.execute_wrapper(note):
            yield found
