"""The Socket.IO door with the real client from npm: what front ends written for Socket.IO see of Parley."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.live.clients import KIB, Account, Talker
from tests.live.server import Daphne
from tests.live.socketio_people import (
    EITHER,
    POLLING,
    TRANSPORTS,
    WEBSOCKET,
    People,
    connect,
    no_traceback,
)

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]


# --- Talking ----------------------------------------------------------------------------------------------------------


@TRANSPORTS
async def test_a_conversation(
    live_server_process: Daphne, people: People, ada: Account, bob: Account, transports: list[str]
) -> None:
    """Both doors lead to the same place: messages, acks, typing and status, in both directions."""
    server = live_server_process
    on_ada = await connect(people, server, ada, transports=transports)
    async with Talker(server, bob) as on_bob:
        sent = await on_ada.say("Tea at four? ☕", receiverId=bob.id)
        assert await on_bob.event("message:receive") == sent
        answered = await on_bob.say("Gladly!", chatId=sent["chatId"])
        assert await on_ada.event("message:receive") == answered

        assert await on_ada.call("user:typing", {"chatId": sent["chatId"], "typing": True}) == {}
        assert (await on_bob.event("user:typing"))["userId"] == ada.id
        await on_bob.call("user:typing", {"chatId": sent["chatId"], "typing": True})
        assert (await on_ada.event("user:typing"))["userId"] == bob.id
        assert await on_ada.call("user:status", {"status": "away"}) == {"status": "away"}
        await on_bob.event("user:status", userId=ada.id, status="away")
        await on_bob.call("user:status", {"status": "away"})
        await on_ada.event("user:status", userId=bob.id, status="away")

        read = await on_ada.call("message:read", {"chatId": sent["chatId"], "seq": answered["seq"]})
        assert read["readSeq"] == answered["seq"]
        assert (await on_bob.event("message:read"))["userId"] == ada.id
        assert await on_ada.call("ping") == {}
        assert await on_ada.call("user:status", {"status": "online"}) == {"status": "online"}
        await on_bob.event("user:status", userId=ada.id, status="online")
        await on_bob.call("user:status", {"status": "online"})
        await on_ada.event("user:status", userId=bob.id, status="online")
    assert {"id", "chatId", "senderId", "receiverId", "content", "type", "timestamp", "read"} <= set(sent)
    assert "Tea at four" not in server.log
    assert ada.token not in server.log
    assert no_traceback(server)


async def test_two_clients(live_server_process: Daphne, people: People, ada: Account, bob: Account) -> None:
    """One that polls and one with a WebSocket, and a second device of the first person."""
    server = live_server_process
    on_ada = await connect(people, server, ada, transports=POLLING)
    on_bob = await connect(people, server, bob, transports=WEBSOCKET)
    phone = await connect(people, server, ada, transports=WEBSOCKET)

    sent = [await on_ada.say(str(number), receiverId=bob.id) for number in range(20)]
    await on_bob.say("yes", chatId=sent[0]["chatId"])

    assert [await on_bob.event("message:receive") for _ in sent] == sent
    assert [await phone.event("message:receive") for _ in sent] == sent
    await on_ada.event("message:receive", content="yes")
    assert not [one for one in on_ada.inbox if one.get("event") == "message:receive"], "An own send comes as its ack."


@EITHER
async def test_a_send_that_is_repeated(
    live_server_process: Daphne, people: People, ada: Account, bob: Account, transports: list[str]
) -> None:
    """The same `clientId` gives the first message back."""
    on_ada = await connect(people, live_server_process, ada, transports=transports)
    data = {"receiverId": bob.id, "content": "once", "clientId": str(uuid4())}

    first, second = await asyncio.gather(on_ada.call("message:send", data), on_ada.call("message:send", data))

    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["message"]["id"] == second["message"]["id"]


@EITHER
async def test_a_burst_of_sends(
    live_server_process: Daphne, people: People, ada: Account, bob: Account, transports: list[str]
) -> None:
    """A client that does not wait for acks gets each of them, and the order is the order in which it sent."""
    on_ada = await connect(people, live_server_process, ada, transports=transports)
    on_bob = await connect(people, live_server_process, bob, transports=transports)

    calls = [on_ada.call("message:send", {"receiverId": bob.id, "content": str(number)}) for number in range(300)]
    answers = await asyncio.gather(*calls)

    first = answers[0]["message"]["seq"]
    assert [answer["message"]["seq"] for answer in answers] == list(range(first, first + 300))
    received = [(await on_bob.event("message:receive"))["content"] for _ in answers]
    assert received == [str(number) for number in range(300)]


# --- Errors -----------------------------------------------------------------------------------------------------------


@TRANSPORTS
@pytest.mark.parametrize(
    ("token", "code"), [(None, "not_authenticated"), ("", "not_authenticated"), ("x.y.z", "invalid_token")]
)
async def test_a_bad_token(
    live_server_process: Daphne, people: People, transports: list[str], token: str | None, code: str
) -> None:
    """The client's `connect_error` has the one error shape in `data`."""
    client = people.client(live_server_process, None, token=token, transports=transports)

    refused = await client.happens("connect_error")

    assert set(refused["data"]["error"]) == {"code", "message", "fields", "requestId"}
    assert refused["data"]["error"]["code"] == code
    assert refused["message"] == refused["data"]["error"]["message"]


BINARY = {"base64": "AAEC"}


@EITHER
@pytest.mark.parametrize(
    ("event", "args", "code"),
    [
        ("message:send", [{"chatId": str(uuid4()), "content": "x"}], "chat_not_found"),
        ("message:send", [{"content": 5}], "invalid"),
        ("message:send", ["text"], "invalid"),
        ("message:send", [None], "invalid"),
        ("message:send", [], "invalid"),
        ("message:send", [{}, {}], "malformed_json"),
        ("message:send", [{"receiverId": str(uuid4()), "content": BINARY}], "malformed_json"),
        ("message:send", [BINARY, BINARY], "malformed_json"),
        ("no:such", [{}], "unknown_event"),
        ("message:send", [{"content": "x" * 65 * KIB}], "body_too_large"),
    ],
)
async def test_an_event_that_is_wrong(
    live_server_process: Daphne,
    people: People,
    ada: Account,
    transports: list[str],
    event: str,
    args: list[Any],
    code: str,
) -> None:
    """Its callback gets the error; without a callback it comes as an event. The next event is handled as ever."""
    on_ada = await connect(people, live_server_process, ada, transports=transports)

    answer = await on_ada.call(event, *args)
    assert answer["error"]["code"] == code
    assert set(answer) == {"error"}
    on_ada.emit(event, *args)
    assert (await on_ada.event("error"))["error"]["code"] == code

    assert await on_ada.call("ping") == {}
    assert no_traceback(live_server_process)


@EITHER
async def test_another_namespace(
    live_server_process: Daphne, people: People, ada: Account, transports: list[str]
) -> None:
    """It is refused in the one error shape."""
    client = people.client(live_server_process, ada, transports=transports, namespace="/admin")

    refused = await client.happens("connect_error")

    assert refused["data"]["error"]["code"] == "not_found"


@EITHER
async def test_a_very_large_event(
    live_server_process: Daphne, people: People, ada: Account, transports: list[str]
) -> None:
    """200 KB in one event: an error, and the connection lives on."""
    on_ada = await connect(people, live_server_process, ada, transports=transports)

    answer = await on_ada.call("message:send", {"content": "x" * 200_000})

    assert answer["error"]["code"] == "body_too_large"
    assert await on_ada.call("ping") == {}


async def test_an_event_beyond_the_servers_limit(live_server_process: Daphne, people: People, ada: Account) -> None:
    """2 MB in one event end a WebSocket with 1009 before they are in memory; others do not notice."""
    on_ada = await connect(people, live_server_process, ada, transports=WEBSOCKET)
    other = await connect(people, live_server_process, ada, transports=WEBSOCKET)

    on_ada.emit("message:send", {"content": "x" * 2_000_000})

    assert (await on_ada.happens("disconnect"))["code"] == 1009
    assert await other.call("ping") == {}
