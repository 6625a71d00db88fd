"""`manage.py maintenance on|off|status`: keeps every process from writing, for whatever needs a quiet store."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chatproject.db.freezing import LOOK_SECONDS
from chatproject.stores import maintenance
from chatproject.stores.maintenance import SETTLING_SECONDS
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

    def handle(self, *args: Any, what: str, unverified: bool, **options: Any) -> None:
        with in_one_line("DATABASE_URL"):
            getattr(self, f"_{what}")(unverified)

    def _on(self, unverified: bool) -> None:
        self.stdout.write(f"Maintenance begins; every process knows within {SETTLING_SECONDS:g} s ...")
        self.stdout.flush()
        maintenance.begin()
        self.stdout.write(
            f"Nothing is written to {where()} any more; clients wait and retry. To end it: manage.py maintenance off"
        )

    def _off(self, unverified: bool) -> None:
        freeze = maintenance.end(unverified=unverified)
        if freeze is None:
            self.stdout.write(f"{where()} takes writes; there was no maintenance.")
        else:
            self.stdout.write(f"{where()} takes writes again; every process knows within {LOOK_SECONDS:g} s.")

    def _status(self, unverified: bool) -> None:
        self.stdout.write(f"{where()}: {_described(maintenance.current())}")


def _described(freeze: Freeze | None) -> str:
    if freeze is None:
        return "takes writes"
    since = f"{freeze.began_at:%Y-%m-%d %H:%M:%S} UTC"
    if freeze.reason == Reason.COPY:
        state = "verified" if freeze.settled_at else "unfinished"
        return f"is a copy of {freeze.source}, begun {since}, {state}; takes no writes"
    settled = "" if freeze.settled_at else ", but processes may still write: run `maintenance on` to its end"
    return f"in maintenance since {since}{settled}"
