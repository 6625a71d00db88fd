"""Tests of each event that clients send: what it does, who is told, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import tokens
from accounts.models import Session, User
from chatproject.ids import uuid7
from messaging import keys, services
from messaging.models import Chat, Membership, Message
from realtime.engine import Engine
from tests.realtime.client import Client
from tests.realtime.conftest import Connect, Person, make_person, sign_in


@pytest.fixture
async def trio(connect: Connect, chat: Chat, ada: Person, bob: Person, eve: Person) -> tuple[Client, Client, Client]:
    """Sockets of Ada, of Bob, who shares the chat with her, and of Eve, who does not."""
    sockets = (await connect(ada), await connect(bob), await connect(eve))
    for client in sockets:
        await client.events()
    return sockets


Trio = tuple[Client, Client, Client]


async def say(client: Client, chat: Chat, content: str = "hello", **more: Any) -> dict[str, Any]:
    """Send a message and return it as acked."""
    answer = await client.ok("message:send", {"chatId": str(chat.id), "content": content, **more})
    return dict(answer["message"])


# --- message:send -----------------------------------------------------------------------------------------------------


async def test_sending(trio: Trio, connect: Connect, chat: Chat, ada: Person, bob: Person) -> None:
    """The sender gets the ack alone, their other socket and the other member the event, a stranger nothing."""
    on_ada, on_bob, on_eve = trio
    phone = await connect(ada)
    client_id = str(uuid7())

    answer = await on_ada.ok("message:send", {"chatId": str(chat.id), "content": "hé ☕", "clientId": client_id})

    message = answer["message"]
    assert answer["duplicate"] is False
    expected = {
        "chatId": str(chat.id),
        "senderId": str(ada.id),
        "receiverId": str(bob.id),
        "content": "hé ☕",
        "type": "text",
        "read": False,
        "seq": 1,
        "rev": 1,
        "clientId": client_id,
        "editedAt": None,
        "deletedAt": None,
        "attachment": None,
        "system": None,
        "unreadable": False,
    }
    assert {key: value for key, value in message.items() if key not in ("id", "timestamp")} == expected
    assert await on_bob.event("message:receive") == message
    assert await phone.event("message:receive") == message
    assert "message:receive" not in await on_ada.events()
    assert await on_eve.events() == []


async def test_sending_to_a_person_opens_the_chat(live: Engine, trio: Trio, ada: Person, eve: Person) -> None:
    """The first message to somebody; the second goes into the same chat."""
    on_ada, on_bob, on_eve = trio

    first = (await on_ada.ok("message:send", {"receiverId": str(eve.id), "content": "hi"}))["message"]
    second = (await on_ada.ok("message:send", {"receiverId": str(eve.id), "content": "there"}))["message"]

    assert first["chatId"] == second["chatId"]
    assert (await on_eve.event("message:receive"))["id"] == first["id"]
    assert "message:receive" not in await on_bob.events()


async def test_sending_again_after_no_ack(live: Engine, trio: Trio, chat: Chat, ada: Person) -> None:
    """The same client id gives the first message as a duplicate, and nobody hears of it twice."""
    on_ada, on_bob, _ = trio
    client_id = str(uuid7())
    first = await say(on_ada, chat, "once", clientId=client_id)
    await on_bob.event("message:receive")

    again = await on_ada.ok("message:send", {"chatId": str(chat.id), "content": "other", "clientId": client_id})

    assert again["duplicate"] is True
    assert again["message"]["id"] == first["id"]
    assert again["message"]["content"] == "once"
    assert await on_bob.events() == []
    assert await live.in_database(Message.objects.count) == 1


async def test_sending_again_after_a_restart(trio: Trio, chat: Chat) -> None:
    """A process that has just started has no key in memory; the first message is decrypted and acked all the same."""
    on_ada, _, _ = trio
    client_id = str(uuid7())
    first = await say(on_ada, chat, "once", clientId=client_id)
    keys.forget()

    again = await on_ada.ok("message:send", {"chatId": str(chat.id), "content": "once", "clientId": client_id})

    assert again == {"message": first, "duplicate": True}


async def test_what_cannot_be_sent(live: Engine, trio: Trio, chat: Chat, ada: Person, bob: Person) -> None:
    """Each refusal names its reason, stores nothing and is told to nobody."""
    on_ada, on_bob, on_eve = trio
    here, nowhere = str(chat.id), str(uuid7())

    assert await on_eve.refused("message:send", {"chatId": here, "content": "let me in"}) == "chat_not_found"
    assert await on_eve.refused("message:send", {"chatId": nowhere, "content": "x"}) == "chat_not_found"
    assert await on_ada.refused("message:send", {"receiverId": nowhere, "content": "x"}) == "user_not_found"
    for data in (
        {"content": "x"},
        {"chatId": here, "receiverId": str(bob.id), "content": "x"},
        {"receiverId": str(ada.id), "content": "x"},
        {"chatId": here, "content": ""},
        {"chatId": here, "content": " \n"},
        {"chatId": here, "content": "a\0b"},
        {"chatId": here, "content": "x" * (16 * 1024 + 1)},
        {"chatId": here, "content": "x", "type": "system"},
        {"chatId": here, "content": "x", "type": "image", "attachmentId": nowhere},
        {"chatId": here, "content": "x", "senderId": str(bob.id)},
    ):
        assert await on_ada.refused("message:send", data) == "invalid", data

    assert await on_bob.events() == []
    assert await live.in_database(Message.objects.count) == 0


async def test_the_longest_message(trio: Trio, chat: Chat) -> None:
    """16 KiB of text, byte for byte, line ends and blanks included."""
    on_ada, on_bob, _ = trio
    content = " \r\n\t☕" + "é" * 8_180 + " "

    await say(on_ada, chat, content)

    assert (await on_bob.event("message:receive"))["content"] == content


async def test_a_reused_client_id(live: Engine, trio: Trio, chat: Chat, eve: Person) -> None:
    """In another chat it is an error rather than the other chat's message."""
    on_ada, _, _ = trio
    client_id = str(uuid7())
    await say(on_ada, chat, clientId=client_id)

    data = {"receiverId": str(eve.id), "content": "x", "clientId": client_id}

    assert await on_ada.refused("message:send", data) == "client_id_reused"


# --- message:update and message:delete --------------------------------------------------------------------------------


async def test_editing(trio: Trio, chat: Chat) -> None:
    """Every member's every socket gets the message with its new rev."""
    on_ada, on_bob, on_eve = trio
    message = await say(on_ada, chat)

    data = {"chatId": str(chat.id), "messageId": message["id"], "content": "hello!"}
    edited = (await on_ada.ok("message:update", data))["message"]

    assert (edited["content"], edited["seq"], edited["rev"]) == ("hello!", 1, 2)
    assert edited["editedAt"]
    assert await on_bob.event("message:update") == edited
    assert await on_ada.event("message:update") == edited
    assert await on_eve.events() == []


async def test_deleting(trio: Trio, chat: Chat) -> None:
    """The tombstone keeps its place and no content; deleting again is told to nobody."""
    on_ada, on_bob, on_eve = trio
    message = await say(on_ada, chat)
    data = {"chatId": str(chat.id), "messageId": message["id"]}

    deleted = (await on_ada.ok("message:delete", data))["message"]

    assert (deleted["content"], deleted["seq"], deleted["rev"]) == ("", 1, 2)
    assert await on_bob.event("message:delete") == deleted
    assert await on_ada.event("message:delete") == deleted
    await on_bob.events()
    assert (await on_ada.ok("message:delete", data))["message"] == deleted
    assert "message:delete" not in await on_bob.events()
    assert await on_eve.events() == []


async def test_what_cannot_be_changed(trio: Trio, chat: Chat) -> None:
    """Another's message, another's chat, what is not there, what is deleted, and no content."""
    on_ada, on_bob, on_eve = trio
    message = await say(on_ada, chat)
    await on_bob.event("message:receive")
    here = {"chatId": str(chat.id), "messageId": message["id"]}
    missing = {**here, "messageId": str(uuid7())}

    for event, more in (("message:update", {"content": "x"}), ("message:delete", {})):
        assert await on_bob.refused(event, {**here, **more}) == "not_message_sender"
        assert await on_eve.refused(event, {**here, **more}) == "chat_not_found"
        assert await on_ada.refused(event, {**missing, **more}) == "message_not_found"
    assert await on_ada.refused("message:update", {**here, "content": ""}) == "invalid"
    await on_ada.ok("message:delete", here)
    assert await on_ada.refused("message:update", {**here, "content": "x"}) == "message_deleted"

    assert await on_bob.events() == ["message:delete"]


# --- message:read and message:delivered -------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "marks"), [("message:read", (2, 2)), ("message:delivered", (2, 0))])
async def test_receipts(trio: Trio, chat: Chat, bob: Person, event: str, marks: tuple[int, int]) -> None:
    """Both members see the marks; they only grow, and a mark that does not grow is told to nobody."""
    on_ada, on_bob, on_eve = trio
    for content in "abc":
        await say(on_ada, chat, content)

    answer = await on_bob.ok(event, {"chatId": str(chat.id), "seq": 2})

    assert answer == {
        "chatId": str(chat.id),
        "userId": str(bob.id),
        "deliveredSeq": marks[0],
        "readSeq": marks[1],
    }
    assert await on_ada.event(event) == {**answer, "rev": 3}
    assert await on_bob.event(event) == {**answer, "rev": 3}
    await on_ada.events()
    assert await on_bob.ok(event, {"chatId": str(chat.id), "seq": 1}) == answer
    assert await on_ada.events() == []
    assert await on_eve.events() == []


async def test_receipts_beyond_the_end(live: Engine, trio: Trio, chat: Chat, bob: Person) -> None:
    """Nobody has read what is not written; strangers have read nothing."""
    on_ada, on_bob, on_eve = trio
    await say(on_ada, chat)

    assert (await on_bob.ok("message:read", {"chatId": str(chat.id), "seq": 2**53 - 1}))["readSeq"] == 1
    for event in ("message:read", "message:delivered"):
        assert await on_eve.refused(event, {"chatId": str(chat.id), "seq": 1}) == "chat_not_found"
        assert await on_bob.refused(event, {"chatId": str(chat.id), "seq": -1}) == "invalid"
    assert await live.in_database(Membership.objects.filter(chat_id=chat.id).count) == 2


# --- user:status ------------------------------------------------------------------------------------------------------


async def test_choosing_a_status(live: Engine, trio: Trio, connect: Connect, ada: Person) -> None:
    """Peers and one's own devices are told, strangers are not."""
    on_ada, on_bob, on_eve = trio
    phone = await connect(ada)

    assert await on_ada.ok("user:status", {"status": "away"}) == {"status": "away"}

    for client in (on_bob, on_ada, phone):
        assert (await client.event("user:status", userId=str(ada.id)))["status"] == "away"
    assert await live.in_database(lambda: User.objects.get(pk=ada.id).chosen_status) == "away"
    assert await on_eve.events() == []


# --- session:renew ----------------------------------------------------------------------------------------------------


async def test_renewing_the_session(live: Engine, trio: Trio, ada: Person) -> None:
    """The socket lives on with the new token's time."""
    on_ada, _, _ = trio
    (socket,) = live.hub.sockets_of(ada.id)
    socket.expires_at = timezone.now() + timedelta(seconds=5)

    answer = await on_ada.ok(
        "session:renew",
        {"accessToken": tokens.new_access_token(user_id=ada.id, session_id=ada.session_id)},
    )

    assert 590 <= answer["expiresIn"] <= 600
    assert socket.expires_at > timezone.now() + timedelta(minutes=9)


async def test_tokens_that_renew_nothing(live: Engine, trio: Trio, ada: Person, bob: Person) -> None:
    """No token, somebody else's, another session's of one's own, one of a session that has ended."""
    on_ada, _, _ = trio
    (socket,) = live.hub.sockets_of(ada.id)
    before = socket.expires_at
    other_session = await live.in_database(sign_in, ada.id)

    assert await on_ada.refused("session:renew", {"accessToken": "nonsense"}) == "invalid_token"
    assert await on_ada.refused("session:renew", {"accessToken": bob.token}) == "session_ended"
    assert await on_ada.refused("session:renew", {"accessToken": other_session.token}) == "session_ended"
    await live.in_database(Session.objects.filter(pk=ada.session_id).update, ended_at=timezone.now())
    assert await on_ada.refused("session:renew", {"accessToken": ada.token}) == "session_ended"

    assert socket.expires_at == before


# --- Groups -----------------------------------------------------------------------------------------------------------


async def test_a_member_who_is_removed(live: Engine, trio: Trio, ada: Person, bob: Person, eve: Person) -> None:
    """From then on they get nothing of the chat but the word that they are out."""
    on_ada, on_bob, on_eve = trio
    group, _ = await live.in_database(
        services.create_chat, creator_id=ada.id, participant_ids=[bob.id, eve.id], title="Plans"
    )
    assert (await on_bob.event("message:receive"))["system"]["action"] == "created"
    assert (await on_eve.event("message:receive"))["system"]["action"] == "created"

    await live.in_database(services.remove_member, chat_id=group.id, user_id=ada.id, member_id=eve.id)
    await on_eve.event("chat:removed", chatId=str(group.id))
    await on_eve.events()
    await say(on_ada, group, "without Eve")

    await on_bob.event("message:receive", content="without Eve")
    assert await on_eve.events() == []
    assert await on_eve.refused("message:send", {"chatId": str(group.id), "content": "x"}) == "chat_not_found"


async def test_a_group_message_has_no_receiver(live: Engine, trio: Trio, ada: Person, bob: Person) -> None:
    """It reaches every member."""
    on_ada, on_bob, _ = trio
    carol = await live.in_database(make_person, "carol")
    group, _ = await live.in_database(
        services.create_chat, creator_id=ada.id, participant_ids=[bob.id, carol.id], title="Plans"
    )

    message = await say(on_ada, group)

    assert message["receiverId"] is None
    assert await on_bob.event("message:receive", content="hello") == message


async def test_ping(trio: Trio) -> None:
    """A sign of life, answered with one."""
    assert await trio[0].ok("ping") == {}
