"""Reads the `Range` header of a download (RFC 9110, section 14)."""

from __future__ import annotations

import re

from chatproject.errors import DomainError

_ONE_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


class RangeNotSatisfiable(DomainError):
    """The range lies outside of the file; the answer's `Content-Range` tells the file's size."""

    code = "range_not_satisfiable"
    status = 416
    message = "The file has no such range."


def requested(header: str | None, *, size: int) -> range | None:
    """Return the bytes that a client asks for, or None for the whole file of `size` bytes, 1 or more.

    What is not one well-formed range of bytes is ignored, as section 14.2 has it: an unknown unit, more than one range,
    an end before its start. Raises `RangeNotSatisfiable`.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    first, last = match.groups() if match else ("", "")
    if not first and not last:
        return None
    if not first:
        found = range(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        found = range(int(first), min(size, int(last) + 1) if last else size)
    if not found:
        raise RangeNotSatisfiable
    return found
