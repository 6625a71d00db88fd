"""Compiles `shim.c` and steers it: the clock and the disk of real processes, without being root."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("shim.c")
LAYOUT = struct.Struct("<qq")


class Shim:
    """The control over processes that were started with `environment`; as a context manager it is in force.

    Nothing below `directory` grows while the disk is full.
    """

    def __init__(self, work: Path, *, directory: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler is not None, "These tests need a C compiler: apt-get install gcc libc6-dev"
        self._library, self._control = work / "shim.so", work / "shim.control"
        options = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror")
        subprocess.run([compiler, *options, "-o", str(self._library), str(SOURCE), "-ldl"], check=True)
        self._control.write_bytes(LAYOUT.pack(0, 0))
        self._seconds, self._full = 0, False
        self._stack = ExitStack()
        self.environment = {
            "LD_PRELOAD": str(self._library),
            "FAULTS_CONTROL": str(self._control),
            "FAULTS_DIRECTORY": str(directory),
        }

    def __enter__(self) -> Self:
        file = self._stack.enter_context(self._control.open("r+b"))
        self._memory = self._stack.enter_context(mmap.mmap(file.fileno(), LAYOUT.size))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shift_clock(self, seconds: int) -> None:
        """Let the processes' clock be so many seconds off the true time, from now on."""
        self._seconds = seconds
        self._write()

    def fill_disk(self, *, full: bool) -> None:
        """Let the disk be full, or have space again."""
        self._full = full
        self._write()

    def _write(self) -> None:
        LAYOUT.pack_into(self._memory, 0, self._seconds, self._full)
