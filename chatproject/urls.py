"""Every path of the HTTP side."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from chatproject import docs

urlpatterns = [
    path("", include("accounts.urls")),
    path("", include("messaging.urls")),
    path("docs", docs.page),
    path("docs/openapi.json", docs.openapi_json),
    path("docs/openapi.yaml", docs.openapi_yaml),
    path("admin/", admin.site.urls),
]

handler400 = "chatproject.errors.bad_request"
handler403 = "chatproject.errors.permission_denied"
handler404 = "chatproject.errors.not_found"
handler500 = "chatproject.errors.server_error"
