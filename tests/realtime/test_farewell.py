"""Tests of how sockets are sent away before their process ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime.farewell import LONGEST_SPREAD_MS, SHORTEST_SPREAD_MS, send_away, spread_ms
from tests.realtime.conftest import make_socket


async def test_each_socket_hears_a_moment_of_its_own() -> None:
    """The event comes before the close, and the moments lie spread over the whole time."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    send_away([make_socket(send) for _ in range(100)])

    assert [message["type"] for message in sent] == ["websocket.send", "websocket.close"] * 100
    assert {message["code"] for message in sent[1::2]} == {1012}
    frames = [json.loads(message["text"]) for message in sent[::2]]
    assert {frame["event"] for frame in frames} == {"restarting"}
    moments = sorted(frame["data"]["reconnectInMs"] for frame in frames)
    assert 0 <= moments[0] < SHORTEST_SPREAD_MS / 4
    assert SHORTEST_SPREAD_MS * 3 / 4 < moments[-1] <= SHORTEST_SPREAD_MS
    assert len(set(moments)) > 80


@pytest.mark.parametrize(
    ("sockets", "expected"),
    [(0, SHORTEST_SPREAD_MS), (1_000, SHORTEST_SPREAD_MS), (10_000, 20_000), (1_000_000, LONGEST_SPREAD_MS)],
)
def test_many_sockets_come_back_over_a_longer_time(sockets: int, expected: int) -> None:
    """A process with many sockets does not throw them all at the others at once."""
    assert spread_ms(sockets) == expected
