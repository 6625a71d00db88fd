"""`manage.py migrate`, which on MongoDB also makes the collections of the contrib apps: they have no migrations."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.migrate import Command as Migrate

from chatproject import db


class Command(Migrate):
    """Django's own command with one default that follows the database."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it."""
        if db.vendor() == "mongodb" and not options["app_label"]:
            options["run_syncdb"] = True
        super().handle(*args, **options)
