"""Registers the app with Django."""

from __future__ import annotations

from django.apps import AppConfig


class StoresConfig(AppConfig):
    """The stores app: operator commands, and the one row that freezes a store."""

    name = "chatproject.stores"
    label = "stores"
