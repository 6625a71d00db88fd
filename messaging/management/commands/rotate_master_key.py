"""`manage.py rotate_master_key`: wraps every chat's data key with the first key of PARLEY_MASTER_KEYS."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm  # type: ignore[import-untyped]

from chatproject.arguments import positive
from messaging import rotation
from messaging.keys import master_keys
from messaging.rotation import Rotated

NAMED_CHATS = 10


class Command(BaseCommand):
    """Shows progress on stderr and the result on stdout. Exits with 1 while a data key cannot be unwrapped."""

    help = (
        "Rewraps the chats' data keys with the first key of PARLEY_MASTER_KEYS, online. To rotate: put the new key in "
        "front of the others, restart every server, run this, and remove the old key when it says so. It can be "
        "stopped at any time and run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="unwrap every key, write nothing")
        parser.add_argument("--batch-size", type=positive, default=rotation.BATCH, help="keys in one transaction")

    def handle(self, *args: Any, dry_run: bool, batch_size: int, **options: Any) -> None:
        with tqdm(total=rotation.outstanding(), unit=" keys", desc="Rewrapping") as bar:
            rotated = rotation.rotate(batch_size=batch_size, dry_run=dry_run, progress=bar.update)
        self._report(rotated, dry_run=dry_run)
        self._refuse(rotated)

    def _report(self, rotated: Rotated, *, dry_run: bool) -> None:
        """Print what was done, and how many data keys each master key wraps now."""
        done = "Would rewrap" if dry_run else "Rewrapped"
        self.stdout.write(f"{done} {rotated.rewrapped} data keys with the master key {master_keys().current_id!r}.")
        if rotated.overtaken:
            self.stdout.write(f"{rotated.overtaken} were destroyed or rewrapped by somebody else meanwhile.")
        for key_id, count in rotation.wrapped_by().items():
            self.stdout.write(f"  {key_id}: wraps {count} data keys{self._advice(key_id, count)}")

    def _advice(self, key_id: str, count: int) -> str:
        if key_id == master_keys().current_id:
            return " (current)"
        if key_id not in master_keys():
            return " and is NOT in PARLEY_MASTER_KEYS"
        if count:
            return "; keep it in PARLEY_MASTER_KEYS"
        return (
            f"; may be removed from PARLEY_MASTER_KEYS once every server runs with {master_keys().current_id!r} in "
            "front. Backups taken until now still need it."
        )

    def _refuse(self, rotated: Rotated) -> None:
        """Raise `CommandError` (exit code 1) when some data keys are out of reach; never with key material."""
        problems = []
        if rotated.unknown:
            missing = ", ".join(f"{key_id!r} ({count})" for key_id, count in sorted(rotated.unknown.items()))
            problems.append(f"Data keys are wrapped by master keys missing from PARLEY_MASTER_KEYS: {missing}.")
        if rotated.damaged:
            chats = ", ".join(str(chat_id) for chat_id in rotated.damaged[:NAMED_CHATS])
            problems.append(f"{len(rotated.damaged)} data keys were altered and cannot be unwrapped: chats {chats}.")
        if problems:
            raise CommandError("\n".join(problems))
