"""Tests of long polling: who is answered what, and what becomes of clients that do not keep to the protocol."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import structlog

from accounts import sessions
from accounts.models import EndReason
from messaging.models import Chat
from realtime import hub
from realtime.daphne_bounds import INBOUND_LIMIT
from realtime.engine import Engine
from realtime.socketio import server
from realtime.socketio.door import door
from realtime.socketio.polling import PollingDoor
from tests.realtime.client import Client
from tests.realtime.conftest import Connect, Person, until
from tests.realtime.socketio.engineio import Request, ask, handshake, polling

OURS = [(b"origin", b"http://testserver")]
FRIEND = [(b"origin", b"https://app.example.net")]
STRANGER = [(b"origin", b"https://evil.example")]


pytestmark = pytest.mark.usefixtures("served")


# --- Handshake --------------------------------------------------------------------------------------------------------


async def test_the_handshake(ada: Person) -> None:
    """What a client may send and how often it is asked for a sign of life."""
    answer = await ask("GET")
    opened = json.loads(answer.body[1:])

    assert answer.body.startswith("0{")
    assert opened["upgrades"] == ["websocket"]
    assert opened["maxPayload"] == server.PAYLOAD_BYTES
    assert (opened["pingInterval"], opened["pingTimeout"]) == (20_000, 20_000)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        "",
        "transport=polling",
        "EIO=3&transport=polling",
        "EIO=4",
        "EIO=4&transport=websocket",
        "EIO=4&transport=carrier-pigeon",
        "EIO=4&transport=polling&j=0",
        "EIO=4&transport=polling&sid=unknown",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_of_another_protocol(method: str, query: str) -> None:
    """It gets the one error shape, and opens nothing."""
    answer = await ask(method, query, body=b"3")

    assert (answer.status, answer.code) == (400, "invalid")
    assert door.server.sessions == {}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods(method: str) -> None:
    """Engine.IO has two."""
    answer = await ask(method)

    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "GET, POST")


async def test_an_address_has_a_limit(settings: Any) -> None:
    """Handshakes are counted, polls are not; and the client hears how long to wait."""
    settings.PARLEY_RATES = {"SOCKET": "1/h"}
    client = await handshake()
    assert (await client.post("3")).status == 200

    answer = await ask("GET")

    assert (answer.status, answer.code) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) > 0
    assert (await ask("GET", address="192.0.2.77")).status == 200


async def test_a_person_has_a_limit_of_sockets(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused at its connect."""
    monkeypatch.setattr(hub, "SOCKETS_PER_USER", 1)
    await polling(ada)
    client = await handshake()

    await client.post("40" + json.dumps({"token": ada.token}))

    assert _refused(await client.until("44")) == "too_many_connections"


async def test_a_database_that_is_away(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told to come back later, not that its token is bad."""

    def broken(*, token: str) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(server, "authenticate_access_token", broken)
    client = await handshake()

    await client.post("40" + json.dumps({"token": ada.token}))

    assert _refused(await client.until("44")) == "unavailable"


@pytest.mark.parametrize("auth", ["", "{}", "[]", "null", '"token"', '{"token":7}', '{"token":null}', '{"Token":"x"}'])
async def test_a_connect_without_a_token(auth: str) -> None:
    """It is refused in the one error shape, and only once."""
    client = await handshake()

    await client.post(f"40{auth}")
    assert _refused(await client.until("44")) == "not_authenticated"
    await client.post(f"40{auth}")

    assert door.server.sessions == {}


def _refused(packet: str) -> str:
    refusal = json.loads(packet[2:])
    error = refusal["data"]["error"]
    assert refusal["message"] == error["message"]
    assert error["requestId"]
    return str(error["code"])


@pytest.mark.parametrize(
    "packet", ["40{", "40/", "40" + "[" * 20_000, '42["ping"]', "45", "x", "", "b", "41", "4", "2", "6"]
)
async def test_anything_else_before_the_connect(packet: str) -> None:
    """It ends the connection, and nothing unexpected is logged."""
    client = await handshake()

    with structlog.testing.capture_logs() as lines:
        await client.post(packet)

    assert packet == "40/" or door.server.sessions == {}
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []


# --- Headers ----------------------------------------------------------------------------------------------------------


async def test_security_headers() -> None:
    """Those of every other answer, errors included, and nothing is kept by caches."""
    for answer in (await ask("GET"), await ask("GET", "EIO=3"), await ask("PUT")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
    assert (await ask("GET")).headers["cache-control"] == "no-store"


async def test_https(settings: Any, ada: Person) -> None:
    """Where it is demanded it is demanded here too, and a host that is not ours gets no redirect."""
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 60
    app = PollingDoor()

    redirected, served = [await ask("GET", app=app, scheme=scheme) for scheme in ("http", "https")]
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    stranger = await ask("GET", app=app)

    assert redirected.headers["location"].startswith("https://testserver/socket.io/?EIO=4")
    assert (redirected.status, served.status, stranger.status) == (301, 200, 400)
    assert served.headers["strict-transport-security"].startswith("max-age=60")
    assert stranger.code == "invalid"


async def test_origins(settings: Any, ada: Person) -> None:
    """Pages of ours and of the allow-list; the second ones by CORS. Others get nothing at all."""
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.net"]

    ours, friend, stranger = [await ask("GET", headers=headers) for headers in (OURS, FRIEND, STRANGER)]

    assert (ours.status, friend.status, stranger.status) == (200, 200, 403)
    assert friend.headers["access-control-allow-origin"] == "https://app.example.net"
    assert "access-control-allow-credentials" not in friend.headers
    assert "access-control-allow-origin" not in stranger.headers
    assert stranger.code == "origin_not_allowed"
    assert all("origin" in answer.headers["vary"] for answer in (ours, friend, stranger))
    assert len(door.server.sessions) == 2


async def test_the_origin_is_checked_on_each_request(ada: Person) -> None:
    """A page that has got hold of a connection's id can do nothing with it."""
    client = await polling(ada)

    assert (await client.post('42["ping"]', headers=STRANGER)).status == 403
    assert (await ask("GET", client.query, headers=STRANGER)).status == 403


async def test_a_preflight(settings: Any) -> None:
    """It is answered for pages of the allow-list, and opens nothing."""
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.net"]
    wish = (b"access-control-request-method", b"POST")

    friend, stranger = [await ask("OPTIONS", headers=[*origin, wish]) for origin in (FRIEND, STRANGER)]

    assert friend.headers["access-control-allow-origin"] == "https://app.example.net"
    assert "POST" in friend.headers["access-control-allow-methods"]
    assert "access-control-allow-origin" not in stranger.headers
    assert door.server.sessions == {}


# --- Requests that do not keep to the protocol ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_two_requests_at_once(ada: Person, chat: Chat, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has one poll and one post under way; a second one ends it."""
    client = await polling(ada)
    gate = asyncio.Event()
    monkeypatch.setattr(door.server.sessions[client.query.partition("sid=")[2]], "take", lambda packet: gate.wait())
    first = await Request(method, client.query, body=b'42["ping"]').begin()
    await asyncio.sleep(0.01)

    second = await ask(method, client.query, body=b'42["ping"]')

    assert (second.status, second.code) == (400, "invalid")
    assert door.server.sessions == {}
    gate.set()
    assert (await first.answer()).status in (200, 400)


async def test_a_client_that_hangs_up(ada: Person, bob: Person, chat: Chat, connect: Connect) -> None:
    """Its poll is its sign of life: without it it is gone."""
    on_bob = await connect(bob)
    client = await polling(ada)
    await on_bob.event("user:status", status="online")
    poll = await client.poll()

    await poll.hang_up()

    await on_bob.event("user:status", userId=str(ada.id), status="offline")
    assert door.server.sessions == {}


@pytest.mark.parametrize("body", [b"\xff", b"42[\xc3", b"3\x1e" * INBOUND_LIMIT])
async def test_a_body_that_is_no_payload(body: bytes) -> None:
    """It is refused whole."""
    client = await handshake()

    answer = await ask("POST", client.query, body=body)

    assert (answer.status, answer.code) == (400, "malformed_json")


async def test_too_many_packets(ada: Person) -> None:
    """They end the client with 4429, which its next poll tells it."""
    client = await polling(ada)

    assert (await client.post(*['42["ping"]'] * (INBOUND_LIMIT + 1))).status == 200

    assert json.loads((await client.until('42["socket:close"'))[2:])[1] == {"code": 4429, "reason": "flood"}


async def test_a_body_that_is_too_large(ada: Person) -> None:
    """By its length, or while it is read."""
    client = await polling(ada)

    answer = await client.post("x" * 300_000)

    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "x",
        "4",
        "2",
        "6",
        "7",
        "0{}",
        "43[1]",
        "44{}",
        "46-[]",
        "41/x,",
        "bAAEC",
        "b!",
        "40{}",
        "3probe",
        "2probe",
        "5",
    ],
)
async def test_packets_that_are_none(ada: Person, packet: str) -> None:
    """Each gets an error, and what comes with it is handled."""
    client = await polling(ada)

    with structlog.testing.capture_logs() as lines:
        assert (await client.post(packet, '427["ping"]')).status == 200
        error = json.loads((await client.until('42["error"'))[2:])[1]["error"]
        assert await client.until("437") == "437[{}]"

    assert error["code"] == "malformed_json"
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []


async def test_the_packets_of_a_refused_binary_event(ada: Person) -> None:
    """They are no errors of their own."""
    client = await polling(ada)

    await client.post('452-7["x",{"_placeholder":true,"num":0}]', "bAAEC", "bAAEC", '428["ping"]')

    assert await client.until("438") == "438[{}]"
    assert '"malformed_json"' in await client.until("437")
    assert [packet for packet in client.packets if "error" in packet] == []


async def test_packets_behind_a_close(ada: Person) -> None:
    """They are too late, and nothing unexpected is logged."""
    client = await polling(ada)

    with structlog.testing.capture_logs() as lines:
        answer = await client.post("1", "3", "1", "41", "40{}", "2probe", '42["ping"]')

    assert answer.status == 200
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []


async def test_a_client_that_hangs_up_while_it_sends() -> None:
    """Half a body is none, and there is nobody to answer."""
    sent: list[object] = []
    parts = [{"type": "http.request", "body": b'42["pi', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    await PollingDoor()({"type": "http", "method": "POST", "path": "/socket.io/", "headers": []}, receive, send)

    assert (parts, sent) == ([], [])


async def test_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered in the one error shape, and logged with its traceback."""

    async def broken(*_: object) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(door.server, "handle_request", broken)
    with structlog.testing.capture_logs() as lines:
        answer = await ask("GET")

    assert (answer.status, answer.code) == (500, "internal_error")
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["http.failed"]


# --- Ends -------------------------------------------------------------------------------------------------------------


async def test_a_client_that_says_good_bye(ada: Person) -> None:
    """Its poll is answered, and it is gone."""
    client = await polling(ada)
    poll = await client.poll()

    with structlog.testing.capture_logs() as lines:
        await client.post("1")

    assert (await poll.answer()).body == "6"
    assert door.server.sessions == {}
    assert [line["code"] for line in lines if line["event"] == "socket.closed"] == [1000]


async def test_the_last_words_reach_a_client_between_two_polls(live: Engine, ada: Person) -> None:
    """A poll that comes a moment later gets them, and the one after that the close."""
    client = await polling(ada)

    await live.in_database(sessions.end_sessions, user_id=ada.id, reason=EndReason.LOGOUT)
    await until(lambda: all(socket.closing for socket in live.hub.all_sockets()))
    first = await (await client.poll()).answer()
    second = await (await client.poll()).answer()

    assert [packet.partition("{")[0] for packet in first.packets] == ['42["session:end",', '42["socket:close",', "41"]
    assert second.packets[0] == "1"
    await until(lambda: len(live.hub) == 0)


async def test_a_client_that_never_comes_back_for_its_last_words(
    live: Engine, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for a moment only."""
    monkeypatch.setattr("realtime.socketio.session.CLOSING_SECONDS", 0.05)
    await polling(ada)

    await live.in_database(sessions.end_sessions, user_id=ada.id, reason=EndReason.LOGOUT)

    await until(lambda: len(live.hub) == 0)
    assert door.server.sessions == {}


@pytest.mark.parametrize("said", [False, True])
async def test_a_client_that_says_nothing(
    live: Engine, ada: Person, monkeypatch: pytest.MonkeyPatch, said: bool
) -> None:
    """Without its token in time, or without an answer to a ping, it is ended."""
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.01)
    if said:
        await polling(ada)
        (session,) = door.server.sessions.values()
        session.connection.last_ping = time.time() - server.PING_TIMEOUT
    else:
        await handshake()
        monkeypatch.setattr(server, "CONNECT_SECONDS", 0.05)

    await until(lambda: not door.server.sessions)

    assert len(live.hub) == 0


async def test_the_end_of_the_engine(live: Engine, ada: Person) -> None:
    """Whoever is there is closed with 1012, and polls of nobody are answered too."""
    client, nobody = await polling(ada), await handshake()
    polls = [await one.poll() for one in (client, nobody)]

    stopping = asyncio.ensure_future(live.stop())
    told = (await polls[0].answer()).packets
    last = (await (await client.poll()).answer()).packets
    await stopping

    assert told[-1] == '42["socket:close",{"code":1012,"reason":"restarting"}]'
    assert last[0] == "1"
    assert (await polls[1].answer()).status == 200
    assert door.server.sessions == {}


async def test_events_reach_who_polls_and_who_does_not(ada: Person, bob: Person, chat: Chat, connect: Connect) -> None:
    """A message from the other door is there at the next poll, in order."""
    client = await polling(ada)
    on_bob: Client = await connect(bob)
    for number in range(3):
        await on_bob.ok("message:send", {"chatId": str(chat.id), "content": str(number)})

    received = [json.loads((await client.until('42["message:receive"'))[2:])[1]["content"] for _ in range(3)]

    assert received == ["0", "1", "2"]


async def test_a_client_that_does_not_poll(live: Engine, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound of its queue and 64 frames more it is closed with 4408, and keeps nothing of what it missed."""
    monkeypatch.setattr("realtime.socketio.queue.QUEUED_BYTES", 10_000)
    client = await polling(ada)
    (socket,) = live.hub.sockets_of(ada.id)
    (session,) = door.server.sessions.values()
    pushed = 0

    while socket.closing is None:
        socket.push_event("x", {"content": "x" * 1_000})
        pushed += 1
    await until(lambda: session.close_code)

    assert 64 < pushed < 64 + 12
    assert session.connection.queue.held < 1_000
    answer = await (await client.poll()).answer()
    assert answer.body == '42["socket:close",{"code":4408,"reason":"slow_consumer"}]'
