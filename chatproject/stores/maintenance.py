"""Puts the service's store into maintenance and back: nothing is written in between, whatever process would."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet
from django.utils import timezone

from chatproject import db
from chatproject.db.freezing import LEASE_SECONDS
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import StoreProblem
from chatproject.stores.tables import TABLES

SETTLING_SECONDS = LEASE_SECONDS + 1
"""After this no process relies any more on a look from before."""


def current() -> Freeze | None:
    """Return why the store takes no writes, or None."""
    return _rows().first()


def begin(*, wait: Callable[[float], object] = time.sleep) -> Freeze:
    """Freeze the store; return once no process writes any more and every transaction has ended.

    Killed before, it has to be run again. Raises `StoreProblem`.
    """
    freeze = current()
    if freeze is not None and freeze.reason == Reason.COPY:
        raise StoreProblem("This store is a copy that is not in service: nothing is written to it anyway")
    if freeze is None:
        freeze = Freeze(reason=Reason.MAINTENANCE)
        freeze.save(using=DEFAULT_DB_ALIAS, force_insert=True)
    if freeze.settled_at is None:
        wait(SETTLING_SECONDS)
        db.wait_for_writers([table.name for table in TABLES])
        freeze.settled_at = timezone.now()
        freeze.save(using=DEFAULT_DB_ALIAS, force_update=True)
    return freeze


def end(*, unverified: bool = False) -> Freeze | None:
    """Let the store take writes again, and return what kept it from that.

    A copy that was not verified in maintenance is taken into service only with `unverified`. Raises `StoreProblem`.
    """
    freeze = current()
    if freeze is not None and freeze.reason == Reason.COPY and freeze.settled_at is None and not unverified:
        raise StoreProblem(
            f"This store is an unfinished copy of {freeze.source} -> put that one into maintenance and run store_copy "
            "again, which verifies; or say --unverified if it is lost for good"
        )
    _rows().delete()
    return freeze


def _rows() -> QuerySet[Freeze]:
    return Freeze.objects.using(DEFAULT_DB_ALIAS)
