"""The paths of attachments."""

from __future__ import annotations

from django.urls import path

from messaging.attachment_views import AttachmentsView, AttachmentView

urlpatterns = [
    path("attachment", AttachmentsView.as_view()),
    path("attachment/<str:attachment_id>", AttachmentView.as_view()),
]
