"""deploy/topology.sh as a process of the tests: several real servers behind the real proxy."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pymongo

from tests.faults.fleet import Row
from tests.live.server import ROOT, Process, clean_environment

PORT = 8443
END_SECONDS = 40


@dataclass(kw_only=True)
class Topology(Process):
    """The script; `url` and `ws_url` are those of the proxy."""

    net: str
    work: Path

    @property
    def url(self) -> str:
        """The address without a trailing slash."""
        return f"https://{self.net}.10:{PORT}"

    @property
    def ws_url(self) -> str:
        """The address of the socket."""
        return f"wss://{self.net}.10:{PORT}/ws"

    @property
    def authority(self) -> Path:
        """The certificate that the proxy's is signed by."""
        return self.work / "proxy" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    @property
    def daphnes(self) -> list[str]:
        """The names of the servers' processes."""
        return [f"daphne-{self.net}.{number}" for number in (1, 2)]

    def start(self) -> None:
        """Start everything, and return once the script says where it is."""
        super().start()
        self.wait_until(lambda: "Ctrl-C" in self.log, seconds=90)

    def stop(self) -> None:
        """End the script, gently. Raises `AssertionError` when anything outlives it.

        As Ctrl-C would, which somebody who was started in the background does not hear.
        """
        pids = [self.pid_of(path.stem) for path in self.work.glob("*.pid")]
        self.send(signal.SIGTERM)
        self.wait(seconds=END_SECONDS)
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []

    def pid_of(self, name: str) -> int:
        """Return the process id of a part, such as `proxy`."""
        return int((self.work / f"{name}.pid").read_text())

    def restart(self, name: str) -> None:
        """End a part gently, and return once the script has started it again."""
        before = self.pid_of(name)
        os.kill(before, signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        while self.pid_of(name) == before:
            assert time.monotonic() < deadline, f"{name} did not end"
            time.sleep(0.05)

    def lines(self, name: str, event: str) -> list[dict[str, object]]:
        """Return what a part has logged under an event's name."""
        return [line for line in self._logged(name) if line.get("event") == event]

    def errors(self) -> list[dict[str, object]]:
        """Return what the Daphnes have logged as errors."""
        return [line for name in self.daphnes for line in self._logged(name) if line.get("level") == "error"]

    def _logged(self, name: str) -> list[dict[str, object]]:
        lines = (self.work / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def rows(self) -> list[Row]:
        """Read every message straight from the database, past all of Parley."""
        with pymongo.MongoClient(f"mongodb://{self.net}.30:27017/") as client:
            found = list(client["parley"]["messages"].find())
        columns = ("_id", "chatId", "senderId", "clientId")
        return [Row(*(str(UUID(str(one[name]))) for name in columns), one["seq"], one["rev"]) for one in found]


def make_topology(directory: Path) -> Topology:
    """Describe one that keeps everything in `directory`, on a network of its own."""
    net = f"127.{random.randint(100, 250)}.{random.randint(1, 250)}"
    work = directory / "work"
    work.mkdir()
    return Topology(
        name="deploy/topology.sh",
        command=[str(ROOT / "deploy" / "topology.sh")],
        log_path=directory / "topology.log",
        environment=clean_environment(NET=net, WORK=str(work)),
        net=net,
        work=work,
    )
