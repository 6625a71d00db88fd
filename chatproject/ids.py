"""Makes the identifiers of every row: UUID version 7 (RFC 9562), which sort by the time they were made."""

from __future__ import annotations

from uuid import UUID

from uuid_utils import compat

UUID_LENGTH = 36


def uuid7() -> UUID:
    """Return a fresh, time-ordered UUID; ids made by one process never go backwards."""
    return compat.uuid7()


def parse(value: object) -> UUID | None:
    """Return the UUID that a client wrote in its canonical 36-character form, or None."""
    if not isinstance(value, str) or len(value) != UUID_LENGTH:
        return None
    try:
        return UUID(value)
    except ValueError:
        return None
