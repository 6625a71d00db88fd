"""Moves a service to another store in passes: while it runs, then once more in maintenance, then verified.

The target is frozen from the first row on, so that no server can take it for a store in use, and stays so until
`manage.py maintenance off` takes it into service; that it may do only after a verified pass from a frozen source. The
source's freeze then says where its copy is, and is not lifted again unless that copy is given up first
(`chatproject.stores.maintenance`): whatever happens, one of the two at the most takes writes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from chatproject.stores import carrying
from chatproject.stores.claims import Claim, claim
from chatproject.stores.copying import BATCH, Copy, outstanding
from chatproject.stores.maintenance import GIVE_UP
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import Store, StoreProblem, open_store
from chatproject.stores.tables import TABLES, Side, filled
from chatproject.stores.verification import Verdict, verify
from chatproject.stores.writing import Written

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
        self.source = open_store(SOURCE, from_url, option="--from")
        self.target = open_store(TARGET, to_url, option="--to")
        if self.source.name == self.target.name:
            raise StoreProblem(f"--from and --to are the same store, {self.source.name}: name two")
        self._freeze = _freeze_of(self.source, self.target)
        self._claim: Claim | None = None
        self.begun = _is_begun(self.target, self.source)
        coarse = "mongodb" in (self.source.vendor, self.target.vendor)
        self.sides = Side(SOURCE, coarse=coarse), Side(TARGET, coarse=coarse)

    @property
    def frozen(self) -> bool:
        """Whether the source was in maintenance, so that what is copied now stays all there is."""
        return self._freeze is not None

    def counts(self) -> list[tuple[str, int, int]]:
        """Return each table's rows in the source and in the target."""
        return [(table.name, table.count(SOURCE), table.count(TARGET)) for table in TABLES]

    def copy(self, show: Show, *, dry_run: bool = False, every_message: bool = False, batch: int = BATCH) -> Written:
        """Make one pass; a dry run writes nothing. Raises `StoreProblem` when another run takes the target over."""
        if not dry_run:
            self._claim = claim(TARGET, source=self.source.name, begun=self.begun)
        with show("Copying", outstanding(*self.sides)) as shown:
            pass_ = Copy(
                *self.sides,
                dry_run=dry_run,
                every_message=every_message,
                batch=batch,
                progress=shown.advance,
                hold=self._hold,
            )
            written = pass_.run()
        if self._claim and not carrying.alike(self.source, self.target):
            carrying.carry(self.source, self.target, run=self._claim.run)
        pass_.remove_users()
        return written

    def verify(self, show: Show) -> Verdict:
        """Compare both sides; what is equal while the source stays frozen may be taken into service.

        Raises `StoreProblem` when the source was taken out of maintenance meanwhile, or another run copies.
        """
        with show("Verifying", sum(table.count(SOURCE) for table in TABLES)) as shown:
            verdict = verify(*self.sides, progress=shown.advance)
        verdict.rights_differ = not carrying.alike(self.source, self.target)
        if verdict.good and self._freeze and self._claim:
            self._mark_source(self._freeze)
            self._claim.settle()
        return verdict

    def _hold(self) -> None:
        if self._claim:  # a dry run has none, and writes nothing
            self._claim.hold()

    def _mark_source(self, freeze: Freeze) -> None:
        """Say in the source where its copy is, if it still is in the same maintenance: before the copy is settled."""
        rows = Freeze.objects.using(SOURCE).filter(
            id=Freeze.ONLY,
            reason=Reason.MAINTENANCE,
            began_at=freeze.began_at,
            settled_at=freeze.settled_at,
            moved_to__in=("", self.target.name),
        )
        if not rows.update(source=self.source.name, moved_to=self.target.name):
            raise StoreProblem(
                f"{self.source.name} was taken out of maintenance meanwhile, or copied elsewhere, so this copy may not "
                "serve -> run: manage.py maintenance on, then this again"
            )


def silent(what: str, total: int) -> AbstractContextManager[Counting]:
    """Show nothing."""

    class _Nobody:
        def advance(self, count: int) -> None:
            pass

    return nullcontext(_Nobody())


def _freeze_of(source: Store, target: Store) -> Freeze | None:
    """Return the maintenance that the source is in, if it is in one. Raises `StoreProblem` for another copy's."""
    freeze = Freeze.objects.using(source.alias).first()
    if freeze is None:
        return None
    if freeze.reason == Reason.COPY:
        raise StoreProblem(
            f"--from: {source.name} is a copy of {freeze.source} that is not in service -> copy from there"
        )
    if freeze.settled_at is None:
        raise StoreProblem(
            "--from: `maintenance on` has not come to its end, so processes may still write -> run it again"
        )
    if freeze.moved_to not in ("", target.name):
        raise StoreProblem(
            f"--from: {source.name} was copied to {freeze.moved_to} and verified, and only one copy may serve -> if it "
            f"does, copy from there; otherwise give it up: {GIVE_UP.format(freeze.moved_to)}"
        )
    return freeze


def _is_begun(target: Store, source: Store) -> bool:
    """Tell whether the target holds an earlier pass of the same copy, rather than nothing."""
    freeze = Freeze.objects.using(target.alias).first()
    if freeze is None or freeze.reason != Reason.COPY:
        held = filled(target.alias)
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
