"""Tests of WebSockets to `/socket.io/`: from the start, by an upgrade, and refused ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator

from chatproject.db.freezing import RETRY_AFTER
from messaging.models import Chat
from realtime.daphne_bounds import INBOUND_FRAMES
from realtime.engine import Engine
from realtime.socketio import websocket as websockets
from realtime.socketio.door import door
from realtime.sockets import CloseCode
from tests.realtime.client import PATIENCE
from tests.realtime.conftest import Connect, Person, until
from tests.realtime.socketio.engineio import handshake, polling, websocket

STRANGER = [(b"origin", b"https://evil.example")]


pytestmark = pytest.mark.usefixtures("served")


async def say(socket: WebsocketCommunicator, packet: str | bytes) -> None:
    """Send a packet."""
    kind = "bytes" if isinstance(packet, bytes) else "text"
    await socket.send_input({"type": "websocket.receive", kind: packet})


async def until_packet(socket: WebsocketCommunicator, prefix: str) -> str:
    """Return the next packet that begins like this."""
    while True:
        message = await socket.receive_output(PATIENCE)
        assert message["type"] == "websocket.send", message
        if str(message["text"]).startswith(prefix):
            return str(message["text"])


async def until_closed(socket: WebsocketCommunicator) -> dict[str, Any]:
    """Return the server's close, and answer it."""
    while True:
        message: dict[str, Any] = await socket.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            await socket.send_input({"type": "websocket.disconnect", "code": message.get("code", 1005)})
            await socket.wait(PATIENCE)
            return message


async def greeted(person: Person) -> WebsocketCommunicator:
    """Return the WebSocket of somebody who was let in."""
    socket = websocket()
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output(PATIENCE))["type"] == "websocket.accept"
    await until_packet(socket, "0{")
    await say(socket, "40" + json.dumps({"token": person.token}))
    await until_packet(socket, '42["hello"')
    return socket


async def hang_up(socket: WebsocketCommunicator, code: int = 1001) -> None:
    """End the connection from this side."""
    await socket.send_input({"type": "websocket.disconnect", "code": code})
    await socket.wait(PATIENCE)


# --- Who may come in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("EIO=3&transport=websocket", []),
        ("EIO=4&transport=polling", []),
        ("EIO=4&transport=websocket&sid=unknown", []),
        ("EIO=4&transport=websocket", STRANGER),
    ],
)
async def test_a_handshake_that_is_refused(query: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Before it is accepted: of a close at once after it the client would say nothing."""
    socket = websocket(query, headers=headers)

    connected, _ = await socket.connect(PATIENCE)

    assert not connected
    assert door.server.sessions == {}


async def test_an_address_has_a_limit(settings: Any) -> None:
    """One handshake more than it may."""
    settings.PARLEY_RATES = {"SOCKET": "1/h"}
    first, second = websocket(), websocket()

    assert [(await one.connect(PATIENCE))[0] for one in (first, second)] == [True, False]
    await hang_up(first)


async def test_a_bad_token() -> None:
    """It is refused as in polling; the client closes then, and if it does not, it is closed at its next word."""
    socket = websocket()
    await socket.connect(PATIENCE)
    await say(socket, '40{"token":"x"}')

    refused = json.loads((await until_packet(socket, "44"))[2:])
    await say(socket, '40{"token":"x"}')

    assert refused["data"]["error"]["code"] == "invalid_token"
    await until_closed(socket)
    assert door.server.sessions == {}


# --- Talking ----------------------------------------------------------------------------------------------------------


async def test_events_both_ways(ada: Person, bob: Person, chat: Chat, connect: Connect) -> None:
    """An ack, and an event from the other door."""
    socket, on_bob = await greeted(ada), await connect(bob)

    await say(socket, '427["message:send",' + json.dumps({"chatId": str(chat.id), "content": "hi"}) + "]")
    ack = json.loads((await until_packet(socket, "437"))[3:])
    received = await on_bob.event("message:receive")
    answered = await on_bob.ok("message:send", {"chatId": str(chat.id), "content": "hello"})
    heard = json.loads((await until_packet(socket, '42["message:receive"'))[2:])

    assert ack == [{"message": received, "duplicate": False}]
    assert heard[1] == answered["message"]
    await hang_up(socket)


async def test_in_maintenance(ada: Person, chat: Chat, freeze: Callable[[], None]) -> None:
    """What would write is told when to come back, in the shape of every error; reading goes on."""
    socket = await greeted(ada)
    await database_sync_to_async(freeze)()

    await say(socket, '427["message:send",' + json.dumps({"chatId": str(chat.id), "content": "hi"}) + "]")
    refused = json.loads((await until_packet(socket, "437"))[3:])
    await say(socket, '428["sync",{"cursors":{}}]')
    read = json.loads((await until_packet(socket, "438"))[3:])

    assert refused[0]["error"]["code"] == "maintenance"
    assert refused[0]["error"]["retryAfter"] == RETRY_AFTER
    assert "error" not in read[0]
    await hang_up(socket)


@pytest.mark.parametrize(
    "packet", ["", "x", "4", "2", "7", "0{}", "43[1]", "46-[]", "bAAEC", b"\x00", b"", "40{}", "4null"]
)
async def test_packets_that_are_none(ada: Person, packet: str | bytes) -> None:
    """Each gets an error, the next one is handled, and nothing unexpected is logged."""
    socket = await greeted(ada)

    with structlog.testing.capture_logs() as lines:
        await say(socket, packet)
        error = json.loads((await until_packet(socket, '42["error"'))[2:])[1]["error"]
        await say(socket, '427["ping"]')
        await until_packet(socket, "437")

    assert error["code"] == "malformed_json"
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []
    await hang_up(socket)


async def test_a_second_connect(ada: Person) -> None:
    """Another namespace is refused, and the first one lives on."""
    socket = await greeted(ada)

    await say(socket, "40/admin,{}")
    refused = await until_packet(socket, "44/admin,")
    await say(socket, "41/admin,")
    await until_packet(socket, '42["error"')
    await say(socket, '427["ping"]')

    assert '"not_found"' in refused
    assert await until_packet(socket, "437") == "437[{}]"
    await hang_up(socket)


async def test_events_wait_within_bounds(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 events wait for the one before them; then the socket is not read, and afterwards all are handled in order."""
    socket = await greeted(ada)
    gate, handled = asyncio.Event(), []

    async def take(engine: Engine, socket: object, text: str, **_: object) -> None:
        await gate.wait()
        handled.append(text)

    monkeypatch.setattr("realtime.doors.take", take)
    packets = [f'42["ping",{{"n":{number}}}]' for number in range(3 * INBOUND_FRAMES)]
    for packet in packets:
        await say(socket, packet)
    await until(lambda: socket.input_queue.qsize() < 2 * INBOUND_FRAMES)
    await asyncio.sleep(0.02)
    assert socket.input_queue.qsize() == 2 * INBOUND_FRAMES - 2
    gate.set()

    await until(lambda: len(handled) == len(packets))
    assert handled == [packet[1:] for packet in packets]
    await hang_up(socket)


async def test_a_pong_is_heard_while_an_event_is_handled(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long answer to a slow client must not look like the client's silence."""
    socket = await greeted(ada)
    gate = asyncio.Event()
    monkeypatch.setattr("realtime.doors.take", lambda *_, **__: gate.wait())
    (session,) = door.server.sessions.values()
    session.connection.last_ping = 1.0

    await say(socket, '42["sync"]')
    await say(socket, "3")

    await until(lambda: session.connection.last_ping is None)
    gate.set()
    await hang_up(socket)


# --- Upgrade ----------------------------------------------------------------------------------------------------------


async def test_an_upgrade(ada: Person) -> None:
    """The poll is answered, and the same session goes on over the WebSocket."""
    client = await polling(ada)
    poll = await client.poll()
    socket = websocket(client.query.replace("polling", "websocket"))
    await socket.connect(PATIENCE)
    await say(socket, "2probe")
    assert (await socket.receive_output(PATIENCE))["text"] == "3probe"
    assert (await poll.answer()).body == "6"

    await say(socket, "5")
    await say(socket, '427["ping"]')

    assert await until_packet(socket, "437") == "437[{}]"
    assert (await client.post('42["ping"]')).status == 400
    await hang_up(socket)
    assert door.server.sessions == {}


@pytest.mark.parametrize("way", ["silence", "end", "words"])
async def test_an_upgrade_that_fails(ada: Person, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Polling goes on as before, and events do not wait for the upgrade for ever."""
    monkeypatch.setattr(websockets, "UPGRADE_SECONDS", 0.05)
    client = await polling(ada)
    socket = websocket(client.query.replace("polling", "websocket"))
    await socket.connect(PATIENCE)

    if way == "end":
        await socket.send_input({"type": "websocket.disconnect", "code": 1006})
    elif way == "words":
        await say(socket, "5")
    await socket.wait(PATIENCE)

    await client.post('427["ping"]')
    assert await client.until("437") == "437[{}]"


async def test_two_upgrades_at_once(ada: Person) -> None:
    """The second one is refused, and so is one after the upgrade."""
    client = await polling(ada)
    query = client.query.replace("polling", "websocket")
    socket, second, third = websocket(query), websocket(query), websocket(query)
    await socket.connect(PATIENCE)

    assert not (await second.connect(PATIENCE))[0]
    await say(socket, "2probe")
    await socket.receive_output(PATIENCE)
    await say(socket, "5")
    await until(lambda: [one for one in door.server.sessions.values() if one.connection.upgraded])
    assert not (await third.connect(PATIENCE))[0]
    await hang_up(socket)


# --- Ends -------------------------------------------------------------------------------------------------------------


async def test_a_close_has_its_code(live: Engine, ada: Person) -> None:
    """As an event, and as the close frame; what is not to come back gets Socket.IO's disconnect as well."""
    socket = await greeted(ada)
    (one,) = live.hub.sockets_of(ada.id)

    with structlog.testing.capture_logs() as lines:
        one.close(CloseCode.UNAUTHENTICATED)
        told = await until_packet(socket, '42["socket:close"')
        assert (await socket.receive_output(PATIENCE))["text"] == "41"
        closed = await until_closed(socket)

    assert json.loads(told[2:])[1] == {"code": 4401, "reason": "unauthenticated"}
    assert (closed["code"], closed["reason"]) == (4401, "unauthenticated")
    assert [line["code"] for line in lines if line["event"] == "socket.closed"] == [4401]
    assert len(live.hub) == 0


@pytest.mark.parametrize("code", [1001, 1006, 4408, 4429])
async def test_an_end_that_the_server_below_saw(live: Engine, ada: Person, code: int) -> None:
    """The log has the code of the WebSocket's end, also when a bound of the server ended it."""
    socket = await greeted(ada)

    with structlog.testing.capture_logs() as lines:
        await hang_up(socket, code)
        await until(lambda: len(live.hub) == 0)

    assert [line["code"] for line in lines if line["event"] == "socket.closed"] == [code]
    assert door.server.sessions == {}


async def test_frames_under_way_are_finished(
    live: Engine, ada: Person, bob: Person, chat: Chat, connect: Connect
) -> None:
    """Who sends and leaves at once has sent."""
    on_bob, socket = await connect(bob), await greeted(ada)
    for number in range(5):
        data = {"chatId": str(chat.id), "content": str(number)}
        await say(socket, f'42["message:send",{json.dumps(data)}]')

    await hang_up(socket)

    assert [(await on_bob.event("message:receive"))["content"] for _ in range(5)] == list("01234")
    assert len(live.hub.sockets_of(ada.id)) == 0


async def test_a_client_that_leaves_while_its_token_is_read(
    live: Engine, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is taken in who is not there any more, and the library keeps nothing of them."""
    client, entered, gate = await handshake(), asyncio.Event(), asyncio.Event()
    in_database = live.in_database

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        principal = await in_database(*args, **kwargs)
        entered.set()
        await gate.wait()
        return principal

    monkeypatch.setattr(live, "in_database", slowly)
    poll = await client.poll()
    connecting = asyncio.ensure_future(client.post("40" + json.dumps({"token": ada.token})))
    await entered.wait()
    monkeypatch.setattr(live, "in_database", in_database)
    await poll.hang_up()
    gate.set()
    await connecting

    assert len(live.hub) == 0
    assert (door.server.manager.rooms, door.server.environ, door.server.eio.sockets) == ({}, {}, {})
