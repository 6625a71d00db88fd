"""The shapes of what REST answers about chats and messages, with an example of each, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.schema import ID, ME, OTHER, OTHER_ID, UserSerializer
from messaging.models import ChatKind, MessageType, Role

# ruff: noqa: N815  fields are named as in the JSON


class AttachmentSerializer(serializers.Serializer[Any]):
    """A file that was sent into a chat."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    mediaType = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    url = serializers.CharField()


class SystemSerializer(serializers.Serializer[Any]):
    """What a message of type `system` tells."""

    action = serializers.ChoiceField(["created", "renamed", "added", "removed", "left", "role"])
    userId = serializers.UUIDField(allow_null=True)
    title = serializers.CharField(allow_null=True)
    role = serializers.ChoiceField(Role.values, allow_null=True)


class MessageSerializer(serializers.Serializer[Any]):
    """A message, as `representation.message_body` writes it."""

    id = serializers.UUIDField()
    chatId = serializers.UUIDField()
    senderId = serializers.UUIDField()
    receiverId = serializers.UUIDField(allow_null=True)
    content = serializers.CharField(allow_null=True)
    type = serializers.ChoiceField(MessageType.values)
    timestamp = serializers.DateTimeField()
    read = serializers.BooleanField()
    seq = serializers.IntegerField()
    rev = serializers.IntegerField()
    clientId = serializers.UUIDField()
    editedAt = serializers.DateTimeField(allow_null=True)
    deletedAt = serializers.DateTimeField(allow_null=True)
    attachment = AttachmentSerializer(allow_null=True)
    system = SystemSerializer(allow_null=True)
    unreadable = serializers.BooleanField()


class MemberSerializer(serializers.Serializer[Any]):
    """A person in a chat."""

    userId = serializers.UUIDField()
    role = serializers.ChoiceField(Role.values)
    deliveredSeq = serializers.IntegerField()
    readSeq = serializers.IntegerField()
    joinedAt = serializers.DateTimeField()
    user = UserSerializer()


class ChatSerializer(serializers.Serializer[Any]):
    """A chat, as `representation.chat_body` writes it."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(ChatKind.values)
    title = serializers.CharField(allow_null=True)
    createdAt = serializers.DateTimeField()
    rev = serializers.IntegerField()
    members = MemberSerializer(many=True)


class InboxEntrySerializer(ChatSerializer):
    """A chat in the inbox."""

    lastMessage = MessageSerializer(allow_null=True)
    unreadCount = serializers.IntegerField(help_text="At most 999.")


class InboxPageSerializer(serializers.Serializer[Any]):
    """A page of the inbox."""

    chats = InboxEntrySerializer(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class ChatPageSerializer(serializers.Serializer[Any]):
    """A page of a chat's messages."""

    chat = ChatSerializer()
    messages = MessageSerializer(many=True)
    hasMore = serializers.BooleanField()
    rev = serializers.IntegerField()


class ReceiptSerializer(serializers.Serializer[Any]):
    """A member's watermarks."""

    chatId = serializers.UUIDField()
    userId = serializers.UUIDField()
    deliveredSeq = serializers.IntegerField()
    readSeq = serializers.IntegerField()


CHAT_ID = "019a8c44-2c5e-7f3a-8d11-7e6f5a4b3c2d"
MESSAGE_ID = "019a8c45-9b0d-7a6e-bf24-1a2b3c4d5e6f"
MESSAGE = {
    "id": MESSAGE_ID,
    "chatId": CHAT_ID,
    "senderId": ID,
    "receiverId": OTHER_ID,
    "content": "Tea at four? ☕",
    "type": "text",
    "timestamp": "2026-01-31T12:00:00.000Z",
    "read": False,
    "seq": 41,
    "rev": 41,
    "clientId": "019a8c45-9b00-7d1e-8c4f-0f1e2d3c4b5a",
    "editedAt": None,
    "deletedAt": None,
    "attachment": None,
    "system": None,
    "unreadable": False,
}


def _member(user: dict[str, Any]) -> dict[str, Any]:
    return {
        "userId": user["id"],
        "role": "member",
        "deliveredSeq": 41,
        "readSeq": 40,
        "joinedAt": "2026-01-30T08:00:00.000Z",
        "user": user,
    }


CHAT = {
    "id": CHAT_ID,
    "kind": "direct",
    "title": None,
    "createdAt": "2026-01-30T08:00:00.000Z",
    "rev": 41,
    "members": [_member(ME), _member(OTHER)],
}
ENTRY = {**CHAT, "lastMessage": MESSAGE, "unreadCount": 0}
RECEIPT = {"chatId": CHAT_ID, "userId": ID, "deliveredSeq": 41, "readSeq": 41}
