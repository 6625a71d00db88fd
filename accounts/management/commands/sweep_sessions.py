"""`manage.py sweep_sessions`: removes the records of sessions that ended long ago."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts.sessions import forget_dead_sessions

DEFAULT_DAYS = 90


class Command(BaseCommand):
    """For a daily timer."""

    help = "Removes the records of sessions that ended or expired long ago."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=DEFAULT_DAYS, help="leave what is younger (default: 90)")

    def handle(self, *args: Any, days: int, **options: Any) -> None:
        removed = forget_dead_sessions(before=timezone.now() - timedelta(days=days))
        self.stdout.write(f"Removed the records of {removed} sessions that ended more than {days} days ago.")
