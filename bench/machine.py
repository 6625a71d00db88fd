"""The machine that the benchmark runs on: its cores, its facts, and what a process costs on it."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
LOAD_CORE = CORES[-1]
"""The load and this runner; on a machine of one core it is the server's too, and the report says so."""

FSYNC_WRITES = 200


def on_server_core(command: list[str]) -> list[str]:
    """Return the command pinned to the server's core; `taskset` becomes the program, so the process id stays."""
    return ["taskset", "-c", str(SERVER_CORE), *command]


def on_load_core(command: list[str]) -> list[str]:
    return ["taskset", "-c", str(LOAD_CORE), *command]


def prepare() -> None:
    """Move this process to the load's core and let it and its children open as many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {LOAD_CORE})


def family(pid: int) -> list[int]:
    """Return a process and its descendants: some servers work in children."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process, its descendants and those of them that have ended have used.

    From `schedstat`, in nanoseconds: the kernel counts `stat` by its tick, at which a program that runs in short
    bursts, such as Redis, is hardly ever found. Only of children that ended there is nothing but `stat`: PostgreSQL has
    one for each connection.
    """
    used = 0.0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
            ended = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[13:15]
            threads = Path(f"/proc/{one}/task").glob("*/schedstat")
            used += sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
            used += sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    return used


def resident_kib(pid: int) -> int:
    """Return the memory that a process and its descendants hold (VmRSS)."""
    return sum(
        int(line.split()[1])
        for one in family(pid)
        for line in Path(f"/proc/{one}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )


def fsync_milliseconds(directory: Path) -> dict[str, float]:
    """Measure what it takes until 4 KiB are on the disk."""
    path = directory / "fsync-probe"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(FSYNC_WRITES):
            file.write(b"\0" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    path.unlink()
    taken.sort()
    return {"p50": statistics.median(taken), "p99": taken[int(len(taken) * 0.99) - 1]}


def facts(directory: Path) -> dict[str, Any]:
    """Return what a reader of the report has to know about the machine."""
    fsync = fsync_milliseconds(directory)
    return {
        "cpu": _cpu_model(),
        "cores": len(CORES),
        "memoryGib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "fsyncP50": fsync["p50"],
        "fsyncP99": fsync["p99"],
        "stealPercent": _steal_percent(),
        "load": os.getloadavg()[2],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _steal_percent() -> float:
    """Return the share of time, since boot, that the host gave to somebody else."""
    times = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return round(100 * times[7] / sum(times[:8]), 2)


def output_of(*command: str) -> str:
    """Return the first line of a program's answer, or that it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not there"
    return (done.stdout or done.stderr).strip().splitlines()[0]
