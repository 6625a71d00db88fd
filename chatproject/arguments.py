"""Kinds of arguments that several `manage.py` commands take."""

from __future__ import annotations

from argparse import ArgumentTypeError


def positive(text: str) -> int:
    """Parse a whole number of 1 or more. Raises `ArgumentTypeError`."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("give a whole number of 1 or more")
    return int(text)
