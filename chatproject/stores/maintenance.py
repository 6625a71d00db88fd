"""Puts the service's store into maintenance and back: nothing is written in between, whatever process would.

A store of which there is a verified copy comes back only after the copy has lost its permission to serve.
"""

from __future__ import annotations

import time

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet
from django.utils import timezone

from chatproject import db
from chatproject.db.freezing import LEASE_SECONDS
from chatproject.db.settling import Wait
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import Store, StoreProblem, StoreUnreachable, close_store, name_of, naming, open_store
from chatproject.stores.tables import filled

SETTLING_SECONDS = LEASE_SECONDS + 1
"""After this no process relies any more on a look from before."""
GIVE_UP = "manage.py maintenance off --give-up-copy <the URL of {}>"
OPTION, COPY = "--give-up-copy", "copy"
CHANGED = "Somebody else has just changed this: see manage.py maintenance status, and run it again"


def silently(seconds: float, why: str) -> None:
    """Wait, and say nothing."""
    time.sleep(seconds)


def current() -> Freeze | None:
    """Return why the store takes no writes, or None."""
    return _rows().first()


def begin(*, wait: Wait = silently) -> None:
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
        wait(SETTLING_SECONDS, "every process knows by then")
        tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
        db.wait_for_writers(sorted(tables), wait=wait)
        if not _same(freeze).update(settled_at=timezone.now()):
            raise StoreProblem(CHANGED)


def end(*, unverified: bool = False) -> Freeze | None:
    """Let the store take writes again, and return what kept it from that.

    A copy that was not verified in maintenance is taken into service only with `unverified`, and a store that has a
    verified copy not at all (see `give_up`). Raises `StoreProblem`.
    """
    freeze = current()
    if freeze is None:
        return None
    if freeze.reason == Reason.COPY and freeze.settled_at is None and not unverified:
        raise StoreProblem(
            f"This store is an unfinished copy of {freeze.source} -> put that one into maintenance and run store_copy "
            "again, which verifies; or say --unverified if it is lost for good"
        )
    if freeze.moved_to:
        raise StoreProblem(
            f"This store was copied to {freeze.moved_to}, which may serve by now -> if it does, leave this one "
            f"as it is; to go on here without the copy, run: {GIVE_UP.format(freeze.moved_to)}"
        )
    _lift(freeze)
    return freeze


def give_up(url: str, *, unreachable: bool = False) -> tuple[Freeze, str]:
    """Take the permission to serve from the verified copy at this URL, then let this store take writes again.

    With `unreachable` a copy that cannot be asked is taken for lost. Returns what kept this store from writing, and
    why the copy could not be asked, if so. Raises `StoreProblem`.
    """
    freeze = current()
    if freeze is None or not freeze.moved_to:
        raise StoreProblem("There is no verified copy of this store to give up -> run: manage.py maintenance off")
    name = name_of(url, option=OPTION)
    if name != freeze.moved_to:
        raise StoreProblem(f"{OPTION}: this store was copied to {freeze.moved_to}, not to {name} -> name that one")
    problem = ""
    try:
        _forbid(open_store(COPY, url, option=OPTION), source=freeze.source)
    except StoreUnreachable as error:
        problem = str(error)
        if not unreachable:
            raise StoreProblem(
                f"{problem}; or, if that copy is gone and nothing will ever be started on it, add --unreachable"
            ) from None
    finally:
        close_store(COPY)
    _lift(freeze)
    return freeze, problem


def _forbid(copy: Store, *, source: str) -> None:
    """Take the permission to serve from a copy, and from a run of `store_copy` that to write into it.

    An empty store has neither, such as a database that was made anew in the place of the copy.
    """
    with naming(copy, OPTION):
        rows = Freeze.objects.using(copy.alias).filter(id=Freeze.ONLY, reason=Reason.COPY, source=source)
        if not rows.update(settled_at=None, run="") and filled(copy.alias):
            raise StoreProblem(
                f"{copy.name} was taken into service, and has what was written since -> leave this store as it is; to "
                "come back, copy the other way: store_copy from there into an empty database"
            )


def _lift(freeze: Freeze) -> None:
    if not _same(freeze).delete()[0]:
        raise StoreProblem(CHANGED)


def _same(freeze: Freeze) -> QuerySet[Freeze]:
    """Select the row, if it still says the same."""
    names = ("id", "reason", "began_at", "settled_at", "moved_to")
    return _rows().filter(**{name: getattr(freeze, name) for name in names})


def _rows() -> QuerySet[Freeze]:
    return Freeze.objects.using(DEFAULT_DB_ALIAS)
