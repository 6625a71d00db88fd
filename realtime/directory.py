"""Chooses the processes that a batch goes to: those that hold a lease for one of its recipients, or all of them.

A broadcast is right at any time. The leases only save what the processes without a recipient would spend on it, and
asking for them has its price: a batch for many people is broadcast while few processes live.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from realtime.leases import CHOICE
from realtime.parcels import Parcel

# Microseconds of processor time, of processes and Redis together (docs/decisions/0011-directory-routing.md).
LOOKUP = 135.0
LOOKUP_OF_ONE = 8.0
PUBLISH = 100.0
DELIVERY = 220.0
PARCEL = 4.0
RECIPIENT = 1.7


def recipients_of(parcels: Sequence[Parcel]) -> set[UUID]:
    """Return everybody that a batch is for."""
    return {user_id for parcel in parcels for user_id in parcel.recipients}


def lookup_pays(*, parcels: int, recipients: int, elsewhere: int, others: int) -> bool:
    """Tell whether routing costs less than a broadcast to `others` processes.

    `elsewhere` are those of the recipients who are not here: one in two is taken to be on one other process, whichever,
    and the rest to be nowhere.
    """
    content = parcels * PARCEL + recipients * RECIPIENT
    holders = others * (1 - (1 - 0.5 / others) ** elsewhere)
    routed = LOOKUP + recipients * LOOKUP_OF_ONE + holders * (PUBLISH + DELIVERY) + content / 2
    broadcast = PUBLISH + others * (DELIVERY + content)
    return routed < broadcast


def by_process(
    parcels: Sequence[Parcel], held: Mapping[UUID, Collection[str]], *, sender: str
) -> dict[str, list[Parcel]]:
    """Return what each process gets, in the order of the batch: the parcels for its own people, with these alone."""
    batches: dict[str, list[Parcel]] = defaultdict(list)
    for parcel in parcels:
        people: dict[str, list[UUID]] = defaultdict(list)
        for user_id in parcel.recipients:
            for process in held.get(user_id, ()):
                if process not in (sender, CHOICE):
                    people[process].append(user_id)
        for process, there in people.items():
            batches[process].append(replace(parcel, recipients=tuple(there)))
    return dict(batches)
