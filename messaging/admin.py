"""The administration's pages of chats: what was sent when and by whom, never what it says.

Titles, contents and names of files are not loaded here. Reading one message's content is a permission of its own, a
button, and a record that everybody who may see the records sees.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from accounts.admin import find_person, list_link
from chatproject import ids
from chatproject.admin_pages import ReadOnlyAdmin
from chatproject.errors import DomainError
from messaging.models import Attachment, Chat, ContentAccess, Membership, Message
from messaging.services import audit


class ChatContentAdmin(ReadOnlyAdmin):
    """Rows that belong to a chat, looked up by their own id, their chat's, or a person's name, address or id."""

    person_field = "user_id"
    search_help_text = "An id of the row or of its chat; or a person's name, e-mail address or id."
    sealed: ClassVar[tuple[str, ...]] = ()
    """The encrypted columns, which are not even loaded."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave the encrypted columns in the database."""
        return super().get_queryset(request).defer(*self.sealed)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find out what the term names, then look it up in the one index that knows it."""
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = ids.parse(term)
        if wanted and Chat.objects.filter(pk=wanted).exists():
            return self.of_chat(queryset, wanted), False
        if person := find_person(term):
            return self.of_person(queryset, person.pk), False
        return (queryset.filter(pk=wanted) if wanted else queryset.none()), False

    def of_chat(self, queryset: QuerySet[Any], chat_id: UUID) -> QuerySet[Any]:
        """Return the rows of a chat."""
        return queryset.filter(chat_id=chat_id)

    def of_person(self, queryset: QuerySet[Any], person_id: UUID) -> QuerySet[Any]:
        """Return the rows of a person."""
        return queryset.filter(**{self.person_field: person_id})

    @admin.display(description="chat")
    def chat_link(self, row: Any) -> SafeString | str:
        """Link to the chat."""
        return _link("chat", row.chat_id)


def _link(kind: str, row_id: UUID | None) -> SafeString | str:
    """Return a link to a row's page, made of its id alone: the row itself would bring its ciphertext along."""
    if row_id is None:
        return "-"
    return format_html('<a href="{}">{}</a>', reverse(f"admin:messaging_{kind}_change", args=[row_id]), row_id)


def chats_of(person_id: UUID) -> list[UUID]:
    """Return the chats that a person is in."""
    return list(Membership.objects.filter(user_id=person_id).values_list("chat_id", flat=True))


@admin.register(Chat)
class ChatAdmin(ChatContentAdmin):
    """Chats, without their titles."""

    sealed = ("title",)
    list_display = ("id", "kind", "created_by", "created_at", "changed_at", "counter")
    list_select_related: ClassVar[Any] = ("created_by",)
    fields = ("id", "kind", "created_by", "created_at", "changed_at", "last_seq", "counter", "belongings")
    readonly_fields = ("id", "belongings")
    search_help_text = "A chat's id; or a person's name, e-mail address or id."

    def of_chat(self, queryset: QuerySet[Any], chat_id: UUID) -> QuerySet[Any]:
        """Return the chat itself."""
        return queryset.filter(pk=chat_id)

    def of_person(self, queryset: QuerySet[Any], person_id: UUID) -> QuerySet[Any]:
        """Return the chats that the person is in."""
        return queryset.filter(pk__in=chats_of(person_id))

    @admin.display(description="belongs to it")
    def belongings(self, chat: Chat) -> SafeString:
        """Link to what belongs to the chat."""
        kinds = {"messaging_membership": "Members", "messaging_message": "Messages", "messaging_attachment": "Files"}
        links = [list_link(model, term=chat.pk, text=text) for model, text in kinds.items()]
        return format_html("{} · {} · {}", *links)


@admin.register(Membership)
class MembershipAdmin(ChatContentAdmin):
    """Who is in which chat, and how far they have read."""

    list_display = ("id", "chat_link", "user", "role", "delivered_seq", "read_seq", "joined_at")
    list_select_related: ClassVar[Any] = ("user",)
    fields = list_display
    readonly_fields = ("id", "chat_link")


@admin.register(Message)
class MessageAdmin(ChatContentAdmin):
    """Messages, without their content; the content of one can be read, and that is recorded."""

    person_field = "sender_id"
    sealed = ("content",)
    list_display = ("id", "timestamp", "chat_link", "seq", "sender", "type", "edited_at", "deleted_at")
    list_select_related: ClassVar[Any] = ("sender",)
    fields = (
        *("id", "chat_link", "sender", "receiver", "type", "timestamp", "seq", "rev"),
        *("client_id", "edited_at", "deleted_at", "attachment_link"),
    )
    readonly_fields = ("id", "chat_link", "client_id", "attachment_link")
    search_help_text = "A message's or chat's id; or a sender's name, e-mail address or id (in chats they are in)."

    def of_chat(self, queryset: QuerySet[Any], chat_id: UUID) -> QuerySet[Any]:
        """Return the chat's messages, the newest first, as their index sorts them."""
        return queryset.filter(chat_id=chat_id).order_by("-seq")

    def of_person(self, queryset: QuerySet[Any], person_id: UUID) -> QuerySet[Any]:
        """Return what a person wrote, through the chats they are in: no index sorts messages by sender."""
        return queryset.filter(chat_id__in=chats_of(person_id), sender_id=person_id)

    @admin.display(description="attachment")
    def attachment_link(self, message: Message) -> SafeString | str:
        """Link to the attachment."""
        return _link("attachment", message.attachment_id)

    # --- Reading content ----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the page that shows one message's content."""
        view = self.admin_site.admin_view(self.content_view)
        return [path("<uuid:message_id>/content/", view, name="messaging_message_content"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the metadata, with the button for those who may use it."""
        context = {**(extra_context or {}), "may_read_content": request.user.has_perm(audit.PERMISSION)}
        return super().change_view(request, object_id, form_url, context)

    @method_decorator([require_POST, csrf_protect])
    @method_decorator(sensitive_variables("content"))
    def content_view(self, request: HttpRequest, message_id: UUID) -> HttpResponse:
        """Record the access, then show the content."""
        content, problem = "", ""
        try:
            content = audit.read_content(administrator_id=cast("UUID", request.user.pk), message_id=message_id)
        except audit.ReadingNotAllowed as error:
            raise PermissionDenied from error
        except DomainError as error:
            problem = error.message
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Content of a message",
            "message_id": message_id,
            "content": content,
            "problem": problem,
        }
        return TemplateResponse(request, "admin/messaging/message/content.html", context)


@admin.register(Attachment)
class AttachmentAdmin(ChatContentAdmin):
    """Files, without their names."""

    person_field = "uploader_id"
    sealed = ("name",)
    list_display = ("id", "created_at", "chat_link", "uploader", "media_type", "size")
    list_select_related: ClassVar[Any] = ("uploader",)
    fields = list_display
    readonly_fields = ("id", "chat_link")


@admin.register(ContentAccess)
class ContentAccessAdmin(ReadOnlyAdmin):
    """Which administrator read the content of which message."""

    list_display = ("id", "read_at", "administrator", "message_id", "chat_id")
    list_select_related: ClassVar[Any] = ("administrator",)
    fields = ("id", "read_at", "administrator", "message_link", "chat_id")
    readonly_fields = ("id", "message_link")
    search_help_text = "An administrator's name, e-mail address or id; or a message's id."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ContentAccess], search_term: str
    ) -> tuple[QuerySet[ContentAccess], bool]:
        """Look the administrator or the message up."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if person := find_person(term):
            return queryset.filter(administrator_id=person.pk), False
        message_id = ids.parse(term)
        return (queryset.filter(message_id=message_id) if message_id else queryset.none()), False

    @admin.display(description="message")
    def message_link(self, access: ContentAccess) -> SafeString | str:
        """Link to the message."""
        return _link("message", access.message_id)
