"""Installs what the peers need, once: node packages by their lockfile, Prosody from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def install(variants: Iterable[str]) -> dict[str, str]:
    """Install what these variants need and is not there yet; return the ones that cannot run, with the reason."""
    missing = {}
    for name in variants:
        family = name.partition("-")[0]
        try:
            if family == "express":
                node_packages(PEERS / "express")
            elif family == "prosody":
                debian_package("prosody", "lua-dbi-sqlite3")
        except (OSError, subprocess.CalledProcessError) as error:
            missing[name] = str(error)
    return missing


def debian_package(program: str, *more: str) -> None:
    """Install a program with apt-get when this is root on a Debian. Raises `OSError` or `CalledProcessError`."""
    if shutil.which(program):
        return
    print(f"Installing {program}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", program, *more]):
        subprocess.run(["apt-get", *command], env=environment, check=True, stdout=subprocess.DEVNULL)


def node_packages(directory: Path) -> None:
    """Install by the lockfile, unless that was done after its last change."""
    installed = directory / "node_modules" / ".package-lock.json"
    lock = directory / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    print(f"Installing {directory.name}'s node packages (better-sqlite3 may have to be compiled)", flush=True)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"], cwd=directory, check=True)
    installed.touch()
