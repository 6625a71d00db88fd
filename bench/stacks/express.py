"""Peer (a): Express, Socket.IO with the Redis adapter, and better-sqlite3."""

from __future__ import annotations

import secrets
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.stacks.base import People, Stack, seed
from tests.live.server import LOOPBACK, Process, clean_environment, free_port, make_redis

DIRECTORY = Path(__file__).parents[1] / "peers" / "express"


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


class Express(Stack):
    """Written as its documentation teaches: bench/peers/express."""

    dialect = "socketio"

    def __init__(self, directory: Path, *, synchronous: str = "full") -> None:
        super().__init__(directory)
        self.redis = make_redis(directory)
        self.database = directory / "express.sqlite3"
        self.environment = clean_environment(
            BENCH_SECRET=secrets.token_hex(32), BENCH_KEY=secrets.token_hex(32), NODE_ENV="production"
        )
        port = free_port()
        arguments = ["--port", str(port), "--database", str(self.database), "--redis", self.redis.url]
        self.server = HttpServer(
            name="express",
            command=["node", str(DIRECTORY / "server.js"), *arguments, "--synchronous", synchronous.upper()],
            log_path=directory / "express.log",
            environment=self.environment,
            port=port,
        )
        self.add("redis", self.redis)
        self.add("server", self.server)

    @property
    def port(self) -> int:
        return self.server.port

    def populate(self, count: int, *, group: bool = False) -> People:
        command = ["node", "seed.js", "--database", str(self.database), "--people", str(count)]
        return seed([*command, "--group"] if group else command, self.environment, cwd=DIRECTORY)
