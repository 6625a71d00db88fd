"""Tests of which processes a batch goes to."""

from __future__ import annotations

import pytest

from chatproject.ids import uuid7
from realtime.directory import by_process, lookup_pays, recipients_of
from realtime.leases import CHOICE
from realtime.parcels import Parcel

ADA, BOB, EVE = uuid7(), uuid7(), uuid7()


def parcel(text: str, *recipients: object) -> Parcel:
    """Return an event for these people."""
    return Parcel(recipients=recipients, text=text, ended_session=ADA)  # type: ignore[arg-type]


def test_each_process_gets_the_parcels_of_its_own_people() -> None:
    """In their order, for its own people alone; the sender has delivered to its own already."""
    held = {ADA: ["me", "one"], BOB: ["two"], EVE: ["one", "two"]}
    batch = [parcel("first", ADA, BOB), parcel("second", EVE), parcel("third", BOB)]

    batches = by_process(batch, held, sender="me")

    assert batches == {
        "one": [parcel("first", ADA), parcel("second", EVE)],
        "two": [parcel("first", BOB), parcel("second", EVE), parcel("third", BOB)],
    }


def test_people_without_a_process_get_nothing() -> None:
    """Neither do those who have only chosen a status by REST: that lease is no process."""
    assert by_process([parcel("hello", ADA, BOB)], {ADA: [CHOICE], BOB: []}, sender="me") == {}
    assert by_process([parcel("hello", EVE)], {}, sender="me") == {}


def test_everybody_a_batch_is_for() -> None:
    """Each person is asked for once."""
    assert recipients_of([parcel("first", ADA, BOB), parcel("second", BOB, EVE)]) == {ADA, BOB, EVE}


@pytest.mark.parametrize(
    ("parcels", "recipients", "elsewhere", "others", "pays"),
    [
        (1, 2, 1, 1, True),  # one message between two people: the other one may be away
        (1, 2, 1, 2, True),
        (1, 2, 1, 99, True),
        (1, 2, 2, 1, False),  # neither is here, as after a send by REST: the other process has one of them
        (20, 40, 19, 99, True),  # a busy moment in a large installation
        (20, 40, 10, 1, False),  # the only other process gets most of such a batch anyway
        (1, 1000, 500, 1, False),  # a large group on two processes
        (1, 1000, 990, 99, True),  # each of a hundred processes would read a list of which it needs a hundredth
    ],
)
def test_a_lookup_must_pay(parcels: int, recipients: int, elsewhere: int, others: int, pays: bool) -> None:
    """The more processes, the more a broadcast wastes; the more recipients, the dearer the question."""
    assert lookup_pays(parcels=parcels, recipients=recipients, elsewhere=elsewhere, others=others) is pays
