"""What tests of encrypted data start from: people, chats with their keys, and messages, made without the services."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

from django.db import connection

from accounts.models import User
from chatproject import db
from chatproject.ids import uuid7
from messaging import keys
from messaging.models import Chat, ChatKind, Membership, Message

OLD_KEY, NEW_KEY = b"\x11" * 32, b"\x22" * 32

_numbers = count(1)


def person(name: str) -> User:
    """Make somebody."""
    return User.objects.create_user(username=name, email=f"{name}@example.org", password=None)


def chat_of(*members: User, title: str | None = None) -> Chat:
    """Make a group with its key."""
    chat = Chat(kind=ChatKind.GROUP, title=title)
    with db.atomic():
        keys.create([chat.id])
        chat.save(force_insert=True)
        Membership.objects.bulk_create(Membership(chat=chat, user=one) for one in members)
    return chat


def message_in(chat: Chat, sender: User, content: str, **fields: Any) -> Message:
    """Store a message."""
    number = next(_numbers)
    return Message.objects.create(chat=chat, sender=sender, content=content, seq=number, rev=number, **fields)


def raw(table: str, column: str, row_id: UUID) -> bytes | None:
    """Return a stored value as the database holds it, past the field."""
    if connection.vendor == "mongodb":
        found = connection.get_collection(table).find_one({"_id": row_id.hex})
        value = None if found is None else found.get(column)
    else:
        with connection.cursor() as cursor:
            row_key = row_id.hex if connection.vendor == "sqlite" else row_id
            cursor.execute(f'SELECT "{column}" FROM "{table}" WHERE "_id" = %s', [row_key])
            value = cursor.fetchone()[0]
    return None if value is None else bytes(value)


def fresh_id() -> UUID:
    """Return an id that nothing has."""
    return uuid7()
