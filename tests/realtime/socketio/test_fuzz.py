"""Ten thousand packets that are almost right: each gets an answer or a close, and nothing unexpected is logged."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from channels.testing import WebsocketCommunicator

from messaging.models import Chat
from realtime.engine import Engine
from tests.realtime.client import PATIENCE
from tests.realtime.conftest import Connect, Person
from tests.realtime.socketio.engineio import polling
from tests.realtime.socketio.test_websocket import greeted, say

pytestmark = [pytest.mark.usefixtures("served"), pytest.mark.slow]

PACKETS = 5_000
BATCH = 25
EVENTS = ["message:send", "message:update", "message:read", "user:typing", "user:status", "sync", "session:renew", "x"]
VALUES: list[Any] = [
    None, True, -1, 2**53, 1e308, "", "x" * 70_000, "\x00", "\ud7ff", [], [[]], {}, {"_placeholder": True, "num": 0},
]  # fmt: skip
LETTERS = '0123456789-/,[]{}":\\b\u00b2\u0660x\x1f '


def almost(dice: random.Random, chat_id: str) -> str:
    """Return a packet: a right one, one with wrong data, or one with letters changed, cut off, doubled or put in."""
    names = ["chatId", "content", "messageId", "seq", "typing", "status", "cursors", "accessToken"]
    data: Any = {name: dice.choice([*VALUES, chat_id]) for name in dice.sample(names, dice.randrange(4))}
    arguments = dice.choice([[data], [dice.choice(VALUES)], [], [data, data]])
    head = dice.choice(["42", "42", "42", "427", "451-", "451-7", "43", "40", "41", "44", "4", "2", "3", "6", "42/x,"])
    packet = head + json.dumps([dice.choice(EVENTS), *arguments], ensure_ascii=dice.random() < 0.5)
    if dice.random() < 0.1:
        return head + dice.choice("[{") * dice.randrange(30_000)
    for _ in range(dice.randrange(3)):
        place = dice.randrange(len(packet) + 1)
        letters = "".join(dice.choices(LETTERS, k=dice.randrange(3)))
        packet = packet[:place] + letters + packet[place + dice.randrange(3) :]
    return packet


@pytest.fixture
def packets(chat: Chat, settings: Any) -> Iterator[str]:
    """Packets of one seed, so that what fails once fails again."""
    settings.RATELIMIT_ENABLE = False
    dice = random.Random(20_261_125)
    return (almost(dice, str(chat.id)) for _ in range(PACKETS))


async def test_over_a_websocket(
    live: Engine, connect: Connect, ada: Person, bob: Person, packets: Iterator[str]
) -> None:
    """The socket lives on to the end, unless a packet asked for its end."""
    on_bob = await connect(bob)
    socket = await greeted(ada)
    with structlog.testing.capture_logs() as lines:
        for number, packet in enumerate(packets):
            await say(socket, packet)
            if number % BATCH == 0:
                socket = await answered(socket, ada)
        await on_bob.ok("ping")

    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []


async def answered(socket: WebsocketCommunicator, person: Person) -> WebsocketCommunicator:
    """Wait until the socket answers a ping; return another one where it was closed."""
    await say(socket, '429["ping"]')
    while True:
        message = await socket.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            await socket.send_input({"type": "websocket.disconnect", "code": 1000})
            await socket.wait(PATIENCE)
            return await greeted(person)
        if message["text"] == "439[{}]":
            return socket


async def test_by_polling(live: Engine, connect: Connect, ada: Person, bob: Person, packets: Iterator[str]) -> None:
    """Several packets a request; a client that was ended opens a new connection."""
    on_bob = await connect(bob)
    client = await polling(ada)
    with structlog.testing.capture_logs() as lines:
        for number, packet in enumerate(packets):
            answer = await client.post(packet, '429["ping"]')
            assert answer.status in (200, 400, 413), answer
            if answer.status == 400:
                client = await polling(ada)
            if number % BATCH == 0:
                client.packets.clear()
                await client.post('428["ping"]')
                await client.until("438[{}]")
        await on_bob.ok("ping")

    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []
