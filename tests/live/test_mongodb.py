"""The same code on a server that speaks MongoDB's protocol: `DATABASE_URL` alone makes the difference."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.live.clients import Talker, register
from tests.live.server import LOOPBACK, Process, free_port

pytestmark = pytest.mark.live


@dataclass(kw_only=True)
class MongoWire(Process):
    """A server that speaks MongoDB's wire protocol, from the SecantusDB wheel."""

    port: int

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2):
                return True
        except OSError:
            return False


@pytest.fixture
def mongodb(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    port = free_port()
    executable = str(Path(sys.executable).with_name("secantusd-py"))
    storage = tmp_path / "mongodb"
    storage.mkdir()
    command = [executable, "--port", str(port), "--storage-path", str(storage)]
    with MongoWire(name="secantusd-py", command=command, log_path=tmp_path / "mongodb.log", port=port) as server:
        server.start()
        server.wait_until(server.answers)
        yield f"mongodb://{LOOPBACK}:{port}/parley"


async def test_two_people_talk_on_mongodb(daphne: DaphneFactory, mongodb: str) -> None:
    """Migrating, registering, talking by socket and REST, reading again after a restart; the admin answers too."""
    server = daphne(DATABASE_URL=mongodb)
    ada, bob = await register(server, "ada"), await register(server, "bob")
    async with Talker(server, ada) as on_ada, Talker(server, bob) as on_bob:
        stored = await on_ada.say("Tea at four?", receiverId=bob.id)
        received = await on_bob.event("message:receive")
        chat_id = received["chatId"]
        async with httpx.AsyncClient(base_url=server.url, headers=bob.headers, timeout=20) as client:
            answer = await client.post("/chat/message", json={"chatId": chat_id, "content": "Yes"})
        assert answer.status_code == 201
        assert (await on_ada.event("message:receive"))["content"] == "Yes"

    server.restart()

    async with httpx.AsyncClient(base_url=server.url, headers=ada.headers, timeout=20) as client:
        page = (await client.get(f"/chat/{chat_id}")).json()
        inbox = (await client.get("/chat")).json()["chats"]
        admin = await client.get("/admin/login/")
        ready = await client.get("/readyz")
    assert stored["id"] == page["messages"][0]["id"]
    assert [(one["seq"], one["content"]) for one in page["messages"]] == [(1, "Tea at four?"), (2, "Yes")]
    assert [chat["unreadCount"] for chat in inbox] == [1]
    assert (admin.status_code, ready.status_code) == (200, 200)
