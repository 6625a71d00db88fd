"""Tests of the port through which services announce what they have committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import pytest

from accounts.events import SessionEnded
from chatproject import db, events
from chatproject.events import Event, publish, set_publisher

EVENT = SessionEnded(recipients=(), session_id=UUID(int=1), reason="logout")


@pytest.fixture
def heard(transactional_db: None) -> Iterator[list[list[Event]]]:
    """Listen instead of the sockets."""
    batches: list[list[Event]] = []

    def listen(batch: Sequence[Event]) -> None:
        batches.append(list(batch))

    former = set_publisher(listen)
    yield batches
    set_publisher(former)


def test_events_wait_for_the_commit(heard: list[list[Event]]) -> None:
    """Then they come together as they were published."""
    with db.atomic():
        publish(EVENT, EVENT)
        publish(EVENT)
        assert heard == []

    assert heard == [[EVENT, EVENT], [EVENT]]


def test_what_was_undone_is_not_announced(heard: list[list[Event]]) -> None:
    """Clients never hear of what did not happen."""

    def change() -> None:
        with db.atomic():
            publish(EVENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()

    assert heard == []


def test_without_a_transaction_they_go_at_once(heard: list[list[Event]]) -> None:
    """And no events are no call."""
    publish(EVENT)
    publish()

    assert heard == [[EVENT]]


def test_a_publisher_that_fails_does_not_undo_the_write(heard: list[list[Event]]) -> None:
    """The caller's write has been committed: it is not told that it failed, and later events go on."""

    def fail(batch: Sequence[Event]) -> None:
        raise RuntimeError("the loop is closed")

    listening = set_publisher(fail)
    with db.atomic():
        publish(EVENT)
    set_publisher(listening)
    with db.atomic():
        publish(EVENT)

    assert heard == [[EVENT]]


def test_without_a_publisher_events_end_quietly(heard: list[list[Event]]) -> None:
    """As in a management command; the former one comes back as it was."""
    listening = set_publisher(None)
    publish(EVENT)

    assert heard == []
    assert set_publisher(listening) is events._nobody


def test_an_event_has_to_say_what_it_tells() -> None:
    """The base has no data of its own."""
    with pytest.raises(NotImplementedError):
        Event(recipients=()).data()
