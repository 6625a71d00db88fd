"""`manage.py staff_rights dump|load`: the part of `store_copy` that runs where a store has keys of the other kind."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from chatproject.db import freezing
from chatproject.stores import rights
from chatproject.stores.claims import Claim
from chatproject.stores.places import in_one_line


class Command(BaseCommand):
    """Lines of JSON on standard output, or from standard input."""

    help = "Write the groups, rights and log of the administration as lines of JSON, or put such lines in their place."
    requires_system_checks: list[str] = []  # noqa: RUF012  `store_copy` is in a hurry

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=("dump", "load"))
        parser.add_argument("--run", help="with load: the run of `store_copy` in whose name it is")

    def handle(self, *args: Any, what: str, run: str | None, **options: Any) -> None:
        if what == "load":
            if not run:
                raise CommandError("store_copy loads: run that.")
            freezing.exempt_process()
            with in_one_line("DATABASE_URL"):
                rights.load((json.loads(line) for line in sys.stdin), hold=Claim(DEFAULT_DB_ALIAS, run).hold)
            return
        for line in rights.dump():
            self.stdout.write(rights.as_text(line))
