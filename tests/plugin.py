"""Gives the suite its own environment, before pytest-django reads the settings (pytest.ini names this plugin)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_data_dir = Path(tempfile.mkdtemp(prefix="parley-test-"))


def _isolate() -> None:
    """Let nothing of the developer's environment in but `DATABASE_URL`, so that the suite can run on each database."""
    for name in [name for name in os.environ if name.startswith("PARLEY_") or name == "REDIS_URL"]:
        del os.environ[name]
    os.environ["PARLEY_ENV"] = "test"
    os.environ["PARLEY_DATA_DIR"] = str(_data_dir)


_isolate()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Remove the suite's data directory."""
    shutil.rmtree(_data_dir, ignore_errors=True)
