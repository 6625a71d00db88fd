"""Looks at what a server stands on while it starts, and logs a line for each problem: what is wrong, and what helps.

A server starts all the same: a store that comes, or is migrated, is used from then on. Until then `/readyz` says so.
What only another configuration can help stops the start before (`chatproject.env`, `chatproject.databases`).
"""

from __future__ import annotations

import threading

import structlog

from chatproject.db import pool
from realtime.diagnosis.findings import Level, examine
from realtime.diagnosis.plan import CHECKS

log = structlog.get_logger("parley.start")

AT_START = frozenset({"secrets", "data directory", "database", "durability", "migrations", "master keys", "redis"})


def tell_at_start() -> None:
    """Begin to look, in a thread that neither the start nor the end waits for."""
    threading.Thread(target=_tell, name="parley-start", daemon=True).start()


def _tell() -> None:
    pool.leave()
    for finding in examine(check for check in CHECKS if check.part in AT_START):
        if finding.level is Level.FAIL:
            log.error("start.problem", part=finding.part, problem=finding.message, remedy=finding.remedy)
