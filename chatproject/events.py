"""The port through which services announce what they have committed.

Services call `publish`; `realtime` gives the function that carries events to sockets (`set_publisher`). Without one, as
in a management command on the in-process layer, events end here: clients then learn from the chat's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from chatproject import db


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, addressed to people. `name` is the event's name on the socket."""

    name: ClassVar[str]
    recipients: tuple[UUID, ...]

    def data(self) -> dict[str, Any]:
        """Return the JSON-ready `data` of the frame."""
        raise NotImplementedError

    def encodable(self) -> Any:
        """Return the same data in the form that is encoded quickest."""
        return self.data()


Publisher = Callable[[Sequence[Event]], None]


def _nobody(events: Sequence[Event]) -> None:
    """Take events where no socket is served."""


_publisher: Publisher = _nobody


def set_publisher(publisher: Publisher | None) -> Publisher:
    """Install the function that carries events (None: nobody listens) and return the former one."""
    global _publisher  # noqa: PLW0603
    former = _publisher
    _publisher = publisher or _nobody
    return former


def publish(*events: Event) -> None:
    """Hand events over once the open transaction has committed; at once when none is open.

    A publisher that fails is logged: what was committed stays committed, and clients learn of it from the numbers.
    """
    if events:
        db.on_commit(lambda: _publisher(events), robust=True)
