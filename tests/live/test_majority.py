"""A MongoDB that no majority confirms for: what is sent is refused in time, kept, and acked once it is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image
from pymongo import MongoClient

from chatproject.ids import uuid7
from tests.live.clients import Account, Talker, register
from tests.live.server import Daphne, migrated_daphne
from tests.stores.mongodb import MongoWire, mongodb

pytestmark = [pytest.mark.live, pytest.mark.slow]

SENDS = 8
PASSWORD = "correct horse battery"
NOT_CONFIRMED = {
    "code": 64,
    "codeName": "WriteConcernTimeout",
    "errmsg": "waiting for replication timed out",
    "errInfo": {"wtimeout": True},
}
"""What a primary says when `wTimeoutMS` is over; the server of the tests has no members that could be away."""


@pytest.fixture(scope="module")
def wire() -> Iterator[MongoWire]:
    """A MongoDB that can be told to fail."""
    with mongodb("--enable-test-commands") as server:
        yield server


@contextmanager
def no_majority(wire: MongoWire, command: str = "commitTransaction") -> Iterator[None]:
    """Let each such command do its work, and then say that no majority has confirmed it."""
    with MongoClient[dict[str, Any]](wire.url) as client:
        fail = {"failCommands": [command], "writeConcernError": NOT_CONFIRMED}
        client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": fail})
        try:
            yield
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


@pytest.fixture(scope="module")
def server(wire: MongoWire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daphne]:
    """A server on this MongoDB."""
    with migrated_daphne(tmp_path_factory.mktemp("majority"), DATABASE_URL=wire.url) as running:
        yield running


@pytest.fixture
async def ada(server: Daphne) -> Account:
    """Somebody."""
    return await register(server, "ada")


@pytest.fixture
async def bob(server: Daphne) -> Account:
    """Somebody else."""
    return await register(server, "bob")


async def test_an_unconfirmed_message_is_refused_over_rest_and_acked_when_it_is_repeated(
    wire: MongoWire, server: Daphne, ada: Account, bob: Account
) -> None:
    """It was stored: the repeat finds it by its `clientId`, and there is one."""
    client_id = uuid7()
    body = {"receiverId": bob.id, "content": "hello", "clientId": str(client_id)}
    async with httpx.AsyncClient(base_url=server.url, headers=ada.headers, timeout=30) as client:
        with no_majority(wire):
            refused = await client.post("/chat/message", json=body)
        acked = await client.post("/chat/message", json=body)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert acked.status_code in {200, 201}
    assert "Traceback" not in server.log
    with MongoClient[dict[str, Any]](wire.url) as client:
        assert client.get_default_database()["messages"].count_documents({"clientId": client_id.hex}) == 1


async def test_a_batch_that_is_not_confirmed_is_refused_as_one(
    wire: MongoWire, server: Daphne, ada: Account, bob: Account
) -> None:
    """Each message on its own would wait for as long as the batch has, one after the other."""
    failed = server.log.count("batch.failed")

    async with Talker(server, ada) as talker:
        with no_majority(wire):
            sends = [{"receiverId": bob.id, "content": str(number)} for number in range(SENDS)]
            answers = await asyncio.gather(*(talker.call("message:send", data) for data in sends))

    assert {answer["error"]["code"] for answer in answers} == {"unavailable"}
    assert "batch.split" not in server.log
    assert server.log.count("batch.failed") > failed


async def test_an_unconfirmed_refresh_and_picture_count(wire: MongoWire, server: Daphne, ada: Account) -> None:
    """A refused one could not be repeated: its token is used up, and counts as stolen; and its file would be gone."""
    image = BytesIO()
    Image.new("RGB", (300, 300), "red").save(image, "PNG")
    noted = server.log.count("db.unconfirmed")

    async with httpx.AsyncClient(base_url=server.url) as client:
        with no_majority(wire):
            first = await client.post("/auth/refresh", json={"refreshToken": ada.refresh_token}, timeout=30)
            file = {"file": ("red.png", image.getvalue(), "image/png")}
            picture = await client.put("/user/me/picture", files=file, headers=ada.headers, timeout=30)
        second = await client.post("/auth/refresh", json={"refreshToken": first.json()["refreshToken"]})
        shown = await client.get(picture.json()["profilePic"], headers=ada.headers)

    assert (first.status_code, second.status_code) == (200, 200)
    assert (picture.status_code, shown.status_code) == (200, 200)
    assert server.log.count("db.unconfirmed") == noted + 2


async def test_an_unconfirmed_row_of_the_administration_is_refused(wire: MongoWire, server: Daphne) -> None:
    """Its pages write without a transaction there; they say that the database is away, and log no bug."""
    server.environment = {**server.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    server.manage("createsuperuser", "--noinput", "--username", "warden", "--email", "warden@example.org")
    async with httpx.AsyncClient(base_url=server.url, follow_redirects=True, timeout=30) as client:
        await client.get("/admin/login/")
        form = {"username": "warden", "password": PASSWORD, "next": "/admin/auth/group/add/"}
        page = await client.post("/admin/login/", data={**form, "csrfmiddlewaretoken": client.cookies["csrftoken"]})
        group = {"name": "readers", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        with no_majority(wire, "insert"):
            refused = await client.post("/admin/auth/group/add/", data=group)

    assert (page.status_code, page.url.path) == (200, "/admin/auth/group/add/")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert "Internal Server Error" not in server.log
