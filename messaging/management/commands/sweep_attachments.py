"""`manage.py sweep_attachments`: removes uploads that were never sent, and files that a killed process left."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from messaging import attachments

DEFAULT_HOURS = 24.0


class Command(BaseCommand):
    """For a daily timer."""

    help = "Removes attachments that were uploaded but never sent, and files that belong to no attachment."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--hours",
            type=float,
            default=DEFAULT_HOURS,
            help="leave what is younger (default: 24; files of no attachment: 1 at least)",
        )

    def handle(self, *args: Any, hours: float, **options: Any) -> None:
        older_than = timedelta(hours=hours)
        unsent = attachments.sweep_unsent(older_than=older_than)
        orphans = attachments.sweep_files(older_than=older_than)
        self.stdout.write(f"Removed {unsent} uploads that were never sent and {orphans} files without an attachment.")
