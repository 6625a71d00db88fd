"""Tests of the collections as people read them in mongosh: names of fields, types, and how `read` is found out."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest
from django.db import connection

from chatproject.ids import uuid7
from messaging import representation, selectors, services
from messaging.models import Chat
from tests.live.server import ROOT
from tests.messaging.conftest import Person, say

pytestmark = pytest.mark.django_db


def fields(table: str) -> set[str]:
    """Return the names of a table's columns, or those of its documents."""
    if connection.vendor == "mongodb":
        return {name for document in connection.database[table].find() for name in document}
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


def test_the_fields_have_the_names_of_the_specification(ada: Person, direct: Chat) -> None:
    """On each store; what is derived is not stored."""
    say(ada, direct)

    assert {"chatId", "senderId", "receiverId", "content", "type", "timestamp"} < fields("messages")
    assert {"username", "email", "password", "profilePic", "status", "lastSeen", "createdAt"} < fields("users")
    assert {"_id", "kind", "title", "counter", "lastSeq", "createdBy", "createdAt"} < fields("chats")
    assert {"chatId", "userId", "role", "deliveredSeq", "readSeq"} < fields("memberships")
    assert "read" not in fields("messages")


def test_a_message_as_a_document(ada: Person, grace: Person, direct: Chat) -> None:
    """Ids are text of 32 hexadecimal digits, times dates, the content bytes that do not hold the text."""
    message = say(ada, direct, "Tea at four?")
    if connection.vendor != "mongodb":
        assert "Tea" not in str(rows("messages"))
        return

    document = connection.database["messages"].find_one({"chatId": direct.id.hex})

    assert {name: type(value) for name, value in document.items()} == {
        **dict.fromkeys(("_id", "chatId", "senderId", "receiverId", "type", "clientId"), str),
        "content": bytes,
        "timestamp": datetime,
        **dict.fromkeys(("seq", "rev"), type(document["seq"])),
        **dict.fromkeys(("editedAt", "deletedAt", "attachmentId"), type(None)),
    }
    assert isinstance(document["seq"], int)
    assert (document["_id"], document["receiverId"]) == (message.id.hex, grace.id.hex)
    assert b"Tea" not in document["content"]


def rows(table: str) -> list[Any]:
    """Return all rows as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{table}"')
        return [[bytes(one) if isinstance(one, memoryview) else one for one in row] for row in cursor.fetchall()]


def test_whether_it_was_read_follows_from_the_memberships(ada: Person, grace: Person, direct: Chat) -> None:
    """The query of docs/operations.md says what the API says: somebody else's `readSeq` has reached its `seq`."""
    for text in ("one", "two", "three"):
        say(ada, direct, text)
    services.mark_read(chat_id=direct.id, user_id=grace.id, seq=2)

    page = selectors.history(chat_id=direct.id, user_id=ada.id, before=None, limit=9)
    shown = [body["read"] for body in representation.page_body(page, viewer_id=ada.id)["messages"]]

    assert shown == [True, True, False]
    pipeline = read_of(direct.id.hex)
    assert [next(iter(stage)) for stage in pipeline] == ["$match", "$sort", "$lookup", "$set", "$project"]
    if connection.vendor == "mongodb":
        found = list(connection.database["messages"].aggregate(pipeline))
        assert [one["read"] for one in found] == shown


def read_of(chat_id: str) -> list[dict[str, Any]]:
    """Return the pipeline of docs/operations.md, which names the chat `own[0]`."""
    page = (ROOT / "docs" / "operations.md").read_text()
    [text] = re.findall(r"^db\.messages\.aggregate\((\[.*?^\])\)$", page, re.MULTILINE | re.DOTALL)
    assert text.count("own[0]") == 1
    text = re.sub(r"//.*", "", text).replace("own[0]", json.dumps(chat_id))
    named = re.sub(r"([{,]\s*)([$\w]+):", r'\1"\2":', text)
    pipeline: list[dict[str, Any]] = json.loads(re.sub(r",\s*\]", "]", named))
    return pipeline


def test_the_queries_of_the_manual(ada: Person, grace: Person, direct: Chat) -> None:
    """Each finds what its line says."""
    say(ada, direct)
    if connection.vendor != "mongodb":
        assert len(rows("messages")) == 1
        return
    users, chats, memberships, messages = (
        connection.database[name] for name in ("users", "chats", "memberships", "messages")
    )

    found = users.find_one({"usernameKey": "ada"}, {"username": 1, "status": 1, "lastSeen": 1})
    own = [one["chatId"] for one in memberships.find({"userId": found["_id"]})]

    assert (found["_id"], own) == (ada.id.hex, [direct.id.hex])
    assert [one["_id"] for one in chats.find({"_id": {"$in": own}}).sort("activity", -1)] == own
    assert len(list(messages.find({"chatId": own[0]}, {"content": 0}).sort("seq", -1).limit(20))) == 1
    assert len(list(messages.find({"chatId": own[0], "timestamp": {"$gte": datetime(2020, 1, 1)}}))) == 1  # noqa: DTZ001
    assert messages.count_documents({"chatId": uuid7().hex}) == 0
    indexes = {tuple(index["key"]) for index in messages.list_indexes()}
    assert {("chatId", "timestamp"), ("chatId", "seq"), ("chatId", "rev"), ("clientId", "senderId")} < indexes
