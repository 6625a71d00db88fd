"""A conversation from the first migration on, on the store of the run: `DATABASE_URL` alone makes the difference."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.live.clients import Talker, register

pytestmark = [pytest.mark.live, pytest.mark.everywhere]


async def test_two_people_talk(daphne: DaphneFactory) -> None:
    """Migrating, registering, talking by socket and REST, reading again after a restart; the admin answers too."""
    server = daphne(migrate=False)
    server.manage("migrate", "--verbosity", "0")
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
