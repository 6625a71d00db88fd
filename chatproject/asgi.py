"""The ASGI application that Daphne serves: HTTP goes to Django, sockets to Channels."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import MutableMapping
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
try:
    django_application = get_asgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"Parley cannot start: {error}")

from channels.routing import ProtocolTypeRouter

from chatproject.body_limit import BodyLimit
from chatproject.db import pool
from realtime import daphne_bounds
from realtime.diagnosis import tell_at_start
from realtime.engine import engine
from realtime.routing import http_application, websocket_application

COLLECT_AFTER = 20_000
"""New objects after which the garbage collector looks for cycles among them."""


def _on_start() -> None:
    pool.share()
    tell_at_start()


daphne_bounds.install(on_start=_on_start, on_shutdown=engine.stop)

# What is loaded by now stays for good: the collector need not walk through it over and over. What a message leaves is
# freed by its reference counts; looking for cycles after every 700 objects, as Python does, took 8 % of the time.
gc.freeze()
gc.set_threshold(COLLECT_AFTER, 20, 20)

_by_protocol = ProtocolTypeRouter(
    {"http": BodyLimit(http_application(django_application)), "websocket": websocket_application}  # type: ignore[arg-type]
)


async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Serve one connection; the first one starts the real-time engine on the server's event loop."""
    engine.start()
    await _by_protocol(scope, receive, send)
