"""The paths of people and sessions."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
