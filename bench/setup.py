"""Installs what the peers need, once: node packages by their lockfiles."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def install(variants: Iterable[str]) -> None:
    """Install what these variants need and is not there yet."""
    wanted = {name.partition("-")[0] for name in variants}
    if "express" in wanted:
        node_packages(PEERS / "express")


def node_packages(directory: Path) -> None:
    """Install by the lockfile, unless that was done after its last change."""
    installed = directory / "node_modules" / ".package-lock.json"
    lock = directory / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    print(f"Installing {directory.name}'s node packages (better-sqlite3 may have to be compiled)", flush=True)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"], cwd=directory, check=True)
    installed.touch()
