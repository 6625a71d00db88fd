"""Names every event that the server says over a socket; `docs/asyncapi.yaml` describes the same ones."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from chatproject.events import Event


class Told(StrEnum):
    """What sockets are told by `realtime` itself, beside the events that services publish."""

    HELLO = "hello"
    SYNC = "sync"
    SYNC_DONE = "sync:done"
    SYNC_RESET = "sync:reset"
    SESSION_END = "session:end"
    RESTARTING = "restarting"
    ERROR = "error"


def published() -> Collection[type[Event]]:
    """Return each kind of event that is published under a name of its own."""
    found: dict[str, type[Event]] = {}
    waiting = [Event]
    while waiting:
        kind = waiting.pop(0)
        waiting.extend(kind.__subclasses__())
        if "name" in vars(kind):
            # A dataclass with slots is made twice; the second one, which counts, comes last.
            found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return found.values()


def server_events() -> frozenset[str]:
    """Return the names of all events that a client may get."""
    return frozenset(Told) | {kind.name for kind in published()}
