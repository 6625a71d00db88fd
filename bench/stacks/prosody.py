"""Peer (c): Debian's Prosody with its message archive, spoken to over TCP.

`full` is its archive in SQLite, which commits each row to the disk; `normal` is its archive in files, which are not
synchronised.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from bench.stacks.base import People, Stack
from tests.live.server import LOOPBACK, Process, free_port

HOST = "localhost"
PASSWORD = "benchmark"
ARCHIVES = {"full": "sql", "normal": "internal"}
CONFIGURATION = """\
run_as_root = true
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ {{ levels = {{ min = "warn" }}, to = "console" }} }}
interfaces = {{ "{loopback}" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
modules_enabled = {{ "saslauth", "roster", "disco", "presence", "message", "iq", "mam", "smacks", "offline" }}
modules_disabled = {{ "s2s", "tls" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
default_archive_policy = true
archive_expires_after = "never"
storage = {{ archive = "{archive}" }}
sql = {{ driver = "SQLite3", database = "{directory}/archive.sqlite" }}
network_backend = "epoll"
VirtualHost "{host}"
"""


@dataclass(kw_only=True)
class Server(Process):
    """Ready once it takes connections."""

    port: int

    def start(self) -> None:
        super().start()
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1):
                return True
        except OSError:
            return False


class Prosody(Stack):
    """One-to-one stanzas; its database is inside of its process."""

    dialect = "xmpp"

    def __init__(self, directory: Path, *, synchronous: str = "full") -> None:
        super().__init__(directory)
        configuration = directory / "prosody.cfg.lua"
        port = free_port()
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory, loopback=LOOPBACK, port=port, host=HOST, archive=ARCHIVES[synchronous]
            )
        )
        self.server = Server(
            name="prosody",
            command=["prosody", "--config", str(configuration), "-F"],
            log_path=directory / "prosody.log",
            port=port,
        )
        self.add("server", self.server)

    @property
    def port(self) -> int:
        return self.server.port

    def populate(self, count: int, *, group: bool = False) -> People:
        """Write the accounts as Prosody's internal storage keeps them; `prosodyctl` takes a process for each."""
        if group:
            raise NotImplementedError("Prosody takes part in the closed loop alone")
        accounts = self.directory / "data" / HOST / "accounts"
        accounts.mkdir(parents=True)
        names = [f"person{n}" for n in range(count)]
        for name in names:
            (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')
        return People(
            accounts=[{"id": name, "name": name, "password": PASSWORD} for name in names],
            chats=[f"{names[place ^ 1]}@{HOST}" for place in range(count)],
        )
