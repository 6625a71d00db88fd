"""Tests of the numbers by which a process notices what the channel layer dropped on its way from another one."""

from __future__ import annotations

import time

import pytest

from realtime import streams
from realtime.streams import EVERYBODY, Heard, Sent


@pytest.fixture
def heard() -> Heard:
    """What the process `me` has heard: of `one`, its first word to everybody."""
    heard = Heard(process="me")
    assert heard.note("one", 1, direct=False) == 0
    return heard


def test_each_stream_has_its_own_numbers() -> None:
    """One to everybody, one to each process."""
    sent = Sent()

    assert [sent.next(EVERYBODY), sent.next("a"), sent.next("a"), sent.next("b"), sent.next(EVERYBODY)] == [
        1,
        1,
        2,
        1,
        2,
    ]
    assert sent.last() == {"a": 2, "b": 1}


def test_nothing_is_missed_in_a_row(heard: Heard) -> None:
    """The two streams of one process do not disturb each other, nor do those of another process."""
    assert heard.note("one", 2, direct=False) == 0
    assert heard.note("one", 1, direct=True) == 0
    assert heard.note("two", 1, direct=True) == 0
    assert heard.note("one", 2, direct=True) == 0
    assert heard.note("one", 3, direct=False, last={"me": 2, "two": 7}) == 0


@pytest.mark.parametrize("direct", [False, True])
def test_a_gap_is_missed_messages(heard: Heard, direct: bool) -> None:
    """It is told once, with its size."""
    heard.note("one", 1, direct=True)

    assert heard.note("one", 5, direct=direct) == 3
    assert heard.note("one", 6, direct=direct) == 0


def test_a_probe_tells_of_a_last_message_that_was_lost(heard: Heard) -> None:
    """Without a further message to this process, and once only."""
    heard.note("one", 1, direct=True)

    assert heard.note("one", 2, direct=False, last={"me": 3}) == 2
    assert heard.note("one", 3, direct=False, last={"me": 3}) == 0
    assert heard.note("one", 4, direct=True) == 0


def test_a_message_that_a_probe_has_overtaken(heard: Heard) -> None:
    """On several Redis hosts it may come late: that is no second loss."""
    assert heard.note("one", 2, direct=False, last={"me": 1}) == 1

    assert heard.note("one", 1, direct=True) == 0
    assert heard.note("one", 2, direct=True) == 0


def test_a_process_that_was_there_before_is_heard_for_the_first_time() -> None:
    """What it said until then was missed; the first word of a new process is a beginning."""
    heard = Heard(process="me")

    assert heard.note("old", 40, direct=False) == 39
    assert heard.note("new", 1, direct=False) == 0


def test_a_stream_that_was_forgotten_and_begins_anew(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next probe tells that its numbers begin again; from then on losses are noticed as before."""
    sent = Sent()
    for _ in range(9):
        heard.note("one", sent.next("me"), direct=True)
    monkeypatch.setattr(streams, "FORGET_SECONDS", -1)
    sent.forget()
    assert sent.last() == {}

    assert heard.note("one", sent.next("me"), direct=True) == 0
    assert heard.note("one", 2, direct=False, last=sent.last()) == 0
    sent.next("me")
    assert heard.note("one", sent.next("me"), direct=True) == 1


def test_the_stream_to_everybody_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone process counts on it for as long as it lives."""
    sent = Sent()
    sent.next(EVERYBODY)
    monkeypatch.setattr(streams, "FORGET_SECONDS", -1)

    sent.forget()

    assert sent.next(EVERYBODY) == 2


def test_who_lives(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was heard lately; who is silent for long is forgotten."""
    heard.note("two", 1, direct=False)
    assert heard.living(within=60) == 2
    time.sleep(0.03)
    heard.note("two", 2, direct=False)

    assert heard.living(within=0.02) == 1
    monkeypatch.setattr(streams, "FORGET_SECONDS", 0.02)
    heard.forget()
    assert "one" not in heard
    assert "two" in heard
