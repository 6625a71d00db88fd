"""Tests of what stops a restore; the rest is tried by `tests/faults/test_restore_drill.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatproject.stores import restoring
from chatproject.stores.places import StoreProblem


def test_media_that_are_a_mount(tmp_path: Path, settings: Any) -> None:
    """They cannot be renamed: one line says so before the archive is even looked for."""
    settings.MEDIA_ROOT = "/dev/shm"

    with pytest.raises(StoreProblem, match=r"/dev/shm is a file system of its own .* nothing was touched"):
        restoring.restore(tmp_path / "nothing.tar", replace=True)
