"""Takes the events that services publish, in whatever thread they commit, to the event loop that owns the sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from chatproject.events import Event
from realtime.parcels import Parcel, pack

_thread = threading.local()


@contextmanager
def collected() -> Iterator[list[Parcel]]:
    """Keep what this thread publishes, for a caller that puts it into order with its acks."""
    parcels: list[Parcel] = []
    _thread.parcels = parcels
    try:
        yield parcels
    finally:
        _thread.parcels = None


def publisher_to(deliver: Callable[[Sequence[Parcel]], None]) -> Callable[[Sequence[Event]], None]:
    """Return the publisher that serialises events in the publishing thread and hands them to `deliver`."""

    def publish(events: Sequence[Event]) -> None:
        parcels = [pack(event) for event in events]
        collecting: list[Parcel] | None = getattr(_thread, "parcels", None)
        if collecting is None:
            deliver(parcels)
        else:
            collecting.extend(parcels)

    return publish
