"""Tests of a backup's way to the disk; what is in it is tried by `tests/faults/test_restore_drill.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from chatproject.stores import backups


def test_the_archive_is_on_the_disk_with_its_name(
    migrated_database: Path, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content before it gets the name, and then the directory that holds the name."""
    settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.setattr(backups, "database_path", lambda: migrated_database)
    archive = tmp_path / "backup.tar"
    synced: list[tuple[Path, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), archive.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)

    backups.back_up(archive)

    (content, early), (directory, late) = synced
    assert (content.parent, early) == (tmp_path, False)
    assert (directory, late) == (tmp_path, True)
