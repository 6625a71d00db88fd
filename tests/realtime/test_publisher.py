"""Tests of the way from a service's thread to the sockets."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatproject.ids import uuid7
from messaging.events import ChatRemoved
from realtime.parcels import Parcel, pack
from realtime.publisher import collected, publisher_to

EVENT = ChatRemoved(recipients=(uuid7(),), chat_id=uuid7(), rev=1)


def test_events_are_packed_and_handed_on() -> None:
    """In one call for one publish."""
    delivered: list[Sequence[Parcel]] = []

    publisher_to(delivered.append)([EVENT, EVENT])

    assert delivered == [[pack(EVENT), pack(EVENT)]]


def test_a_collecting_thread_keeps_its_own() -> None:
    """Another thread's events go their way meanwhile."""
    delivered: list[Sequence[Parcel]] = []
    publish = publisher_to(delivered.append)

    with collected() as kept, ThreadPoolExecutor(1) as other:
        publish([EVENT])
        other.submit(publish, [EVENT, EVENT]).result()

    assert kept == [pack(EVENT)]
    assert delivered == [[pack(EVENT), pack(EVENT)]]


def test_collecting_ends_with_an_error_too() -> None:
    """What the thread publishes afterwards is not swallowed."""
    delivered: list[Sequence[Parcel]] = []

    with pytest.raises(ZeroDivisionError), collected():
        raise ZeroDivisionError
    publisher_to(delivered.append)([EVENT])

    assert len(delivered) == 1
