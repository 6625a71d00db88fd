"""`manage.py maintenance on|off|status`: keeps every process from writing, for whatever needs a quiet store."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chatproject.db.freezing import LOOK_SECONDS
from chatproject.stores import maintenance
from chatproject.stores.models import Freeze, Reason
from chatproject.stores.places import in_one_line
from realtime.diagnosis.databases import where


class Command(BaseCommand):
    """Exit code 0: it is so. 1: one line says why not."""

    help = "Answer what changes something with 503 and Retry-After, in every process; reading goes on."
    requires_system_checks: list[str] = []  # noqa: RUF012  they take longer than the command

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=("on", "off", "status"))
        parser.add_argument(
            "--unverified", action="store_true", help="with off: take an unfinished copy into service, as it is"
        )
        parser.add_argument(
            maintenance.OPTION,
            metavar="URL",
            default="",
            help="with off: forbid the verified copy at this URL to serve, and go on with this store",
        )
        parser.add_argument(
            "--unreachable",
            action="store_true",
            help=f"with {maintenance.OPTION}: go on too if the copy cannot be asked; see that nothing is started on it",
        )

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        url, lost = options["give_up_copy"], options["unreachable"]
        if (what != "off" and (url or options["unverified"])) or (lost and not url) or (url and options["unverified"]):
            raise CommandError(f"These options do not go together: `off` takes --unverified or {maintenance.OPTION}.")
        with in_one_line("DATABASE_URL"):
            if what == "off":
                self._off(options["unverified"], url, unreachable=lost)
            else:
                getattr(self, f"_{what}")()

    def _on(self) -> None:
        self.stdout.write("Maintenance begins ...")
        maintenance.begin(wait=self._wait)
        self.stdout.write(
            f"Nothing is written to {where()} any more; clients wait and retry. To end it: manage.py maintenance off"
        )

    def _wait(self, seconds: float, why: str) -> None:
        self.stdout.write(f"Waiting {seconds:g} s: {why} ...")
        self.stdout.flush()
        time.sleep(seconds)

    def _off(self, unverified: bool, url: str, *, unreachable: bool) -> None:
        if url:
            freeze, problem = maintenance.give_up(url, unreachable=unreachable)
            if problem:
                self.stderr.write(
                    f"The copy was not told ({problem}). Drop it before anything is started on {freeze.moved_to}: it "
                    "could be taken into service, without what is written from now on."
                )
            else:
                self.stdout.write(f"{freeze.moved_to} counts as unfinished and cannot be taken into service.")
        elif maintenance.end(unverified=unverified) is None:
            self.stdout.write(f"{where()} takes writes; there was no maintenance.")
            return
        self.stdout.write(f"{where()} takes writes again; every process knows within {LOOK_SECONDS:g} s.")

    def _status(self) -> None:
        self.stdout.write(f"{where()}: {_described(maintenance.current())}")


def _described(freeze: Freeze | None) -> str:
    if freeze is None:
        return "takes writes"
    since = f"{freeze.began_at:%Y-%m-%d %H:%M:%S} UTC"
    if freeze.reason == Reason.COPY:
        state = "verified" if freeze.settled_at else "unfinished"
        return f"is a copy of {freeze.source}, begun {since}, {state}; takes no writes"
    settled = "" if freeze.settled_at else ", but processes may still write: run `maintenance on` to its end"
    copied = f", copied to {freeze.moved_to} and verified" if freeze.moved_to else ""
    return f"in maintenance since {since}{settled}{copied}"
