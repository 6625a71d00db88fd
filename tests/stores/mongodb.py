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


@contextmanager
def mongodb(*, corrected: bool = True) -> Iterator[MongoWire]:
    """Give an empty, running server, `corrected` by `tests.stores.wire` or not, and remove it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-mongodb-"))
    port = free_port()
    program = "tests.stores.wire" if corrected else "secantus"
    command = [sys.executable, "-m", program, "--host", LOOPBACK, "--port", str(port)]
    server = MongoWire(
        name=f"secantusd-py on port {port}",
        command=[*command, "--storage-path", str(directory / "data"), "--log-level", "WARNING"],
        log_path=directory / "mongodb.log",
        port=port,
    )
    try:
        with server:
            server.start()
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)
