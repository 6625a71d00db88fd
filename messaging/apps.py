"""Registers the app with Django."""

from __future__ import annotations

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    """The messaging app."""

    name = "messaging"

    def ready(self) -> None:
        """Begin to follow the changes of memberships."""
        from messaging import rosters  # noqa: F401, PLC0415  it listens to the models, which are there only now
