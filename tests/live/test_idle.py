"""A server that is left alone: who is there stays, who is gone is let go, and nothing grows."""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.clients import KIB, Talker, bare_socket, closed_codes, log_lines, register, resident_kib
from tests.live.server import LOOPBACK, Daphne
from tests.live.witness import Witness

pytestmark = pytest.mark.live

DaphneFactory = Callable[..., Daphne]

SLACK_KIB = 40 * KIB
SLOW_CONSUMER = 4408

IDLE_SECONDS = float(os.environ.get("TEST_IDLE_SECONDS", "70"))
"""A suite cannot wait for ten minutes: `TEST_IDLE_SECONDS=600` does."""
LONG_TOKENS = """
from chatproject.settings import *
from datetime import timedelta
SIMPLE_JWT = {**SIMPLE_JWT, "ACCESS_TOKEN_LIFETIME": timedelta(hours=1)}
"""
HEAD = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: "


@pytest.mark.slow
@pytest.mark.timeout(IDLE_SECONDS + 60)
async def test_a_long_silence(daphne: DaphneFactory, tmp_path: Path) -> None:
    """Who answers pings stays, who does not is closed with 4408, a handshake that never ends is cut, memory stands."""
    (tmp_path / "long_settings.py").write_text(LONG_TOKENS)
    server = daphne(PYTHONPATH=str(tmp_path), DJANGO_SETTINGS_MODULE="long_settings")
    ada, gone, halting = [await register(server, name) for name in ("ada", "gone", "halting")]
    with ExitStack() as stack:
        dripping = [stack.enter_context(sockets.create_connection((LOOPBACK, server.port))) for _ in range(10)]
        for connection in dripping:
            connection.sendall(HEAD.encode())
        for _ in range(20):
            stack.enter_context(await asyncio.to_thread(bare_socket, server, gone))
            half = stack.enter_context(await asyncio.to_thread(bare_socket, server, halting))
            half.sendall(b"\x81\xff" + (KIB * KIB).to_bytes(8, "big") + bytes(4) + b"{")

        async with Witness(server, pause=0.5), Talker(server, ada) as first, Talker(server, ada) as second:
            before = resident_kib(server)
            deadline = time.monotonic() + IDLE_SECONDS
            while time.monotonic() < deadline:
                for connection in list(dripping):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        dripping.remove(connection)
                await asyncio.sleep(1)
            assert (await first.call("ping", {}))["data"] == {}
            assert (await second.call("ping", {}))["data"] == {}

    assert closed_codes(server, gone) == [SLOW_CONSUMER] * 20
    assert closed_codes(server, halting) == [SLOW_CONSUMER] * 20
    assert dripping == []
    assert resident_kib(server) - before < SLACK_KIB
    assert not log_lines(server, "socket.failed")
    assert "Traceback" not in server.log
