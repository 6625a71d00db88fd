"""Chats, their members and messages, with the indexes that the work needs."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Chat(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Membership(models.Model):
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["chat", "user"], name="textbook_member_once"),)


class Message(models.Model):
    chat = models.ForeignKey(Chat, on_delete=models.CASCADE, db_index=False)
    sender = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False)
    content = models.BinaryField()
    type = models.CharField(max_length=6, default="text")
    timestamp = models.DateTimeField(auto_now_add=True)
    read = models.BooleanField(default=False)

    class Meta:
        indexes = (models.Index(fields=["chat", "timestamp"], name="textbook_chat_timestamp"),)
