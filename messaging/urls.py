"""The paths of chats and messages."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
