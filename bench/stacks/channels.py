"""Peer (b): the textbook Channels application on Daphne."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from bench.stacks.base import HttpServer, People, Stack, seed
from tests.live.server import LOOPBACK, clean_environment, free_port, make_redis


class Channels(Stack):
    """Written as Channels' documentation teaches: bench/peers/channels."""

    dialect = "channels"

    def __init__(self, directory: Path, *, synchronous: str = "full") -> None:
        super().__init__(directory)
        self.redis = make_redis(directory)
        self.environment = clean_environment(
            BENCH_SECRET=secrets.token_hex(32),
            BENCH_KEY=secrets.token_hex(32),
            BENCH_DATABASE=str(directory / "textbook.sqlite3"),
            BENCH_SYNCHRONOUS=synchronous.upper(),
            REDIS_URL=self.redis.url,
            DJANGO_SETTINGS_MODULE="bench.peers.channels.settings",
        )
        port = free_port()
        command = [sys.executable, "-m", "daphne", "--verbosity", "0", "--bind", LOOPBACK, "--port", str(port)]
        self.server = HttpServer(
            name="textbook",
            command=[*command, "bench.peers.channels.asgi:application"],
            log_path=directory / "textbook.log",
            environment=self.environment,
            port=port,
        )
        self.add("redis", self.redis)
        self.add("server", self.server)

    @property
    def port(self) -> int:
        return self.server.port

    def populate(self, count: int, *, group: bool = False) -> People:
        if group:
            raise NotImplementedError("the textbook peer has pairs only")
        return seed([sys.executable, "-m", "bench.peers.channels.seed", str(count)], self.environment)
