"""The paths of the WebSocket side, and of the part of it that comes by HTTP."""

from __future__ import annotations

from channels.routing import URLRouter
from django.urls import path, re_path

from chatproject.body_limit import Application, Receive, Scope, Send
from realtime.consumers import ChatConsumer, NoSuchPath
from realtime.engine import engine
from realtime.handshake import TokenHandshake
from realtime.socketio.door import PATHS
from realtime.socketio.polling import PollingDoor
from realtime.socketio.websocket import WebSocketDoor

websocket_application = URLRouter(
    [
        path("ws", TokenHandshake(ChatConsumer.as_asgi(), engine=engine)),
        re_path(r"^socket\.io/?$", WebSocketDoor()),  # type: ignore[arg-type]
        re_path(r"", NoSuchPath.as_asgi()),
    ]
)


def http_application(django_application: Application) -> Application:
    """Return the application of the HTTP side: Django's, but for polling."""
    polling = PollingDoor()

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        application = polling if scope["path"] in PATHS else django_application
        await application(scope, receive, send)

    return route
