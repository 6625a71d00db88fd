"""The chat backend as it was specified, word for word, against a real server: six endpoints, four events, encryption.

Field names are compared exactly. Afterwards nothing that was said or secret may be readable in what the server keeps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.live.server import Daphne
from tests.stores import reading

pytestmark = [pytest.mark.live, pytest.mark.everywhere]

USER = {"id", "username", "email", "profilePic", "status", "lastSeen"}
MESSAGE = {"id", "chatId", "senderId", "receiverId", "content", "type", "timestamp", "read"}
MORE = {"seq", "rev", "clientId", "editedAt", "deletedAt", "attachment", "system", "unreadable"}
PASSWORD = "Zanzibar-Quokka-1492"
BY_REST = "Periwinkle ☕ by the first door"
BY_SOCKET = "Xylophone 🎶 by the second door"
PATIENCE = 10


@dataclass(kw_only=True)
class Person:
    """Somebody signed in: what register answered, and their client."""

    user: dict[str, Any]
    access_token: str
    refresh_token: str
    api: httpx.Client

    @property
    def id(self) -> str:
        """The user's id."""
        return str(self.user["id"])


@pytest.fixture(scope="module")
def people(live_server_process: Daphne) -> Iterator[tuple[Person, Person]]:
    """Ada and Grace, registered through the API."""
    found = []
    for name in ("ada", "grace"):
        api = httpx.Client(base_url=live_server_process.url, timeout=30)
        body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        response = api.post("/auth/register", json=body)
        assert response.status_code == 201, response.text
        answer = response.json()
        assert set(answer) == {"user", "accessToken", "refreshToken", "expiresIn"}
        api.headers["Authorization"] = f"Bearer {answer['accessToken']}"
        found.append(
            Person(
                user=answer["user"],
                access_token=answer["accessToken"],
                refresh_token=answer["refreshToken"],
                api=api,
            )
        )
    ada, grace = found
    yield ada, grace
    for one in found:
        one.api.close()


@asynccontextmanager
async def socket(server: Daphne, person: Person) -> AsyncIterator[ClientConnection]:
    """Open somebody's socket, and return once it said hello."""
    headers = {"Authorization": f"Bearer {person.access_token}"}
    async with connect(server.ws_url, additional_headers=headers) as connection:
        hello = await event(connection, "hello")
        assert hello["userId"] == person.id
        yield connection


async def event(connection: ClientConnection, name: str) -> dict[str, Any]:
    """Return the data of the next event with this name."""
    async with asyncio.timeout(PATIENCE):
        while True:
            frame = json.loads(await connection.recv())
            if frame.get("event") == name:
                return dict(frame["data"])


async def ask(connection: ClientConnection, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Send an event and return the data of its ack."""
    await connection.send(json.dumps({"event": name, "id": 1, "data": data}))
    async with asyncio.timeout(PATIENCE):
        while True:
            frame = json.loads(await connection.recv())
            if frame.get("ack") == 1:
                assert "error" not in frame, frame
                return dict(frame["data"])


# --- The six endpoints ------------------------------------------------------------------------------------------------


def test_register(people: tuple[Person, Person]) -> None:
    """`POST /auth/register` gives the user and signs in."""
    ada, grace = people

    assert set(ada.user) == USER
    assert UUID(ada.id) != UUID(grace.id)
    assert (ada.user["username"], ada.user["email"]) == ("ada", "ada@example.org")
    assert ada.user["profilePic"] is None


def test_login(people: tuple[Person, Person], live_server_process: Daphne) -> None:
    """`POST /auth/login` gives the same with e-mail address and password, and 401 without the right one."""
    ada, _ = people
    url = f"{live_server_process.url}/auth/login"

    good = httpx.post(url, json={"email": "ada@example.org", "password": PASSWORD}, timeout=30)
    bad = httpx.post(url, json={"email": "ada@example.org", "password": PASSWORD + "x"}, timeout=30)

    assert good.status_code == 200
    assert set(good.json()) == {"user", "accessToken", "refreshToken", "expiresIn"}
    assert good.json()["user"]["id"] == ada.id
    assert (bad.status_code, bad.json()["error"]["code"]) == (401, "invalid_credentials")


def test_me(people: tuple[Person, Person]) -> None:
    """`GET /user/me` gives exactly the user."""
    ada, _ = people

    response = ada.api.get("/user/me")

    assert response.status_code == 200
    assert set(response.json()) == USER
    assert response.json()["id"] == ada.id


def test_status(people: tuple[Person, Person]) -> None:
    """`PUT /user/status` stores what one shows."""
    ada, _ = people

    for status in ("away", "offline", "online"):
        response = ada.api.put("/user/status", json={"status": status})
        assert response.status_code == 200
        assert set(response.json()) == USER
        assert ada.api.get("/user/me").json()["status"] == response.json()["status"] == status
    refused = ada.api.put("/user/status", json={"status": "busy"})
    assert (refused.status_code, set(refused.json()["error"]["fields"])) == (400, {"status"})


def test_message_and_chat(people: tuple[Person, Person]) -> None:
    """`POST /chat/message` stores a message that `GET /chat/{chatId}` gives to both, and to nobody without a token."""
    ada, grace = people

    sent = ada.api.post("/chat/message", json={"receiverId": grace.id, "content": BY_REST, "type": "text"})

    assert sent.status_code == 201
    message = sent.json()
    assert set(message) == MESSAGE | MORE
    assert (message["senderId"], message["receiverId"]) == (ada.id, grace.id)
    assert (message["content"], message["type"], message["read"]) == (BY_REST, "text", False)
    for person in (ada, grace):
        chat = person.api.get(f"/chat/{message['chatId']}")
        assert chat.status_code == 200
        assert chat.json()["messages"][-1] == message
    stranger = httpx.get(str(ada.api.base_url.join(f"/chat/{message['chatId']}")), timeout=30)
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (401, "not_authenticated")


# --- The four events --------------------------------------------------------------------------------------------------


async def test_events(people: tuple[Person, Person], live_server_process: Daphne) -> None:
    """`message:send` is acked and arrives as `message:receive`; `user:typing` and `user:status` reach the other."""
    ada, grace = people
    async with socket(live_server_process, ada) as hers, socket(live_server_process, grace) as other:
        ack = await ask(hers, "message:send", {"receiverId": grace.id, "content": BY_SOCKET, "type": "text"})
        received = await event(other, "message:receive")
        chat_id = received["chatId"]

        assert ack == {"message": received, "duplicate": False}
        assert set(received) == MESSAGE | MORE
        assert (received["content"], received["senderId"], received["receiverId"]) == (BY_SOCKET, ada.id, grace.id)

        await ask(hers, "user:typing", {"chatId": chat_id, "typing": True})
        typing = await event(other, "user:typing")
        assert (typing["chatId"], typing["userId"], typing["typing"]) == (chat_id, ada.id, True)

        await ask(hers, "user:status", {"status": "away"})
        while (status := await event(other, "user:status"))["status"] != "away":
            assert status["userId"] == ada.id
        assert set(status) == {"userId", "status", "lastSeen"}
        assert status["userId"] == ada.id

        # The two doors lead to the same place: REST is heard on the socket, and REST reads what the socket wrote.
        reply = (
            await asyncio.to_thread(grace.api.post, "/chat/message", json={"chatId": chat_id, "content": "ok"})
        ).json()
        assert await event(hers, "message:receive") == reply
        history = (await asyncio.to_thread(grace.api.get, f"/chat/{chat_id}")).json()["messages"]
        assert received in history


async def test_a_socket_without_a_token(live_server_process: Daphne) -> None:
    """It is told why, by the close code."""
    async with connect(live_server_process.ws_url) as connection:
        async with asyncio.timeout(PATIENCE):
            await connection.wait_closed()

    assert connection.close_code == 4401


def test_read(people: tuple[Person, Person]) -> None:
    """`read` becomes true for the sender once the receiver has read."""
    ada, grace = people
    message = ada.api.post("/chat/message", json={"receiverId": grace.id, "content": "seen?"}).json()

    grace.api.post(f"/chat/{message['chatId']}/read", json={"seq": message["seq"]}).raise_for_status()

    last = ada.api.get(f"/chat/{message['chatId']}").json()["messages"][-1]
    assert (last["id"], last["read"]) == (message["id"], True)


# --- What is kept -----------------------------------------------------------------------------------------------------


def kept_files(server: Daphne) -> list[Path]:
    """Return every file of the data directory but the secrets, and the log."""
    files = [path for path in server.data_dir.rglob("*") if path.is_file() and path.name != "secrets.env"]
    return [*files, server.log_path]


def kept_tables(server: Daphne) -> dict[Path, bytes]:
    """Return every table of the database, as the database gives it."""

    def written(value: object) -> bytes:
        return (
            value
            if isinstance(value, bytes)
            else value.hex.encode()
            if isinstance(value, UUID)
            else str(value).encode()
        )

    return {
        Path(table): b"\n".join(
            written(value) for row in reading.rows(server.database_url, table) for value in row.values()
        )
        for table in reading.tables(server.database_url)
    }


def test_nothing_is_readable_on_disk(people: tuple[Person, Person], live_server_process: Daphne) -> None:
    """Neither text, password nor token lies in the database, its write-ahead log, the files or the server's log."""
    ada, grace = people
    message = ada.api.post("/chat/message", json={"receiverId": grace.id, "content": BY_REST}).json()
    picture = {"file": ("periwinkle.txt", f"{BY_SOCKET} in a file".encode(), "text/plain")}
    ada.api.post("/attachment", data={"chatId": message["chatId"]}, files=picture).raise_for_status()
    secrets = [
        *("Periwinkle", "periwinkle", "Xylophone", "by the second door", "seen?"),
        *(PASSWORD, ada.access_token, ada.refresh_token, grace.access_token, grace.refresh_token),
    ]

    files = kept_files(live_server_process)

    names = {path.name for path in files}
    if live_server_process.database_url.startswith("sqlite"):
        assert {"parley.sqlite3", "parley.sqlite3-wal", "parley.sqlite3-shm"} <= names
    assert any("media" in path.parts for path in files)
    everything = {path: path.read_bytes() for path in files} | kept_tables(live_server_process)
    assert any(ada.id.replace("-", "").encode() in data for data in everything.values())  # the search does find things
    for secret in secrets:
        needles = {secret.encode(), secret.encode("utf-16-le"), json.dumps(secret)[1:-1].encode()}
        found = [path.name for path, data in everything.items() if any(needle in data for needle in needles)]
        assert found == [], f"{secret[:10]}... is readable"


def test_history_outlives_the_server(people: tuple[Person, Person], live_server_process: Daphne) -> None:
    """A killed server comes back on the same data, and the messages are there and can be read."""
    ada, grace = people
    chat_id = ada.api.post("/chat/message", json={"receiverId": grace.id, "content": "last words ☕"}).json()["chatId"]
    before = grace.api.get(f"/chat/{chat_id}").json()["messages"]

    live_server_process.kill()
    live_server_process.start()

    after = grace.api.get(f"/chat/{chat_id}").json()["messages"]
    assert after == before
    assert after[-1]["content"] == "last words ☕"
