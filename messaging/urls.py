"""The paths of chats and messages."""

from __future__ import annotations

from django.urls import include, path

from messaging.views import ChatViewSet, MessageViewSet

urlpatterns = [
    path("chat", ChatViewSet.as_view({"get": "list", "post": "create"})),
    path("chat/message", MessageViewSet.as_view({"post": "create"})),
    path(
        "chat/<str:chat_id>",
        ChatViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("chat/<str:chat_id>/read", ChatViewSet.as_view({"post": "read"})),
    path("chat/<str:chat_id>/member", ChatViewSet.as_view({"post": "add_members"})),
    path(
        "chat/<str:chat_id>/member/<str:user_id>",
        ChatViewSet.as_view({"patch": "change_role", "delete": "remove_member"}),
    ),
    path(
        "chat/<str:chat_id>/message/<str:message_id>",
        MessageViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    path("", include("messaging.attachment_urls")),
]
