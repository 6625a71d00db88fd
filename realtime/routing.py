"""The paths of the WebSocket side."""

from __future__ import annotations

from channels.routing import URLRouter
from django.urls import path, re_path

from realtime.consumers import ChatConsumer, NoSuchPath
from realtime.engine import engine
from realtime.handshake import TokenHandshake

websocket_application = URLRouter(
    [
        path("ws", TokenHandshake(ChatConsumer.as_asgi(), engine=engine)),
        re_path(r"", NoSuchPath.as_asgi()),
    ]
)
