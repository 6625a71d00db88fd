"""Runs the load generator (bench/load) on its own core and passes its events on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine

PROGRAM = Path(__file__).parent / "load" / "main.js"
STOP_SECONDS = 5

Job = dict[str, Any]
Event = dict[str, Any]


class LoadFailedError(RuntimeError):
    """The load generator gave up; the message says why."""


def run(job: Job, on_event: Callable[[str], None] = lambda _: None) -> Event:
    """Run one job and return its result; `on_event` hears of each step (`connected`, `measuring`, `measured`, ...)."""
    command = machine.on_load_core(["node", str(PROGRAM)])
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        for line in process.stdout:
            event: Event = json.loads(line)
            if event["event"] == "result":
                return event
            if event["event"] == "failed":
                raise LoadFailedError(event["reason"])
            on_event(event["event"])
    finally:
        _end(process)
    raise LoadFailedError(f"the load generator ended with {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
