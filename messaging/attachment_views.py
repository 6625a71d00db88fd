"""The REST door of attachments: takes files as multipart/form-data, and gives them back whole or in part."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header, parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import principal_of
from accounts.schema import AUTHENTICATION
from chatproject import ids
from chatproject.errors import body_of
from chatproject.limits import RateLimited, Rule, spend
from chatproject.openapi import BODY, errors
from chatproject.rest import AnyAccept, parse
from chatproject.serializers import IdField, StrictSerializer
from messaging import attachments, byte_ranges, media
from messaging.attachments import AttachmentNotFound
from messaging.byte_ranges import RangeNotSatisfiable
from messaging.models import Attachment
from messaging.selectors import ChatNotFound
from messaging.shapes import CHAT_ID, AttachmentSerializer
from messaging.uploads import UploadParser

CACHING = "private, max-age=31536000, immutable"
"""An attachment never changes."""

ATTACHMENT_ID = "019a8c46-0c3f-7b52-a1d0-9e8f7a6b5c4d"
ATTACHMENT = {
    "id": ATTACHMENT_ID,
    "name": "tea.jpg",
    "mediaType": "image/jpeg",
    "size": 48213,
    "url": f"/attachment/{ATTACHMENT_ID}",
}


class UploadSerializer(StrictSerializer):
    """Body of `POST /attachment`, multipart/form-data."""

    chatId = IdField()  # noqa: N815
    file = serializers.FileField(max_length=None, help_text="1 byte to 25 MiB.")

    def to_internal_value(self, data: Any) -> Any:
        """Refuse a field that is given twice: it is not for us to choose one."""
        doubled = [name for name in ("chatId", "file") if len(data.getlist(name)) > 1]
        if doubled:
            problem = serializers.ErrorDetail("Give this once.", code="given_twice")
            raise serializers.ValidationError({name: [problem] for name in doubled})
        return super().to_internal_value(data)


class AttachmentsView(APIView):
    """`POST /attachment`."""

    parser_classes = (UploadParser,)

    @extend_schema(
        operation_id="uploadAttachment",
        summary="Upload a file into a chat",
        description=(
            "Send the answer's `id` as `attachmentId` of a message to the same chat. A file that no message carries is "
            "removed after a day. `mediaType` is what the server found, which may differ from what was claimed."
        ),
        tags=["attachment"],
        request={"multipart/form-data": UploadSerializer},
        responses={
            201: OpenApiResponse(
                AttachmentSerializer,
                description="The attachment.",
                examples=[OpenApiExample("answer", value=ATTACHMENT, response_only=True)],
            ),
            **errors(*BODY, *AUTHENTICATION, ChatNotFound, RateLimited),
        },
        examples=[
            OpenApiExample(
                "picture",
                value={"chatId": CHAT_ID, "file": "tea.jpg"},
                request_only=True,
                media_type="multipart/form-data",
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Store the uploaded file."""
        user_id = principal_of(request).user_id
        spend(Rule.UPLOAD, user_id)
        body = parse(UploadSerializer, request.data)
        file = body["file"]
        attachment = attachments.store(
            uploader_id=user_id,
            chat_id=body["chatId"],
            name=file.name,
            media_type=file.content_type or "",
            file=file,
        )
        return Response(attachments.attachment_body(attachment), status=HTTPStatus.CREATED)


class AttachmentView(APIView):
    """`GET /attachment/{id}`."""

    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="getAttachment",
        summary="Get a file, whole or in part",
        description=(
            "One range of bytes (RFC 9110, section 14) is served; several are answered with the whole file. Pictures "
            "(PNG, JPEG, GIF, WebP) come `inline`, everything else as a download. The content never changes."
        ),
        tags=["attachment"],
        parameters=[
            OpenApiParameter("attachment_id", OpenApiTypes.UUID, OpenApiParameter.PATH),
            OpenApiParameter(
                "Range",
                str,
                OpenApiParameter.HEADER,
                examples=[OpenApiExample("the first KiB", "bytes=0-1023"), OpenApiExample("the end", "bytes=-512")],
            ),
            OpenApiParameter("If-Range", str, OpenApiParameter.HEADER, description="The `ETag` of the part held."),
            OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER),
        ],
        responses={
            (200, "*/*"): OpenApiResponse(OpenApiTypes.BINARY, description="The file."),
            (206, "*/*"): OpenApiResponse(OpenApiTypes.BINARY, description="The part that `Content-Range` names."),
            304: OpenApiResponse(description="`If-None-Match` names the file."),
            **errors(*AUTHENTICATION, AttachmentNotFound, RangeNotSatisfiable),
        },
    )
    def get(self, request: Request, attachment_id: str) -> HttpResponseBase:
        """Return the file's bytes."""
        attachment = attachments.attachment_for_member(
            attachment_id=ids.parse(attachment_id), user_id=principal_of(request).user_id
        )
        headers = _headers(attachment)
        if {headers["ETag"], "*"}.intersection(parse_etags(request.headers.get("If-None-Match", ""))):
            return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        if request.method == "HEAD":
            return HttpResponse(headers={**headers, "Content-Length": str(attachment.size)})
        try:
            part = byte_ranges.requested(_range_header(request, headers["ETag"]), size=attachment.size)
        except RangeNotSatisfiable as error:
            told = {"Content-Range": f"bytes */{attachment.size}"}
            return Response(body_of(error), status=error.status, headers=told)
        return _content(attachment, part, headers)


def _headers(attachment: Attachment) -> dict[str, str]:
    """Return what every answer about this file carries."""
    name = attachments.attachment_body(attachment)["name"]
    inline = attachment.media_type in media.INLINE
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": CACHING,
        "Content-Disposition": content_disposition_header(not inline, name) or "inline",
        "Content-Type": attachment.media_type,
        "ETag": f'"{attachment.id}"',
        "X-Content-Type-Options": "nosniff",
    }


def _range_header(request: Request, etag: str) -> str | None:
    """Return the `Range` header, unless `If-Range` names another content (RFC 9110, section 13.1.5)."""
    if request.headers.get("If-Range", etag) != etag:
        return None
    return request.headers.get("Range")


def _content(attachment: Attachment, part: range | None, headers: dict[str, str]) -> StreamingHttpResponse:
    """Return the answer with the whole file, or the part of it."""
    found = range(attachment.size) if part is None else part
    response = StreamingHttpResponse(
        attachments.open_content(attachment=attachment, part=found),
        status=HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT,
        headers={**headers, "Content-Length": str(len(found))},
    )
    if part is not None:
        response["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{attachment.size}"
    return response
