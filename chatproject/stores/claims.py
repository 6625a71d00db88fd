"""Lets one run of `store_copy` at a time write into a target: the newest.

The target's freeze names the run. Every transaction of a run begins by counting itself there, which fails once another
run has put its own name, or the copy was taken into service or given up; and until it ends nobody else can change that
row. So nothing is left behind by a run that is killed, and one that hangs for a day and wakes up does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS, IntegrityError
from django.db.models import F
from django.utils import timezone

from chatproject import db
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import StoreProblem

LOST = (
    "Another store_copy writes into this copy now, or it was given up or taken into service: this run has stopped, and "
    "writes no more -> let the other one end; manage.py maintenance status of both stores says how they are"
)


Hold = Callable[[], object]
"""What each transaction of a run begins with; it may forbid it."""


@contextmanager
def held(hold: Hold, *, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Open a transaction that writes into a target."""
    with db.atomic(using=using):
        hold()
        yield


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's right to write into a store, known by its alias among Django's connections."""

    alias: str
    run: str

    def hold(self) -> None:
        """Begin a transaction that writes. Raises `StoreProblem` when the right has passed on."""
        if not self._row().update(transactions=F("transactions") + 1):
            raise StoreProblem(LOST)

    def settle(self) -> None:
        """Let the copy be taken into service. Raises `StoreProblem` when the right has passed on."""
        if not self._row().update(settled_at=timezone.now()):
            raise StoreProblem(LOST)

    def _row(self) -> Any:
        return Freeze.objects.using(self.alias).filter(id=Freeze.ONLY, reason=Reason.COPY, run=self.run)


def claim(alias: str, *, source: str, begun: bool) -> Claim:
    """Freeze an empty store as a copy of the source, or take over the copy that was `begun`; it counts as unverified.

    Raises `StoreProblem` when somebody else was quicker.
    """
    run = uuid4().hex
    if begun:
        rows = Freeze.objects.using(alias).filter(id=Freeze.ONLY, reason=Reason.COPY, source=source)
        if not rows.update(run=run, settled_at=None):
            raise StoreProblem(LOST)
        return Claim(alias, run)
    try:
        Freeze(reason=Reason.COPY, source=source, run=run).save(using=alias, force_insert=True)
    except IntegrityError:
        raise StoreProblem(LOST) from None
    return Claim(alias, run)
