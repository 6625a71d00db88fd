"""Checks of the master keys: are those in use configured, and do they open what they wrapped."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import DatabaseError

from messaging import keys
from messaging.crypto import DecryptionError, UnknownMasterKey, generate_data_key
from realtime import health
from realtime.diagnosis.databases import remedy_for
from realtime.diagnosis.findings import Finding, fail, first_line, ok

PART = "master keys"


def master_keys() -> Iterator[Finding]:
    """Wrap and unwrap a new data key, then open one data key of each master key in use."""
    ring = keys.master_keys()
    trial = generate_data_key()
    if ring.unwrap(ring.wrap(trial)) != trial:
        yield fail(PART, f"{ring.current_id} does not open what it wraps", "reinstall the package `cryptography`")
        return
    try:
        used = health.used_master_keys()
    except DatabaseError as error:
        yield fail(PART, f"those in use are unknown: {first_line(error)}", remedy_for(error))
        return
    problems = 0
    for key_id, sample in used:
        try:
            ring.unwrap(sample)
        except UnknownMasterKey:
            problems += 1
            message = f"chats are encrypted under {key_id!r}, which is not configured"
            yield fail(PART, message, f"put {key_id}:... back into PARLEY_MASTER_KEYS; without it they are lost")
        except DecryptionError:
            problems += 1
            yield fail(
                PART,
                f"{key_id!r} does not open what was wrapped under this name",
                f"PARLEY_MASTER_KEYS gives another key for {key_id}: put the former one back",
            )
    if not problems:
        wrapping = f"{ring.current_id} wraps"
        yield ok(PART, f"{wrapping}; in use: {', '.join(key_id for key_id, _ in used) or 'none yet'}")
