"""What all server sides have in common: processes on the server's core, people with chats, and an orderly end."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from bench import machine
from tests.live.server import LOOPBACK, ROOT, Process


@dataclass(frozen=True, kw_only=True)
class People:
    """Who may connect: `accounts` as the dialect needs them, and each one's chat."""

    accounts: list[dict[str, Any]]
    chats: list[str]

    def first(self, count: int) -> People:
        return People(accounts=self.accounts[:count], chats=self.chats[:count])

    @property
    def peers(self) -> list[int]:
        """The place of each one's partner: people are neighbours in pairs."""
        return [place ^ 1 for place in range(len(self.accounts))]


@dataclass(kw_only=True)
class HttpServer(Process):
    """A process that is ready once it answers `/healthz`."""

    port: int

    def start(self) -> None:
        super().start()
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/healthz", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False


class Stack(ABC):
    """One server side. As a context manager it runs; `populate` comes first."""

    dialect: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        """Everything that the stack keeps is in `directory`."""
        self.directory = directory
        self.processes: dict[str, Process] = {}
        self._running = ExitStack()

    @abstractmethod
    def populate(self, count: int, *, group: bool = False) -> People:
        """Fill the empty database with people: pairs with a direct chat each, or one group of all."""

    @property
    @abstractmethod
    def port(self) -> int:
        """Where the server listens on the loopback address."""

    @property
    def address(self) -> dict[str, Any]:
        return {"host": LOOPBACK, "port": self.port}

    def add(self, role: str, process: Process) -> None:
        """Pin a process to the server's core; processes start in the order in which they were added."""
        process.command = machine.on_server_core(process.command)
        self.processes[role] = process

    def cpu_seconds(self) -> dict[str, float]:
        return {role: machine.cpu_seconds(process.pid) for role, process in self.processes.items()}

    def resident_kib(self) -> dict[str, int]:
        return {role: machine.resident_kib(process.pid) for role, process in self.processes.items()}

    def __enter__(self) -> Self:
        try:
            for process in self.processes.values():
                self._running.callback(process.stop)
                process.start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def discard(self) -> None:  # noqa: B027  most keep nothing there
        """Remove what the stack keeps outside of its directory; it runs no more."""


def seed(command: Sequence[str], environment: Mapping[str, str], *, cwd: Path = ROOT) -> People:
    """Run a program that prints `{"accounts", "chats"}`."""
    return People(**output(machine.on_load_core(list(command)), environment, cwd=cwd))


def output(command: Sequence[str], environment: Mapping[str, str], *, cwd: Path = ROOT) -> Any:
    """Run a program and return what it prints, JSON. Raises `RuntimeError` with what it complains of."""
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)
