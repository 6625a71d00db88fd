"""`manage.py backup ARCHIVE`: saves the embedded database and all files, while Parley serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from chatproject.stores import backups
from chatproject.stores.places import in_one_line
from chatproject.stores.progress import Progress


class Command(BaseCommand):
    """Exit code 0: the archive is whole and on the disk. 1: one line says why there is none."""

    help = "Save database, attachments and pictures as one tar, while the service runs. The secrets are not in it."
    requires_system_checks: list[str] = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("archive", type=Path, help="a new file; a tar, not compressed: ciphertext does not shrink")

    def handle(self, *args: Any, archive: Path, **options: Any) -> None:
        with in_one_line("the path"):
            media = Path(settings.MEDIA_ROOT)
            total = backups.database_path().stat().st_size + sum(
                path.stat().st_size for path in media.rglob("*") if path.is_file()
            )
            with Progress("Saving", total, unit="bytes") as shown:
                manifest = backups.back_up(archive.resolve(), progress=shown.advance)
        size = archive.stat().st_size
        self.stdout.write(
            f"{archive}: {size:,} bytes, {manifest.messages:,} messages, {manifest.chats:,} chats, "
            f"{manifest.users:,} users, {manifest.attachments:,} attachments, as of {manifest.made_at}"
        )
        if manifest.missing:
            self.stdout.write(
                f"{len(manifest.missing)} attachments have no file, such as {manifest.missing[0]}: deleted meanwhile, "
                "or lost before"
            )
        wrapped = ", ".join(manifest.master_keys) or "none"
        self.stdout.write(
            f"Not in it: the secrets. To read it the master keys are needed ({wrapped}): keep them in another place."
        )
