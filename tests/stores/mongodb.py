"""A server that speaks MongoDB's wire protocol, from the SecantusDB wheel, as a process of its own."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.server import LOOPBACK, Process, free_port


@dataclass(kw_only=True)
class MongoWire(Process):
    """A server; `url` is for `DATABASE_URL`."""

    port: int

    @property
    def url(self) -> str:
        """The address of its database `parley`."""
        return f"mongodb://{LOOPBACK}:{self.port}/parley"

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        super().start()
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2):
                return True
        except OSError:
            return False


def make_mongodb(directory: Path, *options: str, corrected: bool = True, port: int | None = None) -> MongoWire:
    """Return a server that has not started, with its data in `directory`, `corrected` by `tests.stores.wire` or not."""
    port = port or free_port()
    program = "tests.stores.wire" if corrected else "secantus"
    command = [sys.executable, "-m", program, "--host", LOOPBACK, "--port", str(port), *options]
    return MongoWire(
        name=f"secantusd-py on port {port}",
        command=[*command, "--storage-path", str(directory / "mongodb"), "--log-level", "WARNING"],
        log_path=directory / "mongodb.log",
        port=port,
    )


@contextmanager
def mongodb(*options: str, corrected: bool = True) -> Iterator[MongoWire]:
    """Give an empty, running server, and remove it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-mongodb-"))
    try:
        with make_mongodb(directory, *options, corrected=corrected) as server:
            server.start()
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)
