"""Sees to it that what was written is on the disk, for attachments and backups."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Return once what the directory names is on the disk: a file that was synced may still have lost its name."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
