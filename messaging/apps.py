"""Registers the app with Django."""

from __future__ import annotations

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    """The messaging app."""

    name = "messaging"
