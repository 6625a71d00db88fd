"""Moves a service to another store in passes: while it runs, then once more in maintenance, then verified.

The target is frozen from the first row on, so that no server can take it for a store in use, and stays so until
`manage.py maintenance off` takes it into service; that it may do only after a verified pass from a frozen source.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from django.utils import timezone

from chatproject.stores import rights
from chatproject.stores.copying import BATCH, Copy, Written, outstanding
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import Store, StoreProblem, open_store
from chatproject.stores.tables import TABLES, Side
from chatproject.stores.verification import Verdict, verify

SOURCE, TARGET = "source", "target"


class Counting(Protocol):
    """What shows progress."""

    def advance(self, count: int) -> None:
        """Count on."""


Show = Callable[[str, int], AbstractContextManager[Counting]]
"""Called with what is done and how many rows there are; gives what counts them."""


class Move:
    """A source and a target that fit each other."""

    def __init__(self, from_url: str, to_url: str) -> None:
        """Open both and look whether the copy may begin, or go on. Raises `StoreProblem`."""
        self._urls = from_url, to_url
        self.source = open_store(SOURCE, from_url, option="--from")
        self.target = open_store(TARGET, to_url, option="--to")
        if self.source.name == self.target.name:
            raise StoreProblem(f"--from and --to are the same store, {self.source.name}: name two")
        self.frozen = _is_frozen(self.source)
        self.begun = _is_begun(self.target, self.source)
        coarse = "mongodb" in (self.source.vendor, self.target.vendor)
        self.sides = Side(SOURCE, coarse=coarse), Side(TARGET, coarse=coarse)

    def counts(self) -> list[tuple[str, int, int]]:
        """Return each table's rows in the source and in the target."""
        return [(table.name, table.count(SOURCE), table.count(TARGET)) for table in TABLES]

    def copy(self, show: Show, *, dry_run: bool = False, every_message: bool = False, batch: int = BATCH) -> Written:
        """Make one pass; a dry run writes nothing."""
        if not dry_run:
            values = {"reason": Reason.COPY, "source": self.source.name, "settled_at": None}
            Freeze.objects.using(TARGET).update_or_create(id=Freeze.ONLY, defaults=values)
        with show("Copying", outstanding(*self.sides)) as shown:
            pass_ = Copy(*self.sides, dry_run=dry_run, every_message=every_message, batch=batch, progress=shown.advance)
            written = pass_.run()
        from_url, to_url = self._urls
        if not dry_run:
            lines = rights.dump_of(from_url)
            if not rights.alike(lines, rights.dump_of(to_url)):
                rights.load_into(to_url, lines)
        pass_.remove_users()
        return written

    def verify(self, show: Show) -> Verdict:
        """Compare both sides; what is equal while the source is frozen may be taken into service."""
        with show("Verifying", sum(table.count(SOURCE) for table in TABLES)) as shown:
            verdict = verify(*self.sides, progress=shown.advance)
        from_url, to_url = self._urls
        verdict.rights_differ = not rights.alike(rights.dump_of(from_url), rights.dump_of(to_url))
        if verdict.good and self.frozen and _is_frozen(self.source):
            Freeze.objects.using(TARGET).filter(id=Freeze.ONLY).update(settled_at=timezone.now())
        return verdict


def silent(what: str, total: int) -> AbstractContextManager[Counting]:
    """Show nothing."""

    class _Nobody:
        def advance(self, count: int) -> None:
            pass

    return nullcontext(_Nobody())


def _is_frozen(source: Store) -> bool:
    """Tell whether the source is in maintenance, so that what is copied now stays all there is."""
    freeze = Freeze.objects.using(source.alias).first()
    if freeze is None:
        return False
    if freeze.reason == Reason.COPY:
        raise StoreProblem(
            f"--from: {source.name} is a copy of {freeze.source} that is not in service -> copy from there"
        )
    if freeze.settled_at is None:
        raise StoreProblem(
            "--from: `maintenance on` has not come to its end, so processes may still write -> run it again"
        )
    return True


def _is_begun(target: Store, source: Store) -> bool:
    """Tell whether the target holds an earlier pass of the same copy, rather than nothing."""
    freeze = Freeze.objects.using(target.alias).first()
    if freeze is None or freeze.reason != Reason.COPY:
        held = [table.name for table in TABLES if table.rows_of(target.alias).exists()]
        if freeze or held:
            raise StoreProblem(
                f"--to: {target.name} is not empty ({', '.join(held) or 'in maintenance'}) and no unfinished copy "
                "-> name an empty, migrated database; nothing was touched"
            )
        return False
    if freeze.source != source.name:
        raise StoreProblem(
            f"--to: {target.name} holds an unfinished copy of {freeze.source}, not of {source.name} "
            "-> name that one as --from, or an empty database as --to"
        )
    return True
