"""Parley's ASGI application with the bus's choice fixed: `BENCH_ROUTING` is `broadcast`, `lookup` or `chosen`."""

from __future__ import annotations

import os

from chatproject.asgi import application
from realtime import bus

__all__ = ["application"]

FIXED = {"broadcast": False, "lookup": True}

routing = os.environ["BENCH_ROUTING"]
if routing in FIXED:
    bus.lookup_pays = lambda **_: FIXED[routing]
