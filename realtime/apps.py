"""Registers the app with Django."""

from __future__ import annotations

from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    """The realtime app."""

    name = "realtime"
