"""`manage.py staff_rights dump|load`: the part of `store_copy` that runs in the configuration of the one store."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chatproject.stores import rights


class Command(BaseCommand):
    """Lines of JSON on standard output, or from standard input."""

    help = "Write the groups, rights and log of the administration as lines of JSON, or put such lines in their place."
    requires_system_checks: list[str] = []  # noqa: RUF012  `store_copy` is in a hurry

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=("dump", "load"))

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        if what == "load":
            rights.load(json.loads(line) for line in sys.stdin)
            return
        for line in rights.dump():
            self.stdout.write(rights.as_text(line))
