"""The peer's one Django app."""

from __future__ import annotations

from django.apps import AppConfig


class Textbook(AppConfig):
    name = "bench.peers.channels"
    label = "textbook"
