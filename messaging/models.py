"""Chats, their members, messages, attachments and keys. Column names are those of the specification.

Every chat has one counter: a new message takes `seq = rev = ++counter`, a change gives it `rev = ++counter`.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from chatproject.ids import uuid7
from messaging.fields import EncryptedField
from messaging.indexes import MongoIndex, PartIndex, PresentIndex


class ChatKind(models.TextChoices):
    """A direct chat has exactly its two people, for ever; a group has members with roles."""

    DIRECT = "direct"
    GROUP = "group"


class Chat(models.Model):
    """A conversation and its counter."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    kind = models.CharField(max_length=6, choices=ChatKind.choices)
    direct_key = models.CharField(max_length=73, unique=True, null=True, editable=False, db_column="directKey")  # noqa: DJ001
    title = EncryptedField(associated=("id",), key_of="id", null=True, db_column="title")
    counter = models.BigIntegerField(default=0)
    last_seq = models.BigIntegerField(default=0, db_column="lastSeq")
    activity = models.UUIDField(default=uuid7, editable=False)
    """Sorts the inbox: a time-ordered id taken with each new message."""
    changed_at = models.DateTimeField(default=timezone.now, db_column="changedAt")
    roster = models.UUIDField(default=uuid7, editable=False)
    """Names the present set of members; `messaging.rosters` gives a new name with each change."""
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_column="createdBy"
    )
    created_at = models.DateTimeField(default=timezone.now, db_column="createdAt")

    class Meta:
        db_table = "chats"
        indexes = (
            MongoIndex(fields=["direct_key"], name="chats_direct_key"),
            models.Index(fields=["changed_at"], name="chats_changed_at"),
        )

    def __str__(self) -> str:
        return f"{self.kind} chat {self.id}"


class ChatKey(models.Model):
    """A chat's data key, wrapped by a master key. Destroying it destroys what the chat holds (crypto-shredding)."""

    chat = models.OneToOneField(
        Chat, primary_key=True, on_delete=models.CASCADE, related_name="data_key", db_column="_id"
    )
    chat_id: UUID
    master_key_id = models.CharField(max_length=32, db_index=True, db_column="masterKeyId")
    wrapped = models.BinaryField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, db_column="createdAt")

    class Meta:
        db_table = "chat_keys"

    def __str__(self) -> str:
        return f"key of chat {self.chat_id}"


class Role(models.TextChoices):
    """What a member may do in a group."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Membership(models.Model):
    """A person in a chat, with their receipts: two watermarks that only grow; what is read is delivered."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    chat = models.ForeignKey(
        Chat, on_delete=models.CASCADE, related_name="memberships", db_column="chatId", db_index=False
    )
    chat_id: UUID
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships", db_column="userId"
    )
    user_id: UUID
    role = models.CharField(max_length=6, choices=Role.choices, default=Role.MEMBER)
    delivered_seq = models.BigIntegerField(default=0, db_column="deliveredSeq")
    read_seq = models.BigIntegerField(default=0, db_column="readSeq")
    marked_at = models.DateTimeField(default=timezone.now, db_column="markedAt")
    """When a watermark last grew: receipts have no number by which their loss would be seen."""
    joined_at = models.DateTimeField(default=timezone.now, db_column="joinedAt")

    class Meta:
        db_table = "memberships"
        constraints = (models.UniqueConstraint(fields=["chat", "user"], name="memberships_chat_user_unique"),)
        indexes = (
            MongoIndex(fields=["chat", "user"], name="memberships_chat_user"),
            models.Index(fields=["marked_at"], name="memberships_marked_at"),
        )

    def __str__(self) -> str:
        return f"{self.user_id} in {self.chat_id}"


class Departure(models.Model):
    """Somebody's end as a member, kept for a while: who has gone is told again, since no number of theirs goes on."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    chat_id = models.UUIDField(db_column="chatId")
    user_id = models.UUIDField(db_column="userId")
    rev = models.BigIntegerField()
    departed_at = models.DateTimeField(default=timezone.now, db_column="departedAt")

    class Meta:
        db_table = "departures"
        indexes = (models.Index(fields=["departed_at"], name="departures_departed_at"),)

    def __str__(self) -> str:
        return f"{self.user_id} gone from {self.chat_id}"


class MessageType(models.TextChoices):
    """What a message carries. Clients send the first three; `system` tells of changes to the chat itself."""

    TEXT = "text"
    IMAGE = "image"
    FILE = "file"
    SYSTEM = "system"


class Message(models.Model):
    """One message. Its content is ciphertext bound to its chat, id and sender."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    chat = models.ForeignKey(
        Chat, on_delete=models.CASCADE, related_name="messages", db_column="chatId", db_index=False
    )
    chat_id: UUID
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_column="senderId", db_index=False
    )
    sender_id: UUID
    receiver = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_column="receiverId",
        db_index=False,
    )
    receiver_id: UUID | None
    content = EncryptedField(associated=("chat_id", "id", "sender_id"), key_of="chat_id")
    type = models.CharField(max_length=6, choices=MessageType.choices, default=MessageType.TEXT)
    timestamp = models.DateTimeField(default=timezone.now)
    seq = models.BigIntegerField()
    rev = models.BigIntegerField()
    client_id = models.UUIDField(default=uuid7, editable=False, db_column="clientId")
    edited_at = models.DateTimeField(null=True, blank=True, db_column="editedAt")
    deleted_at = models.DateTimeField(null=True, blank=True, db_column="deletedAt")
    attachment = models.ForeignKey(
        "Attachment",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_column="attachmentId",
        db_index=False,
    )
    attachment_id: UUID | None

    class Meta:
        db_table = "messages"
        permissions = (("read_content", "Can read the content of messages (each reading is audited)"),)
        constraints = (
            models.UniqueConstraint(fields=["chat", "seq"], name="messages_chat_seq_unique"),
            # The client's id first: those that sort by time (UUIDv7) of a whole batch lie on a page or two.
            models.UniqueConstraint(fields=["client_id", "sender"], name="messages_client_sender_unique"),
        )
        indexes = (
            # A message that nobody has changed is found by its seq, which is its rev.
            PartIndex(fields=["chat", "rev"], name="messages_chat_changed", condition=Q(rev__gt=F("seq"))),
            PresentIndex(fields=["attachment"], name="messages_attachment"),
            MongoIndex(fields=["chat", "seq"], name="messages_chat_seq"),
            MongoIndex(fields=["chat", "timestamp"], name="messages_chat_timestamp"),
            MongoIndex(fields=["client_id", "sender"], name="messages_client_sender"),
        )

    def __str__(self) -> str:
        return f"message {self.id}"


class Attachment(models.Model):
    """A file sent into a chat; its bytes lie encrypted in the data directory, under its id."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, related_name="attachments", db_column="chatId")
    chat_id: UUID
    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_column="uploaderId"
    )
    uploader_id: UUID
    name = EncryptedField(associated=("chat_id", "id", "uploader_id"), key_of="chat_id")
    media_type = models.CharField(max_length=100, db_column="mediaType")
    size = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now, db_column="createdAt")

    class Meta:
        db_table = "attachments"

    def __str__(self) -> str:
        return f"attachment {self.id}"


class ContentAccess(models.Model):
    """The audit record of an administrator who read a message's content. It outlives the message and its chat."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    administrator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_column="administratorId"
    )
    message_id = models.UUIDField(null=True, db_index=True, db_column="messageId")
    chat_id = models.UUIDField(db_column="chatId")
    read_at = models.DateTimeField(default=timezone.now, db_column="readAt")

    class Meta:
        db_table = "content_accesses"
        verbose_name_plural = "content accesses"

    def __str__(self) -> str:
        return f"content access {self.id}"
