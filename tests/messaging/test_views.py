"""Tests of the REST door of chats and messages: every call's answer, and every bad input's refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator, FormatChecker
from rest_framework.test import APIClient

from chatproject.ids import uuid7
from chatproject.limits import Rule
from messaging import services
from messaging.drafts import CONTENT_BYTES
from messaging.models import Chat, ChatKey, Membership, Message, Role
from tests.messaging.conftest import NOWHERE, Announced, Person, open_direct, open_group, say
from tests.messaging.test_urls import error_of

MESSAGE = [
    *("id", "chatId", "senderId", "receiverId", "content", "type", "timestamp", "read"),
    *("seq", "rev", "clientId", "editedAt", "deletedAt", "attachment", "system", "unreadable"),
]
CHAT = ["id", "kind", "title", "createdAt", "rev", "members"]
MEMBER = ["userId", "role", "deliveredSeq", "readSeq", "joinedAt", "user"]


def counts() -> tuple[int, ...]:
    """Return how many rows each table of chats has, and the sum of the counters."""
    counters = sum(Chat.objects.values_list("counter", flat=True))
    return (*(model.objects.count() for model in (Chat, ChatKey, Membership, Message)), counters)


def refused(response: Any, status: int, code: str, *fields: str) -> None:
    """Check a refusal: its status, its code, and exactly which fields are at fault."""
    assert response.status_code == status, response.content
    error = error_of(response)
    assert error["code"] == code
    assert set(error["fields"]) == set(fields), error["fields"]
    assert all(problem["code"] and problem["message"] for found in error["fields"].values() for problem in found)


# --- Sending ----------------------------------------------------------------------------------------------------------


def test_a_message_to_a_person_opens_the_chat(published: Announced, ada: Person, grace: Person) -> None:
    """201 with the message; both are told."""
    response = ada.api.post(
        "/chat/message", {"receiverId": str(grace.id), "content": "Tea at four? ☕", "type": "text"}
    )

    assert response.status_code == 201
    body = response.json()
    assert list(body) == MESSAGE
    assert (body["senderId"], body["receiverId"]) == (str(ada.id), str(grace.id))
    assert (body["content"], body["type"], body["read"], body["seq"]) == ("Tea at four? ☕", "text", False, 1)
    assert counts() == (1, 1, 2, 1, 1)
    assert published.told() == [("message:receive", {ada.id, grace.id})]
    assert published.events[0].data() == body


def test_a_message_to_a_chat(published: Announced, ada: Person, grace: Person, alan: Person, group: Chat) -> None:
    """The sender of the body is always the holder of the token."""
    published.clear()

    response = grace.api.post("/chat/message", {"chatId": str(group.id), "content": "  kept as it is \n"})

    assert response.status_code == 201
    assert response.json()["content"] == "  kept as it is \n"
    assert (response.json()["senderId"], response.json()["receiverId"]) == (str(grace.id), None)
    assert published.told() == [("message:receive", {ada.id, grace.id, alan.id})]


@pytest.mark.parametrize("way", ["body", "header", "both"])
def test_a_repeated_send(published: Announced, ada: Person, direct: Chat, way: str) -> None:
    """201 and then 200, with the same message, by either way of giving the key."""
    key = str(uuid7())
    body = {"chatId": str(direct.id), "content": "once"} | ({"clientId": key} if way != "header" else {})
    headers = {"Idempotency-Key": key} if way != "body" else {}

    first = ada.api.post("/chat/message", body, headers=headers)
    second = ada.api.post("/chat/message", body, headers=headers)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.json()["clientId"] == key
    assert Message.objects.count() == len(published.events) == 1


def test_a_repeat_shows_the_message_as_it_is_now(ada: Person, grace: Person, direct: Chat) -> None:
    """Edited and read meanwhile."""
    key = str(uuid7())
    body = {"chatId": str(direct.id), "content": "once", "clientId": key}
    first = ada.api.post("/chat/message", body).json()
    grace.api.post(f"/chat/{direct.id}/read", {"seq": 1})
    ada.api.patch(f"/chat/{direct.id}/message/{first['id']}", {"content": "edited"})

    again = ada.api.post("/chat/message", body).json()

    assert (again["content"], again["read"], again["rev"]) == ("edited", True, 2)


@pytest.mark.parametrize(
    ("key", "client_id"), [("x", None), ("", None), (str(NOWHERE)[:-1], None), (str(NOWHERE), str(UUID(int=7)))]
)
def test_a_bad_idempotency_key(ada: Person, direct: Chat, key: str, client_id: str | None) -> None:
    """It is a UUID, and agrees with the body."""
    body = {"chatId": str(direct.id), "content": "x"} | ({"clientId": client_id} if client_id else {})

    refused(ada.api.post("/chat/message", body, headers={"Idempotency-Key": key}), 400, "invalid", "clientId")

    assert not Message.objects.exists()


def test_a_key_used_in_another_chat(ada: Person, alan: Person, direct: Chat) -> None:
    """409, and no chat is opened for it."""
    message = say(ada, direct)
    before = counts()

    response = ada.api.post(
        "/chat/message", {"receiverId": str(alan.id), "content": "x", "clientId": str(message.client_id)}
    )

    refused(response, 409, "client_id_reused")
    assert counts() == before


BAD_SENDS: list[tuple[dict[str, Any], int, str, tuple[str, ...]]] = [
    ({"content": None}, 400, "invalid", ("content",)),
    ({"content": 5}, 400, "invalid", ("content",)),
    ({"content": True}, 400, "invalid", ("content",)),
    ({"content": ["x"]}, 400, "invalid", ("content",)),
    ({"content": {"a": "b"}}, 400, "invalid", ("content",)),
    ({"content": ""}, 400, "invalid", ("content",)),
    ({"content": " \t\n\u3000"}, 400, "invalid", ("content",)),
    ({"content": "a\0b"}, 400, "invalid", ("content",)),
    ({"content": "\ud83d"}, 400, "invalid", ("content",)),
    ({"content": "x" * (CONTENT_BYTES + 1)}, 400, "invalid", ("content",)),
    ({"content": "☕" * (CONTENT_BYTES // 3) + "xx"}, 400, "invalid", ("content",)),
    ({"content": "x" * 250_000}, 400, "invalid", ("content",)),
    ({"type": "system"}, 400, "invalid", ("type",)),
    ({"type": "TEXT"}, 400, "invalid", ("type",)),
    ({"type": 1}, 400, "invalid", ("type",)),
    ({"type": None}, 400, "invalid", ("type",)),
    ({"type": "\ud83d"}, 400, "invalid", ("type",)),
    ({"chatId": "x"}, 400, "invalid", ("chatId",)),
    ({"chatId": 5}, 400, "invalid", ("chatId",)),
    ({"chatId": None}, 400, "invalid", ("chatId",)),
    ({"chatId": "\ud83d"}, 400, "invalid", ("chatId",)),
    ({"chatId": str(NOWHERE)}, 404, "chat_not_found", ()),
    ({"clientId": "x"}, 400, "invalid", ("clientId",)),
    ({"clientId": 1.5}, 400, "invalid", ("clientId",)),
    ({"attachmentId": str(NOWHERE)}, 400, "invalid", ("attachmentId",)),
    ({"attachmentId": str(NOWHERE), "type": "file"}, 400, "invalid", ("attachmentId",)),
    ({"attachmentId": []}, 400, "invalid", ("attachmentId",)),
    ({"senderId": str(NOWHERE)}, 400, "invalid", ("senderId",)),
    ({"timestamp": "2020-01-01T00:00:00Z", "seq": 1, "x": 2}, 400, "invalid", ("timestamp", "seq", "x")),
    ({"\ud83d": 1}, 400, "invalid", ("\\ud83d",)),
    ({"x": 1, "content": 5}, 400, "invalid", ("x", "content")),
    ({"receiverId": str(NOWHERE)}, 400, "invalid", ("chatId",)),
]


@pytest.mark.parametrize(("changes", "status", "code", "fields"), BAD_SENDS)
def test_bad_sends(
    published: Announced,
    ada: Person,
    direct: Chat,
    changes: dict[str, Any],
    status: int,
    code: str,
    fields: tuple[str, ...],
) -> None:
    """Each names the fields at fault; nothing is stored and nobody is told."""
    before = counts()

    response = ada.api.post("/chat/message", {"chatId": str(direct.id), "content": "x", **changes})

    refused(response, status, code, *fields)
    assert counts() == before
    assert published.events == []


@pytest.mark.parametrize("receiver", ["oneself", "nobody", "inactive", "no id"])
def test_bad_receivers(published: Announced, ada: Person, mallory: Person, receiver: str) -> None:
    """Oneself, somebody unknown or gone, and what is no id; no chat is opened."""
    type(mallory.user).objects.filter(pk=mallory.id).update(is_active=False)
    value = {"oneself": ada.id, "nobody": NOWHERE, "inactive": mallory.id, "no id": "grace"}[receiver]

    response = ada.api.post("/chat/message", {"receiverId": str(value), "content": "x"})

    if receiver in {"oneself", "no id"}:
        refused(response, 400, "invalid", "receiverId")
    else:
        refused(response, 404, "user_not_found")
    assert counts() == (0, 0, 0, 0, 0)
    assert published.events == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid"),
        (b"{}", "invalid"),
        (b"null", "invalid"),
        (b"[]", "invalid"),
        (b'"x"', "invalid"),
        (b"5", "invalid"),
        (b"{", "malformed_json"),
        (b"{'content': 'x'}", "malformed_json"),
        (b'{"content": NaN}', "malformed_json"),
        (b'{"content": Infinity}', "malformed_json"),
        (b'{"content": "\xff"}', "malformed_json"),
        (b'{"content": "\xed\xa0\xbd"}', "malformed_json"),
        (b"\xff\xfe{\x00}\x00", "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"content":' * 20_000, "malformed_json"),
        (b'{"content": ' + b"9" * 10_000 + b"}", "malformed_json"),
    ],
)
def test_bodies_that_are_no_message(ada: Person, body: bytes, code: str) -> None:
    """Whatever arrives, it is the client's mistake and never a 500."""
    response = ada.api.post("/chat/message", body, content_type="application/json")

    assert response.status_code == 400
    assert error_of(response)["code"] == code
    assert counts() == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"])
def test_other_media_types(ada: Person, media_type: str) -> None:
    """415: forms of other sites cannot send."""
    refused(ada.api.post("/chat/message", b"{}", content_type=media_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("charset", ["rot13", "zip", "utf-16", "undefined", "x" * 100])
def test_the_client_chooses_no_codec(ada: Person, direct: Chat, charset: str) -> None:
    """JSON is UTF-8; Python's codecs would unpack an archive or fail."""
    body = json.dumps({"chatId": str(direct.id), "content": "☕"}).encode()

    response = ada.api.post("/chat/message", body, content_type=f"application/json; charset={charset}")

    assert response.status_code == 201
    assert response.json()["content"] == "☕"


def test_answers_are_utf_8(ada: Person, direct: Chat) -> None:
    """Characters go out as they are, not escaped."""
    response = ada.api.post("/chat/message", {"chatId": str(direct.id), "content": "👩‍💻 مرحبا"})

    assert "👩‍💻 مرحبا".encode() in response.content


# --- Editing and deleting ---------------------------------------------------------------------------------------------


def test_a_message_is_edited_and_deleted(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """Both answer with the message as it is then, and tell both people."""
    path = f"/chat/{direct.id}/message/{say(ada, direct).id}"
    published.clear()

    edited = ada.api.patch(path, {"content": "At five."})
    deleted = ada.api.delete(path)

    assert (edited.status_code, deleted.status_code) == (200, 200)
    assert list(edited.json()) == list(deleted.json()) == MESSAGE
    assert (edited.json()["content"], edited.json()["rev"]) == ("At five.", 2)
    assert edited.json()["editedAt"] is not None
    assert (deleted.json()["content"], deleted.json()["rev"]) == ("", 3)
    assert deleted.json()["deletedAt"] is not None
    assert published.told() == [("message:update", {ada.id, grace.id}), ("message:delete", {ada.id, grace.id})]
    refused(ada.api.patch(path, {"content": "back"}), 409, "message_deleted")
    assert ada.api.delete(path).json() == deleted.json()


@pytest.mark.parametrize("message_id", [str(NOWHERE), "x"])
def test_messages_that_are_not_there(ada: Person, direct: Chat, message_id: str) -> None:
    """404, also for what is no id."""
    for call in (lambda path: ada.api.patch(path, {"content": "x"}), ada.api.delete):
        refused(call(f"/chat/{direct.id}/message/{message_id}"), 404, "message_not_found")


def test_somebody_else_s_message(ada: Person, grace: Person, direct: Chat) -> None:
    """Visible, so 403."""
    path = f"/chat/{direct.id}/message/{say(ada, direct).id}"

    for call in (lambda path: grace.api.patch(path, {"content": "x"}), grace.api.delete):
        refused(call(path), 403, "not_message_sender")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ("content",)),
        ({"content": ""}, ("content",)),
        ({"content": "\0"}, ("content",)),
        ({"content": "x" * (CONTENT_BYTES + 1)}, ("content",)),
        ({"content": "x", "type": "image"}, ("type",)),
    ],
)
def test_bad_edits(published: Announced, ada: Person, direct: Chat, body: dict[str, Any], fields: tuple[str]) -> None:
    """The rules of content, and nothing but the content."""
    message = say(ada, direct)
    published.clear()

    refused(ada.api.patch(f"/chat/{direct.id}/message/{message.id}", body), 400, "invalid", *fields)

    assert Message.objects.get().rev == 1
    assert published.events == []


# --- Chats ------------------------------------------------------------------------------------------------------------


def test_a_direct_chat_is_opened_once(published: Announced, ada: Person, grace: Person) -> None:
    """201, then 200 from either side, with the chat as the inbox shows it."""
    first = ada.api.post("/chat", {"participantIds": [str(grace.id)]})
    second = grace.api.post("/chat", {"participantIds": [str(ada.id)]})

    assert (first.status_code, second.status_code) == (201, 200)
    body = first.json()
    assert list(body) == [*CHAT, "lastMessage", "unreadCount"]
    assert [list(one) for one in body["members"]] == [MEMBER, MEMBER]
    assert (body["kind"], body["title"], body["lastMessage"], body["unreadCount"]) == ("direct", None, None, 0)
    assert second.json()["id"] == body["id"]
    assert published.events == []


def test_a_group_is_opened(published: Announced, ada: Person, grace: Person, alan: Person) -> None:
    """With its title, and everybody is told."""
    response = ada.api.post("/chat", {"participantIds": [str(grace.id), str(alan.id)], "title": "Tea ☕"})

    assert response.status_code == 201
    body = response.json()
    assert (body["kind"], body["title"], body["rev"]) == ("group", "Tea ☕", 1)
    assert {one["userId"]: one["role"] for one in body["members"]} == {
        str(ada.id): "owner",
        str(grace.id): "member",
        str(alan.id): "member",
    }
    assert body["lastMessage"]["system"]["action"] == "created"
    assert published.told() == [("message:receive", {ada.id, grace.id, alan.id})]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ("participantIds",)),
        ({"participantIds": []}, ("participantIds",)),
        ({"participantIds": "x"}, ("participantIds",)),
        ({"participantIds": {"0": str(NOWHERE)}}, ("participantIds",)),
        ({"participantIds": None}, ("participantIds",)),
        ({"participantIds": ["x", 5, None]}, ("participantIds.0", "participantIds.1", "participantIds.2")),
        ({"participantIds": [[str(NOWHERE)]]}, ("participantIds.0",)),
        ({"participantIds": [str(NOWHERE)] * 2001}, ("participantIds",)),
        ({"participantIds": [str(NOWHERE)], "title": ""}, ("title",)),
        ({"participantIds": [str(NOWHERE)], "title": "  "}, ("title",)),
        ({"participantIds": [str(NOWHERE)], "title": 5}, ("title",)),
        ({"participantIds": [str(NOWHERE)], "title": "a\0"}, ("title",)),
        ({"participantIds": [str(NOWHERE)], "title": "\udc00"}, ("title",)),
        ({"participantIds": [str(NOWHERE)], "title": "x" * 101}, ("title",)),
        ({"participantIds": [str(NOWHERE)], "kind": "group"}, ("kind",)),
    ],
)
def test_bad_chats(published: Announced, ada: Person, body: dict[str, Any], fields: tuple[str, ...]) -> None:
    """Nothing is opened."""
    refused(ada.api.post("/chat", body), 400, "invalid", *fields)

    assert counts() == (0, 0, 0, 0, 0)
    assert published.events == []


def test_chats_with_nobody(ada: Person) -> None:
    """Oneself is refused by name, somebody unknown is not found."""
    refused(ada.api.post("/chat", {"participantIds": [str(ada.id)]}), 400, "invalid", "participantIds")
    refused(ada.api.post("/chat", {"participantIds": [str(NOWHERE)]}), 404, "user_not_found")
    assert counts() == (0, 0, 0, 0, 0)


def test_the_inbox_and_its_pages(ada: Person, person: Callable[[str], Person]) -> None:
    """`{chats, nextCursor}`, newest first, until the cursor is null."""
    for number in range(3):
        friend = person(f"friend{number}")
        say(friend, open_direct(ada, friend), f"hello {number}")

    first = ada.api.get("/chat", {"limit": 2}).json()
    second = ada.api.get("/chat", {"limit": 2, "cursor": first["nextCursor"]}).json()

    assert list(first) == ["chats", "nextCursor"]
    assert list(first["chats"][0]) == [*CHAT, "lastMessage", "unreadCount"]
    shown = [chat["lastMessage"]["content"] for chat in first["chats"] + second["chats"]]
    assert shown == ["hello 2", "hello 1", "hello 0"]
    assert [chat["unreadCount"] for chat in first["chats"]] == [1, 1]
    assert second["nextCursor"] is None


@pytest.mark.parametrize(
    ("query", "code", "fields"),
    [
        ("cursor=x", "invalid_cursor", ()),
        (f"cursor={NOWHERE}", "invalid_cursor", ()),
        ("cursor=", "invalid", ("cursor",)),
        ("cursor=%00", "invalid", ("cursor",)),
        ("limit=0", "invalid", ("limit",)),
        ("limit=101", "invalid", ("limit",)),
        ("limit=-1", "invalid", ("limit",)),
        ("limit=x", "invalid", ("limit",)),
        ("limit=", "invalid", ("limit",)),
        ("limit=1e9", "invalid", ("limit",)),
        ("limit=" + "9" * 2000, "invalid", ("limit",)),
        ("offset=3", "invalid", ("offset",)),
    ],
)
def test_bad_queries_of_the_inbox(ada: Person, query: str, code: str, fields: tuple[str, ...]) -> None:
    """400, naming the parameter."""
    refused(ada.api.get(f"/chat?{query}"), 400, code, *fields)


def test_history_and_changes(ada: Person, grace: Person, direct: Chat) -> None:
    """The newest page, the page before, and what changed since."""
    for number in range(5):
        say(ada, direct, str(number))

    newest = grace.api.get(f"/chat/{direct.id}", {"limit": 2}).json()
    before = grace.api.get(f"/chat/{direct.id}", {"limit": 2, "before": newest["messages"][0]["seq"]}).json()
    after = grace.api.get(f"/chat/{direct.id}", {"after": 4}).json()

    assert list(newest) == ["chat", "messages", "hasMore", "rev"]
    assert list(newest["chat"]) == CHAT
    assert list(newest["messages"][0]) == MESSAGE
    assert [one["content"] for one in before["messages"] + newest["messages"]] == ["1", "2", "3", "4"]
    assert (newest["hasMore"], newest["rev"]) == (True, 5)
    assert [one["rev"] for one in after["messages"]] == [5]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("before=1&after=1", ("after",)),
        ("before=-1", ("before",)),
        ("after=-1", ("after",)),
        ("after=x", ("after",)),
        ("before=1.5", ("before",)),
        (f"before={2**53}", ("before",)),
        (f"after={2**63}", ("after",)),
        ("before=" + "9" * 5000, ("before",)),
        ("limit=0", ("limit",)),
        ("limit=101", ("limit",)),
        ("page=2", ("page",)),
        ("before=%00", ("before",)),
        ("before=%ED%A0%80", ("before",)),
    ],
)
def test_bad_queries_of_a_chat(ada: Person, direct: Chat, query: str, fields: tuple[str, ...]) -> None:
    """400, naming the parameter."""
    refused(ada.api.get(f"/chat/{direct.id}?{query}"), 400, "invalid", *fields)


def test_a_group_is_renamed_and_erased(
    published: Announced, ada: Person, grace: Person, alan: Person, group: Chat
) -> None:
    """200 with the chat, then 204, then it is not there."""
    published.clear()

    renamed = ada.api.patch(f"/chat/{group.id}", {"title": "Coffee"})
    erased = ada.api.delete(f"/chat/{group.id}")

    assert renamed.status_code == 200
    assert renamed.json()["title"] == "Coffee"
    assert (erased.status_code, erased.content) == (204, b"")
    refused(ada.api.get(f"/chat/{group.id}"), 404, "chat_not_found")
    everybody = {ada.id, grace.id, alan.id}
    assert published.told() == [("message:receive", everybody), ("chat:removed", everybody)]


@pytest.mark.parametrize(
    "body", [{}, {"title": None}, {"title": ""}, {"title": " "}, {"title": 1}, {"title": "x" * 101}]
)
def test_bad_titles(published: Announced, ada: Person, group: Chat, body: dict[str, Any]) -> None:
    """A group that has a title cannot be given none."""
    published.clear()

    refused(ada.api.patch(f"/chat/{group.id}", body), 400, "invalid", "title")

    assert Chat.objects.get().title == "Tea round"
    assert published.events == []


def test_members_come_and_go(
    published: Announced, ada: Person, grace: Person, alan: Person, mallory: Person, group: Chat
) -> None:
    """Added, given a role, removed, and leaving; each tells whom it concerns."""
    published.clear()
    path = f"/chat/{group.id}/member"

    added = ada.api.post(path, {"userIds": [str(mallory.id)]})
    promoted = ada.api.patch(f"{path}/{mallory.id}", {"role": "admin"})
    removed = mallory.api.delete(f"{path}/{alan.id}")
    left = mallory.api.delete(f"{path}/{mallory.id}")

    assert [one.status_code for one in (added, promoted, removed, left)] == [200, 200, 204, 204]
    assert list(added.json()) == [*CHAT, "lastMessage", "unreadCount"]
    roles = {one["userId"]: one["role"] for one in promoted.json()["members"]}
    assert roles[str(mallory.id)] == "admin"
    assert published.told() == [
        ("message:receive", {ada.id, grace.id, alan.id, mallory.id}),
        ("message:receive", {ada.id, grace.id, alan.id, mallory.id}),
        ("message:receive", {ada.id, grace.id, alan.id, mallory.id}),
        ("chat:removed", {alan.id}),
        ("message:receive", {ada.id, grace.id, mallory.id}),
        ("chat:removed", {mallory.id}),
    ]
    assert set(Membership.objects.values_list("user_id", flat=True)) == {ada.id, grace.id}


def test_refusals_of_groups(ada: Person, grace: Person, mallory: Person, group: Chat, direct: Chat) -> None:
    """Roles, the last owner, unknown people and direct chats, each with its code."""
    path = f"/chat/{group.id}"

    refused(grace.api.patch(path, {"title": "Mine"}), 403, "role_required")
    refused(grace.api.post(f"{path}/member", {"userIds": [str(mallory.id)]}), 403, "role_required")
    refused(grace.api.patch(f"{path}/member/{grace.id}", {"role": "owner"}), 403, "role_required")
    refused(grace.api.delete(f"{path}/member/{ada.id}"), 403, "role_required")
    refused(grace.api.delete(path), 403, "role_required")
    refused(ada.api.delete(f"{path}/member/{ada.id}"), 409, "last_owner")
    refused(ada.api.patch(f"{path}/member/{ada.id}", {"role": "member"}), 409, "last_owner")
    refused(ada.api.patch(f"{path}/member/{grace.id}", {"role": "king"}), 400, "invalid", "role")
    refused(ada.api.patch(f"{path}/member/{mallory.id}", {"role": "admin"}), 404, "user_not_found")
    refused(ada.api.delete(f"{path}/member/{mallory.id}"), 404, "user_not_found")
    refused(ada.api.delete(f"{path}/member/x"), 404, "user_not_found")
    refused(ada.api.post(f"{path}/member", {"userIds": [str(NOWHERE)]}), 404, "user_not_found")
    refused(ada.api.post(f"{path}/member", {"userIds": []}), 400, "invalid", "userIds")
    refused(ada.api.patch(f"/chat/{direct.id}", {"title": "Ours"}), 409, "direct_chat_fixed")
    refused(ada.api.delete(f"/chat/{direct.id}"), 409, "direct_chat_fixed")
    refused(ada.api.delete(f"/chat/{direct.id}/member/{ada.id}"), 409, "direct_chat_fixed")
    refused(ada.api.delete(path, {"really": True}), 400, "invalid", "really")
    assert Membership.objects.filter(chat_id=group.id).count() == 3


def test_reading(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """The answer is the watermark; the sender sees `read` afterwards."""
    say(ada, direct)
    published.clear()

    response = grace.api.post(f"/chat/{direct.id}/read", {"seq": 1})

    assert (response.status_code, list(response.json())) == (200, ["chatId", "userId", "deliveredSeq", "readSeq"])
    assert response.json()["readSeq"] == 1
    assert ada.api.get(f"/chat/{direct.id}").json()["messages"][0]["read"] is True
    assert published.told() == [("message:read", {ada.id, grace.id})]


@pytest.mark.parametrize("seq", [-1, 1.0, "1", True, None, 2**53, 2**64, [], {}])
def test_bad_marks(published: Announced, ada: Person, direct: Chat, seq: Any) -> None:
    """A whole number that every client can hold."""
    say(ada, direct)
    published.clear()

    refused(ada.api.post(f"/chat/{direct.id}/read", {"seq": seq}), 400, "invalid", "seq")

    assert published.events == []


# --- Limits and failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "call"),
    [
        (Rule.SEND, lambda api, chat: api.post("/chat/message", {"chatId": str(chat.id), "content": "x"})),
        (Rule.SEND, lambda api, chat: api.patch(f"/chat/{chat.id}/message/{NOWHERE}", {"content": "x"})),
        (Rule.COMMAND, lambda api, chat: api.post(f"/chat/{chat.id}/read", {"seq": 0})),
        (Rule.COMMAND, lambda api, chat: api.post("/chat", {"participantIds": [str(NOWHERE)]})),
        (Rule.COMMAND, lambda api, chat: api.post(f"/chat/{chat.id}/member", {"userIds": [str(NOWHERE)]})),
        (Rule.COMMAND, lambda api, chat: api.patch(f"/chat/{chat.id}", {"title": "x"})),
    ],
)
def test_calls_that_write_are_limited(
    settings: Any, ada: Person, grace: Person, direct: Chat, rule: Rule, call: Callable[[APIClient, Chat], Any]
) -> None:
    """429 with the time to wait, for this person alone, and before anything else is looked at."""
    settings.RATELIMIT_ENABLE = True
    settings.PARLEY_RATES = {rule.name: "2/h"}

    first, second, third = (call(ada.api, direct) for _ in range(3))

    assert 429 not in (first.status_code, second.status_code)
    refused(third, 429, "rate_limited")
    wait = third.json()["error"]["retryAfter"]
    assert third.headers["Retry-After"] == str(wait)
    assert 1 <= wait <= 3600
    assert call(grace.api, direct).status_code != 429


def test_an_unexpected_failure_is_a_500_that_tells_nothing(published: Announced, ada: Person, direct: Chat) -> None:
    """The one shape, no word of the cause, and nothing stored."""
    ada.api.raise_request_exception = False
    with mock.patch("messaging.services.storing.publish", side_effect=RuntimeError("SECRET CAUSE")):
        response = ada.api.post("/chat/message", {"chatId": str(direct.id), "content": "x"})

    refused(response, 500, "internal_error")
    assert "SECRET" not in response.content.decode()
    assert counts() == (1, 1, 2, 0, 0)
    assert published.events == []


# --- The document -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document, strict about fields that it does not name."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    for schema in found["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
            if not schema.get("required"):
                schema["required"] = []
    return found


def test_every_answer_is_as_documented(
    document: dict[str, Any], ada: Person, grace: Person, alan: Person, mallory: Person
) -> None:
    """A real round trip of each operation: each answer has exactly the fields of its schema, and so has a refusal."""
    group, pair = open_group(ada, grace, alan), open_direct(ada, grace)
    message = say(ada, pair)
    services.change_role(chat_id=group.id, user_id=ada.id, member_id=grace.id, role=Role.OWNER)
    chat, member, one = "/chat/{chatId}", "/chat/{chatId}/member/{userId}", "/chat/{chatId}/message/{messageId}"
    of_group = {"chatId": group.id, "userId": alan.id}
    of_message = {"chatId": pair.id, "messageId": message.id}
    calls: list[tuple[str, str, dict[str, Any], Any, int]] = [
        ("get", "/chat", {}, None, 200),
        ("post", "/chat", {}, {"participantIds": [str(mallory.id)]}, 201),
        ("post", "/chat", {}, {"participantIds": [str(mallory.id)]}, 200),
        ("get", chat, of_group, None, 200),
        ("patch", chat, of_group, {"title": "Coffee"}, 200),
        ("post", "/chat/{chatId}/read", of_group, {"seq": 1}, 200),
        ("post", "/chat/{chatId}/member", of_group, {"userIds": [str(mallory.id)]}, 200),
        ("patch", member, of_group, {"role": "admin"}, 200),
        ("delete", member, of_group, None, 204),
        ("post", "/chat/message", {}, {"chatId": str(pair.id), "content": "x", "clientId": str(NOWHERE)}, 201),
        ("post", "/chat/message", {}, {"chatId": str(pair.id), "content": "x", "clientId": str(NOWHERE)}, 200),
        ("patch", one, of_message, {"content": "y"}, 200),
        ("delete", one, of_message, None, 200),
        ("delete", chat, of_group, None, 204),
    ]

    for method, path, ids, body, status in calls:
        response = getattr(ada.api, method)(path.format(**ids), body)
        bad = getattr(ada.api, method)(path.format(chatId="x", userId="x", messageId="x"), {"x": "x"})
        assert response.status_code == status, (method, path, response.content)
        responses = document["paths"][path][method]["responses"]
        for answer in (response, bad):
            described = responses[str(answer.status_code)]
            if answer.status_code == 204:
                assert "content" not in described
                continue
            schema = described["content"]["application/json"]["schema"]
            whole = {**schema, "components": document["components"]}
            Draft202012Validator(whole, format_checker=FormatChecker()).validate(answer.json())
    described_calls = {
        (method, path) for path, methods in document["paths"].items() if path.startswith("/chat") for method in methods
    }
    assert {(method, path) for method, path, *_ in calls} == described_calls
