"""Peer (a): Express, Socket.IO with the Redis adapter, and better-sqlite3."""

from __future__ import annotations

import secrets
from pathlib import Path

from bench.stacks.base import HttpServer, People, Stack, seed
from tests.live.server import clean_environment, free_port, make_redis

DIRECTORY = Path(__file__).parents[1] / "peers" / "express"


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
