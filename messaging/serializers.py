"""Checks what clients send about chats and messages; the shapes are those of docs/protocol.md."""

from __future__ import annotations

from rest_framework import serializers

from chatproject.serializers import ChoiceField, IdField, StrictSerializer, TextField, WholeNumberField
from messaging.drafts import SENDABLE
from messaging.models import MessageType, Role
from messaging.services.chats import MEMBERS_LIMIT, TITLE_LENGTH

LARGEST_NUMBER = 2**53 - 1
PAGE_LIMIT = 100


class SendSerializer(StrictSerializer):
    """`POST /chat/message`. The content's own rules are the draft's (`messaging.drafts.check`)."""

    chatId = IdField(required=False)  # noqa: N815
    receiverId = IdField(required=False)  # noqa: N815
    content = TextField(required=False, default="", allow_blank=True)
    type = ChoiceField(sorted(SENDABLE), required=False, default=MessageType.TEXT.value)
    clientId = IdField(required=False)  # noqa: N815
    attachmentId = IdField(required=False)  # noqa: N815


class EditSerializer(StrictSerializer):
    """`PATCH /chat/{chatId}/message/{messageId}`."""

    content = TextField(allow_blank=True)


class CreateChatSerializer(StrictSerializer):
    """`POST /chat`."""

    participantIds = serializers.ListField(  # noqa: N815
        child=IdField(), allow_empty=False, max_length=MEMBERS_LIMIT
    )
    title = TextField(required=False, allow_null=True, default=None, max_length=TITLE_LENGTH)


class RenameSerializer(StrictSerializer):
    """`PATCH /chat/{chatId}`."""

    title = TextField(max_length=TITLE_LENGTH)


class AddMembersSerializer(StrictSerializer):
    """`POST /chat/{chatId}/member`."""

    userIds = serializers.ListField(child=IdField(), allow_empty=False, max_length=MEMBERS_LIMIT)  # noqa: N815


class RoleSerializer(StrictSerializer):
    """`PATCH /chat/{chatId}/member/{userId}`."""

    role = ChoiceField(Role.values)


class ReadSerializer(StrictSerializer):
    """`POST /chat/{chatId}/read`."""

    seq = WholeNumberField(min_value=0, max_value=LARGEST_NUMBER)


class PageSerializer(StrictSerializer):
    """The query of `GET /chat/{chatId}`."""

    before = serializers.IntegerField(required=False, min_value=0, max_value=LARGEST_NUMBER)
    after = serializers.IntegerField(required=False, min_value=0, max_value=LARGEST_NUMBER)
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=PAGE_LIMIT)

    def validate(self, attrs: dict[str, int]) -> dict[str, int]:
        """Refuse both directions at once."""
        if "before" in attrs and "after" in attrs:
            raise serializers.ValidationError(
                {"after": [serializers.ErrorDetail("Give before or after.", "exclusive")]}
            )
        return attrs


class InboxSerializer(StrictSerializer):
    """The query of `GET /chat`."""

    cursor = serializers.CharField(required=False)
    limit = serializers.IntegerField(required=False, default=30, min_value=1, max_value=PAGE_LIMIT)
