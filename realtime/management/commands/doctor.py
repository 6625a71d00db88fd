"""`manage.py doctor`: looks at everything that Parley stands on and says, line by line, what to do about it."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from realtime.diagnosis import CHECKS, Finding, Level, examine, worst


class Command(BaseCommand):
    """Prints a line for each finding; ends with 1 when one of them is a FAIL."""

    help = "Check the configuration and everything it points at. Exit code 1 when something fails."
    requires_system_checks: list[str] = []  # noqa: RUF012  they are among the findings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in examine(CHECKS):
            findings.append(finding)
            if not options["json"]:
                self.stdout.write(self._line(finding))
        level = worst(findings)
        if options["json"]:
            self.stdout.write(
                json.dumps({"status": str(level).lower(), "findings": [one.as_dict() for one in findings]})
            )
        if level is Level.FAIL:
            sys.exit(1)

    def _line(self, finding: Finding) -> str:
        styles = {Level.OK: self.style.SUCCESS, Level.WARN: self.style.WARNING, Level.FAIL: self.style.ERROR}
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        return f"{styles[finding.level](f'{finding.level:4}')} {finding.part}: {finding.message}{remedy}"
