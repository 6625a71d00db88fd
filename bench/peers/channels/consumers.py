"""The consumer as the tutorial teaches it: a channel a socket, a group a person, one insert a message."""

from __future__ import annotations

import os
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from bench.peers.channels.models import Membership, Message

NONCE_BYTES = 12
NOT_AUTHENTICATED = 4401

cipher = AESGCM(settings.CONTENT_KEY)


class ChatConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.user = self.scope["user"]
        if self.user is None:
            await self.close(NOT_AUTHENTICATED)
            return
        self.group = f"user.{self.user.pk}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send_json({"event": "hello"})

    async def disconnect(self, code: int) -> None:
        if self.user is not None:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        if content.get("event") == "message:send":
            await self.message_send(content["id"], **content["data"])

    async def message_send(self, frame_id: int, chatId: str, content: str) -> None:  # noqa: N803  the client's name
        members = [pk async for pk in Membership.objects.filter(chat_id=chatId).values_list("user_id", flat=True)]
        if self.user.pk not in members:
            await self.send_json({"ack": frame_id, "error": {"code": "chat_not_found"}})
            return
        nonce = os.urandom(NONCE_BYTES)
        message = await Message.objects.acreate(
            chat_id=chatId, sender=self.user, content=nonce + cipher.encrypt(nonce, content.encode(), None)
        )
        body = {
            "id": message.pk,
            "chatId": chatId,
            "senderId": self.user.pk,
            "receiverId": next(pk for pk in members if pk != self.user.pk),
            "content": content,
            "type": message.type,
            "timestamp": message.timestamp.isoformat(),
            "read": False,
        }
        await self.send_json({"ack": frame_id, "data": body})
        for pk in members:
            if pk != self.user.pk:
                await self.channel_layer.group_send(f"user.{pk}", {"type": "message.receive", "message": body})

    async def message_receive(self, event: dict[str, Any]) -> None:
        await self.send_json({"event": "message:receive", "data": event["message"]})
