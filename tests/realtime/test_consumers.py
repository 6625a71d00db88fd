"""Tests of a socket from its handshake to its end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import structlog

from chatproject.ids import uuid7
from messaging import services as messages
from messaging.models import Chat, Message
from realtime import batcher, consumers, hub
from realtime.engine import Engine
from realtime.sockets import CloseCode
from tests.realtime.client import Client
from tests.realtime.conftest import Connect, Person, make_socket, until


async def test_hello_is_the_first_frame(live: Engine, ada: Person) -> None:
    """It says who one is, how long the token holds, and how often the server will be heard."""
    client = Client(ada.token)
    await client.communicator.send_input({"type": "websocket.connect"})
    await client._message()
    await client._message()

    (hello,) = client.inbox
    expires_in = hello["data"].pop("expiresIn")
    assert hello == {
        "event": "hello",
        "data": {"userId": str(ada.id), "sessionId": str(ada.session_id), "heartbeat": 15},
    }
    assert 590 <= expires_in <= 600
    await client.close()


async def test_too_many_connections(
    live: Engine, connect: Connect, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one too many is closed with 4409; the others, and other people, are not concerned."""
    monkeypatch.setattr(hub, "SOCKETS_PER_USER", 2)
    first, _ = await connect(ada), await connect(ada)

    refused = await connect(ada)

    assert (refused.close_code, refused.close_reason, refused.inbox) == (4409, "too_many_connections", [])
    assert (await connect(bob)).close_code is None
    await first.close()
    assert (await connect(ada)).close_code is None


@pytest.mark.parametrize("path", ["/", "/ws/", "/wss", "/chat/1"])
async def test_an_unknown_path(connect: Connect, ada: Person, path: str) -> None:
    """It is closed with 4404, whoever asks."""
    client = await connect(ada, path=path)

    assert (client.close_code, client.close_reason) == (4404, "not_found")


async def test_an_end_leaves_nothing_behind(live: Engine, connect: Connect, ada: Person, bob: Person) -> None:
    """Many sockets that come and go, some in the middle of work."""
    for number in range(10):
        client = await connect(ada)
        await client.send("message:send", {"receiverId": str(bob.id), "content": str(number)}, frame_id=1)
        await client.close(1001)
    await live.batcher.drain()

    assert len(live.hub) == 0
    assert (list(live.hub.user_ids), list(live.hub.session_ids)) == ([], [])
    assert await live.in_database(Message.objects.count) == 10


async def test_the_code_of_the_end_is_logged(connect: Connect, ada: Person) -> None:
    """The client's own, or the server's."""
    client = await connect(ada)

    with structlog.testing.capture_logs() as logs:
        await client.close(4999)

    assert [line["code"] for line in logs if line["event"] == "socket.closed"] == [4999]


async def test_a_cancelled_socket_is_let_go(live: Engine, ada: Person) -> None:
    """A server that kills the application does not leave a ghost in the hub."""
    client = await Client(ada.token).open()
    await client.ok("ping")

    client.communicator.future.cancel()
    await until(lambda: len(live.hub) == 0)

    assert client.communicator.future.done()


async def test_a_socket_has_a_limit_of_unstored_messages(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next frame waits for a commit; another socket's does not."""
    monkeypatch.setattr(consumers, "PENDING_SENDS", 3)
    gate, store = threading.Event(), messages.store
    monkeypatch.setattr(batcher, "store", lambda drafts: gate.wait(5) and store(drafts))
    on_ada, on_bob = await connect(ada), await connect(bob)

    for number in range(6):
        await on_ada.send("message:send", {"chatId": str(chat.id), "content": str(number)}, frame_id=number)
    await on_bob.ok("sync")
    (socket,) = live.hub.sockets_of(ada.id)
    assert socket.pending_sends == 3
    gate.set()

    for number in range(6):
        assert (await on_ada.ack(number))["data"]["message"]["content"] == str(number)
    assert socket.pending_sends == 0


async def test_frames_after_the_close_are_not_handled(live: Engine, connect: Connect, chat: Chat, ada: Person) -> None:
    """Who was closed can do nothing more, however long they leave the connection open."""
    client = await connect(ada)
    (socket,) = live.hub.sockets_of(ada.id)

    socket.close(CloseCode.UNAUTHENTICATED)
    await client.send("message:send", {"chatId": str(chat.id), "content": "still here"}, frame_id=1)

    assert await client.closed() == 4401
    assert await live.in_database(Message.objects.count) == 0


async def test_a_slow_reader_does_not_hold_the_others(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Its frames wait for it alone until it is closed with 4408; its own frames are answered no more."""
    on_bob = await connect(bob)
    closes: list[dict[str, Any]] = []
    blocked = asyncio.Event()

    async def never(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            closes.append(message)
        else:
            await blocked.wait()

    slow = make_socket(never, user_id=ada.id, session_id=ada.session_id)
    live.hub.add(slow)
    for number in range(70):
        await on_bob.ok("message:send", {"chatId": str(chat.id), "content": str(number)})
    await until(lambda: closes)

    assert [(one["code"], one["reason"]) for one in closes] == [(4408, "slow_consumer")]
    live.leave(slow)


async def test_two_people_at_once(connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """Both directions at full speed: everybody has every message once, in the order of the chat's numbers."""
    on_ada, on_bob = await connect(ada), await connect(bob)
    for client in (on_ada, on_bob):
        await client.events()

    for number in range(30):
        for client in (on_ada, on_bob):
            data = {"chatId": str(chat.id), "content": str(number), "clientId": str(uuid7())}
            await client.send("message:send", data, frame_id=number)
    for client in (on_ada, on_bob):
        await client.find(lambda frame: _seq(frame) == 60)
        seqs = [seq for frame in client.inbox if (seq := _seq(frame))]
        assert seqs == list(range(1, 60))


def _seq(frame: dict[str, Any]) -> int:
    """Return the seq of an ack's or event's message, or 0."""
    data = frame.get("data", {})
    return int(data.get("message", data).get("seq", 0))
