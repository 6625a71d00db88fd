"""`manage.py restore ARCHIVE`: brings a backup of the embedded default back, while Parley is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chatproject.stores import restoring
from chatproject.stores.places import in_one_line


class Command(BaseCommand):
    """Exit code 0: it is in place. 1: one line says why not, and nothing was touched."""

    help = "Put the database and files of a backup in place, after checking every digest, the database and the keys."
    requires_system_checks: list[str] = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("archive", type=Path)
        parser.add_argument("--replace", action="store_true", help="move what is there aside; nothing is deleted")

    def handle(self, *args: Any, archive: Path, replace: bool, **options: Any) -> None:
        with in_one_line("the path", comfort=" Nothing was put in place."):
            manifest, aside = restoring.restore(archive, replace=replace)
        self.stdout.write(
            f"Restored {manifest.messages:,} messages, {manifest.chats:,} chats, {manifest.users:,} users and "
            f"{manifest.attachments:,} attachments, as of {manifest.made_at}."
        )
        if aside:
            self.stdout.write(f"What was there before is in {' and '.join(map(str, aside))}.")
        self.stdout.write("Next: manage.py migrate, manage.py doctor, then start the service.")
