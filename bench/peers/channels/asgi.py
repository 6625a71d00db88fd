"""The peer's application: HTTP for its health, and the socket behind a middleware that reads the JWT."""

from __future__ import annotations

from typing import Any

import jwt
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

django_application = get_asgi_application()

from django.contrib.auth.models import User  # noqa: E402  needs Django to be set up

from bench.peers.channels.consumers import ChatConsumer  # noqa: E402


class JWTAuthMiddleware:
    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        token = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        try:
            user_id = jwt.decode(token, settings.SECRET_KEY, algorithms=["HS256"])["sub"]
            user = await User.objects.aget(pk=user_id)
        except (jwt.InvalidTokenError, User.DoesNotExist):
            user = None
        return await self.application({**scope, "user": user}, receive, send)


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


urlpatterns = [path("healthz", health)]
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": JWTAuthMiddleware(URLRouter([path("ws", ChatConsumer.as_asgi())])),
    }
)
