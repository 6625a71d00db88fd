"""`manage.py store_copy`: moves a service's data to another store while it runs; docs/operations.md has the steps."""

from __future__ import annotations

import resource
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chatproject.arguments import positive
from chatproject.env import ENV
from chatproject.stores.copying import BATCH
from chatproject.stores.maintenance import GIVE_UP
from chatproject.stores.moving import Move
from chatproject.stores.places import in_one_line
from chatproject.stores.progress import Progress
from chatproject.stores.verification import NAMED, Verdict
from chatproject.stores.writing import Written

DIGEST_SHOWN = 16
COMFORT = " Nothing is lost: run the same command again, it goes on where it was."


class Command(BaseCommand):
    """Exit code 0: copied, and where the source is frozen verified. 1: one line says why not; nothing is lost."""

    help = (
        "Copies everything from one store to another, empty one: SQLite, PostgreSQL and MongoDB, in any direction. "
        "Run it while the service runs, then `maintenance on`, then run it again: the second pass copies what has "
        "changed, and verifies. It may be killed at any time and run again."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  the stores are looked at here

    def add_arguments(self, parser: CommandParser) -> None:
        own = "the configured one"
        parser.add_argument(
            "--from", dest="source", default=ENV.database_url, help=f"URL of the store (default: {own})"
        )
        parser.add_argument("--to", dest="target", required=True, help="URL of an empty, migrated database")
        parser.add_argument("--dry-run", action="store_true", help="look at both and count; write nothing")
        parser.add_argument("--verify", action="store_true", help="verify also when the source is not in maintenance")
        parser.add_argument(
            "--every-message", action="store_true", help="compare each message too: for a copy that failed to verify"
        )
        parser.add_argument("--batch-size", type=positive, default=BATCH, help=f"rows at once (default: {BATCH})")

    def handle(self, *args: Any, **options: Any) -> None:
        with in_one_line("--from or --to", comfort=COMFORT):
            self._move(options)

    def _move(self, options: dict[str, Any]) -> None:
        move = Move(options["source"], options["target"])
        state = "in maintenance" if move.frozen else "in use"
        self.stdout.write(f"From {move.source.vendor} {move.source.name}, {state}")
        self.stdout.write(f"To   {move.target.vendor} {move.target.name}, {'begun' if move.begun else 'empty'}")
        if "mongodb" in (move.source.vendor, move.target.vendor):
            self.stdout.write("MongoDB keeps times in milliseconds: what is finer is cut off, and compared so.")
        dry_run = options["dry_run"]
        written = move.copy(
            self._show, dry_run=dry_run, every_message=options["every_message"], batch=options["batch_size"]
        )
        self._report(written, move, dry_run=dry_run)
        if not dry_run and (move.frozen or options["verify"]):
            self._judge(move.verify(self._show))
        self._say_what_is_next(move, dry_run=dry_run)

    def _show(self, what: str, total: int) -> Progress:
        self._shown = Progress(what, total)
        return self._shown

    def _report(self, written: Written, move: Move, *, dry_run: bool) -> None:
        done = "Would write" if dry_run else "Wrote"
        shown = self._shown
        self.stdout.write(
            f"{done} {written.total:,} rows in {shown.seconds:.1f} s ({shown.rate:,.0f} rows/s looked at), "
            f"{_peak_memory()}"
        )
        for name, ours, theirs in move.counts():
            self.stdout.write(
                f"  {name:17} {written.added[name]:>11,} added {written.changed[name]:>9,} changed "
                f"{written.removed[name]:>9,} removed; now {ours:,} and {theirs:,}"
            )

    def _judge(self, verdict: Verdict) -> None:
        """Print what verification found. Raises `CommandError` when the copy is not its source's equal."""
        for one in verdict.tables:
            mark = "equal " if one.equal else "DIFFER"
            digest = one.source_digest[:DIGEST_SHOWN]
            self.stdout.write(f"  {mark} {one.table.name:17} {one.source_count:>11,} rows, sha256 {digest}...")
            for named in one.named:
                self.stdout.write(f"         {one.table.name} {named}")
        self.stdout.write(f"  {verdict.chats:,} chats: messages, last seq and last rev of each were compared")
        self.stdout.write(f"  {verdict.keys:,} data keys were unwrapped with PARLEY_MASTER_KEYS")
        self.stdout.write(
            f"  {'DIFFER' if verdict.rights_differ else 'equal '} groups, rights and log of administrators"
        )
        for problem in [*verdict.wrong_numbers[:NAMED], *verdict.wrong_keys[:NAMED]]:
            self.stdout.write(f"         {problem}")
        self.stdout.write(f"Verified in {self._shown.seconds:.1f} s, {_peak_memory()}")
        if verdict.good:
            return
        if verdict.wrong_keys:
            raise CommandError(
                "Some data keys do not unwrap, in the source neither if it is equal: put the missing master keys into "
                "PARLEY_MASTER_KEYS and run this again."
            )
        raise CommandError(
            "The copy differs from its source as listed. Run this again with --every-message, which puts it right; if "
            "the source is not in maintenance, it may just have gone on."
        )

    def _say_what_is_next(self, move: Move, *, dry_run: bool) -> None:
        if dry_run:
            self.stdout.write("A dry run: nothing was written.")
            return
        self.stdout.write(
            "Not copied: administrators' sign-ins (they sign in again). Attachments and pictures are files: they stay "
            f"in {ENV.data_dir / 'media'}, which the service goes on using."
        )
        if move.frozen:
            self.stdout.write(
                "Next: give every process DATABASE_URL of the new store, restart them, look, and run there: manage.py "
                "maintenance off. The old store stays in maintenance, so that nothing is written to it any more.\n"
                f"To go on with the old store instead, run there: {GIVE_UP.format(move.target.name)}"
            )
        else:
            self.stdout.write("Next: manage.py maintenance on, then run this again: it copies what has changed since.")


def _peak_memory() -> str:
    """Say how much memory this process has taken. One for a store with other keys is as large as any command.

    Nobody is told how much that was: what the system knows of a child begins with what its parent had.
    """
    return f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
