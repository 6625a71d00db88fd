"""Tests of the one ack that each frame with an id gets, whatever happens."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from django.db import OperationalError

from accounts import services as accounts
from chatproject.errors import DomainError
from chatproject.ids import uuid7
from messaging.models import Chat, Message
from realtime import commands
from realtime.dispatch import PENDING_SENDS, handle_at_once
from realtime.engine import Engine
from realtime.sockets import CloseCode, Socket
from tests.realtime.client import Client
from tests.realtime.conftest import Connect, Person


async def acks_of(client: Client, frame_id: int | str) -> list[dict[str, Any]]:
    """Return every ack of an id that has come."""
    await client.ok("ping")
    return [frame for frame in client.inbox if frame.get("ack") == frame_id]


def examples(chat_id: str, receiver_id: str) -> list[tuple[str, Any]]:
    """Return frames that succeed and frames that fail in each of the ways there are."""
    nowhere = str(uuid7())
    mark = {"chatId": chat_id, "seq": 0}
    return [
        ("ping", {}),
        ("message:send", {"chatId": chat_id, "content": "a"}),
        ("message:send", {"receiverId": receiver_id, "content": "b"}),
        ("message:send", {"chatId": nowhere, "content": "c"}),
        ("message:send", {"content": 5}),
        ("message:send", None),
        ("message:update", {"chatId": chat_id, "messageId": nowhere, "content": "x"}),
        ("message:delete", {"chatId": nowhere, "messageId": nowhere}),
        ("message:read", mark),
        ("message:delivered", {"chatId": nowhere, "seq": 1}),
        ("user:typing", {"chatId": chat_id, "typing": True}),
        ("user:status", {"status": "away"}),
        ("user:status", {"status": "busy"}),
        ("sync", {"cursors": {}}),
        ("session:renew", {"accessToken": "x"}),
        ("message:receive", {}),
        ("__class__", {}),
        ("", {}),
    ]


async def test_exactly_one_ack_each(connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """Sent all at once, each frame gets one ack, with either data or an error."""
    client = await connect(ada)
    frames = examples(str(chat.id), str(bob.id))

    for number, (event, data) in enumerate(frames):
        await client.send(event, data, frame_id=f"id-{number}")
    answers = [await client.ack(f"id-{number}") for number in range(len(frames))]

    assert all(("data" in answer) != ("error" in answer) for answer in answers)
    for number in range(len(frames)):
        assert await acks_of(client, f"id-{number}") == []


async def test_a_frame_without_an_id(connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """It gets nothing when it succeeds, and the event `error` when it does not."""
    client, on_bob = await connect(ada), await connect(bob)
    await client.events()

    await client.send("message:send", {"chatId": str(chat.id), "content": "a"})
    await on_bob.event("message:receive", content="a")
    await client.send("ping")
    assert await client.events() == []
    await client.send("message:send", {"content": 5})
    assert (await client.error())["fields"] == {
        "content": [{"code": "invalid", "message": "Expected `str`, got `int`."}]
    }
    await client.send("nonsense")
    assert (await client.error())["code"] == "unknown_event"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "malformed_json"),
        ("", "malformed_json"),
        (b"", "malformed_json"),
        (b"\xff", "malformed_json"),
        ("[" * 60_000, "malformed_json"),
        ('{"event": "ping", "id": 99999999999999999999}', "malformed_json"),
        ('{"event": "ping", "data": {"x": "' + "x" * 65_536 + '"}}', "body_too_large"),
    ],
)
async def test_what_is_no_frame_gets_an_error(connect: Connect, ada: Person, text: str | bytes, code: str) -> None:
    """The socket lives on."""
    client = await connect(ada)

    await client.send_text(text)

    error = await client.error()
    assert error["code"] == code
    assert error["requestId"]
    await client.ok("ping")


async def test_a_malformed_frame_with_an_id(connect: Connect, ada: Person) -> None:
    """Its sender gets the ack all the same."""
    client = await connect(ada)

    await client.send_text(json.dumps({"id": "mine", "data": {}}))

    assert (await client.ack("mine"))["error"]["code"] == "malformed_json"


async def test_a_database_that_is_away(connect: Connect, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told to try again, and the log what is wrong, without a traceback: it is no bug."""
    client = await connect(ada)

    def away(**_: Any) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(accounts, "choose_status", away)
    with structlog.testing.capture_logs() as logs:
        code = await client.refused("user:status", {"status": "away"})

    assert code == "unavailable"
    assert [line["error"] for line in logs if line["event"] == "socket.unavailable"] == [
        "OperationalError: the server closed the connection"
    ]
    assert not any("exc_info" in line for line in logs)


async def test_an_unexpected_failure(
    connect: Connect, ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender gets `internal_error` and its request id, which the log has with the traceback; others nothing."""
    client, on_bob = await connect(ada), await connect(bob)

    def broken(**_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(accounts, "choose_status", broken)
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        answer = await client.call("user:status", {"status": "away"})

    assert answer["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(answer)
    failed = next(line for line in logs if line["event"] == "socket.failed")
    assert failed["request_id"] == answer["error"]["requestId"]
    assert failed["socket_event"] == "user:status"
    await client.ok("ping")
    assert await on_bob.events() == []


async def test_limits_are_told(connect: Connect, chat: Chat, ada: Person, bob: Person, settings: Any) -> None:
    """With the seconds to wait; nothing is stored of what is refused, and other people are not concerned."""
    settings.PARLEY_RATES = {"SEND": "2/h", "COMMAND": "100/h"}
    client, on_bob = await connect(ada), await connect(bob)
    data = {"chatId": str(chat.id), "content": "a"}

    await client.ok("message:send", data)
    await client.ok("message:send", data)
    refused = (await client.call("message:send", data))["error"]

    assert refused["code"] == "rate_limited"
    assert 1 <= refused["retryAfter"] <= 3600
    await on_bob.ok("message:send", data)
    assert await client.refused("message:delete", {"chatId": str(chat.id), "messageId": str(uuid7())}) == "rate_limited"


async def test_limits_can_be_off(connect: Connect, ada: Person, settings: Any) -> None:
    """Then nothing is counted."""
    settings.RATELIMIT_ENABLE = False
    settings.PARLEY_RATES = {"COMMAND": "1/h"}
    client = await connect(ada)

    for _ in range(3):
        await client.ok("ping")


async def test_names_of_events_in_the_log(connect: Connect, ada: Person) -> None:
    """What is no event of ours could be anything, a password for one, so it is not repeated."""
    client = await connect(ada)

    with structlog.testing.capture_logs() as logs:
        await client.call("correct horse battery staple")
        await client.call("ping")

    named = [line["socket_event"] for line in logs if line["event"] == "socket.frame"]
    assert named == ["?", "ping"]


async def test_log_lines_of_two_sockets_do_not_mix(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Each line names the socket and the person of its own frame, also where the batch was begun by another."""
    on_ada, on_bob = await connect(ada), await connect(bob)
    socket_of = {str(one.user_id): one.id for one in live.hub.all_sockets()}

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        for number in range(10):
            for client in (on_ada, on_bob):
                await client.send("message:send", {"chatId": str(chat.id), "content": str(number)}, frame_id=number)
        for client in (on_ada, on_bob):
            for number in range(10):
                await client.ack(number)

    lines = [line for line in logs if line["event"] == "socket.frame"]
    assert len(lines) == 20
    assert all(line["socket"] == socket_of[line["user_id"]] for line in lines)
    assert all("request_id" not in line for line in lines)


async def test_a_socket_that_goes_before_its_ack(
    live: Engine, connect: Connect, chat: Chat, ada: Person, bob: Person
) -> None:
    """Its message is stored and told to the others all the same."""
    client, on_bob = await connect(ada), await connect(bob)

    await client.send("message:send", {"chatId": str(chat.id), "content": "last words"}, frame_id=1)
    await client.close()

    await on_bob.event("message:receive", content="last words")
    assert await live.in_database(Message.objects.count) == 1


async def test_a_full_store_is_told(
    live: Engine, connect: Connect, chat: Chat, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`unavailable`, at once; the client tries again with the same client id."""
    from realtime import batcher

    monkeypatch.setattr(batcher, "QUEUE_LIMIT", 0)
    client = await connect(ada)

    assert await client.refused("message:send", {"chatId": str(chat.id), "content": "a"}) == "unavailable"
    assert all(socket.pending_sends == 0 for socket in live.hub.all_sockets())


async def test_frames_of_one_socket_are_answered_in_order(
    connect: Connect, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow command holds the ones behind it, of this socket alone."""
    release = asyncio.Event()

    async def slow(engine: Engine, socket: Any, data: Any) -> dict[str, Any]:
        await release.wait()
        return {}

    client, other = await connect(ada), await connect(ada)
    monkeypatch.setitem(commands.COMMANDS, "ping", commands.Command(commands.frames.Ping, slow))
    await client.send("ping", frame_id="slow")
    await client.send("sync", {"cursors": {}}, frame_id="behind")
    await other.ok("sync", {"cursors": {}})
    assert [frame for frame in client.inbox if "ack" in frame] == []

    release.set()
    await client.ack("behind")

    order = [frame["ack"] for frame in client.inbox if "ack" in frame]
    assert order == ["slow"]


def test_every_domain_error_has_a_code_of_its_own_shape() -> None:
    """Acks carry them, so they are words a client can compare."""

    def below(kind: type[DomainError]) -> list[type[DomainError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    assert all(kind.code.replace("_", "").islower() for kind in below(DomainError))


# --- Messages that are taken on the spot ------------------------------------------------------------------------------


@pytest.fixture
def spot(live: Engine, ada: Person) -> tuple[Socket, list[dict[str, Any]]]:
    """A socket of Ada's that no consumer serves, and what is written to it."""
    written: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        written.append(json.loads(message["text"]))

    expires = datetime.now(UTC) + timedelta(minutes=5)
    return Socket(user_id=ada.id, session_id=uuid7(), expires_at=expires, send=send), written


def sending(chat: Chat, content: str = "Tea?", **more: Any) -> str:
    """Return the text of a `message:send`."""
    return json.dumps({"event": "message:send", "id": 1, "data": {"chatId": str(chat.id), "content": content}, **more})


async def test_a_message_is_taken_on_the_spot(
    live: Engine, spot: tuple[Socket, list[dict[str, Any]]], chat: Chat
) -> None:
    """Its ack follows the commit, as for every other."""
    socket, written = spot

    assert handle_at_once(live, socket, sending(chat))
    assert (written, socket.pending_sends) == ([], 1)
    await live.batcher.drain()

    assert socket.pending_sends == 0
    assert [(frame["ack"], frame["data"]["message"]["content"]) for frame in written] == [(1, "Tea?")]


@pytest.mark.parametrize(
    "text",
    [
        '{"event": "ping", "id": 1}',
        '{"event": "ping", "data": "message:send"}',
        '{"event": "message:send"',
        '{"event": "message:send", "id": [1]}',
        '{"event": "message:send", "id": 1, "data": {"content": 7}}',
        '{"event": "message:send", "id": 1, "data": {"content": "nowhere"}}',
    ],
)
async def test_everything_else_takes_the_usual_way(
    live: Engine, spot: tuple[Socket, list[dict[str, Any]]], text: str
) -> None:
    """Nothing has happened by then: no ack, no error, nothing counted."""
    socket, written = spot

    assert not handle_at_once(live, socket, text)
    assert (written, socket.pending_sends) == ([], 0)


@pytest.mark.parametrize(
    "state", [{"busy": True}, {"pending_sends": PENDING_SENDS}, {"closing": CloseCode.RESTARTING}], ids=str
)
async def test_a_message_waits_its_turn(
    live: Engine, spot: tuple[Socket, list[dict[str, Any]]], chat: Chat, state: dict[str, Any]
) -> None:
    """It overtakes no frame before it, has its bound, and nothing is taken of a socket that closes."""
    socket, _ = spot
    for name, value in state.items():
        setattr(socket, name, value)

    assert not handle_at_once(live, socket, sending(chat))


async def test_a_message_above_its_limit_is_refused_on_the_spot(
    live: Engine, spot: tuple[Socket, list[dict[str, Any]]], chat: Chat, settings: Any
) -> None:
    """And counted once."""
    socket, written = spot
    settings.PARLEY_RATES = {"SEND": "1/h"}

    assert handle_at_once(live, socket, sending(chat))
    assert handle_at_once(live, socket, sending(chat, "too much"))
    await live.batcher.drain()

    assert sorted("error" in frame for frame in written) == [False, True]
