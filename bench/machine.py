"""The machine that the benchmark runs on: its cores, its facts, and what a process costs on it."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

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


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process's threads have used.

    From `schedstat`, in nanoseconds: the kernel counts `stat` by its tick, at which a program that runs in short bursts,
    such as Redis, is hardly ever found.
    """
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def resident_kib(pid: int) -> int:
    """Return the memory that a process holds (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError(f"process {pid} has no memory")


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


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a reader of the report has to know about the machine."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    fsync_p50: float
    fsync_p99: float
    steal_percent: float
    versions: dict[str, str]


def facts(directory: Path, versions: dict[str, str]) -> Facts:
    fsync = fsync_milliseconds(directory)
    return Facts(
        cpu=_cpu_model(),
        cores=len(CORES),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=platform.release(),
        fsync_p50=fsync["p50"],
        fsync_p99=fsync["p99"],
        steal_percent=_steal_percent(),
        versions=versions,
    )


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
