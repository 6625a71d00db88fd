"""The REST door of chats and messages: each method parses, calls one service or selector, and shapes the answer."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import principal_of
from chatproject import ids
from chatproject.errors import DomainError, InvalidInput
from chatproject.ids import uuid7
from chatproject.limits import Rule, spend
from chatproject.rest import parse
from chatproject.serializers import EmptySerializer
from messaging import inbox, representation, schema, selectors, services
from messaging.drafts import Draft
from messaging.models import Chat, Message
from messaging.selectors import ChatNotFound, MessageNotFound
from messaging.serializers import (
    AddMembersSerializer,
    CreateChatSerializer,
    EditSerializer,
    InboxSerializer,
    PageSerializer,
    ReadSerializer,
    RenameSerializer,
    RoleSerializer,
    SendSerializer,
)
from messaging.services.direct import PersonNotFound
from messaging.submission import submit


def _id(value: str, missing: type[DomainError]) -> UUID:
    """Return the id in a path; what is no UUID names nothing."""
    found = ids.parse(value)
    if found is None:
        raise missing
    return found


def _caller(request: Request) -> UUID:
    return principal_of(request).user_id


class ChatViewSet(viewsets.ViewSet):
    """`/chat` and `/chat/{chatId}`."""

    @schema.inbox
    def list(self, request: Request) -> Response:
        """Return the inbox."""
        query = parse(InboxSerializer, request.query_params.dict())
        before = inbox.Cursor.parse(query["cursor"]) if "cursor" in query else None
        user_id = _caller(request)
        entries, cursor = inbox.read(user_id=user_id, before=before, limit=query["limit"])
        chats = [representation.inbox_entry_body(entry, viewer_id=user_id) for entry in entries]
        return Response({"chats": chats, "nextCursor": str(cursor) if cursor else None})

    @schema.create_chat
    def create(self, request: Request) -> Response:
        """Open a chat."""
        spend(Rule.COMMAND, _caller(request))
        body = parse(CreateChatSerializer, request.data)
        chat, created = services.create_chat(
            creator_id=_caller(request), participant_ids=body["participantIds"], title=body["title"]
        )
        return self._chat(request, chat, status=201 if created else 200)

    @schema.history
    def retrieve(self, request: Request, chat_id: str) -> Response:
        """Return a page of messages, or what changed."""
        query = parse(PageSerializer, request.query_params.dict())
        place = {"chat_id": _id(chat_id, ChatNotFound), "user_id": _caller(request)}
        if "after" in query:
            page = selectors.changes(**place, after=query["after"], limit=query["limit"])
        else:
            page = selectors.history(**place, before=query.get("before"), limit=query["limit"])
        return Response(representation.page_body(page, viewer_id=_caller(request)))

    @schema.rename_chat
    def partial_update(self, request: Request, chat_id: str) -> Response:
        """Rename a group."""
        spend(Rule.COMMAND, _caller(request))
        body = parse(RenameSerializer, request.data)
        chat = services.rename_chat(chat_id=_id(chat_id, ChatNotFound), user_id=_caller(request), title=body["title"])
        return self._chat(request, chat)

    @schema.delete_chat
    def destroy(self, request: Request, chat_id: str) -> Response:
        """Erase a group."""
        parse(EmptySerializer, request.data)
        services.delete_chat(chat_id=_id(chat_id, ChatNotFound), user_id=_caller(request))
        return Response(status=204)

    @schema.mark_read
    def read(self, request: Request, chat_id: str) -> Response:
        """Move the read mark."""
        spend(Rule.COMMAND, _caller(request))
        body = parse(ReadSerializer, request.data)
        receipt = services.mark_read(chat_id=_id(chat_id, ChatNotFound), user_id=_caller(request), seq=body["seq"])
        return Response(representation.receipt_body(receipt))

    @schema.add_members
    def add_members(self, request: Request, chat_id: str) -> Response:
        """Add people to a group."""
        spend(Rule.COMMAND, _caller(request))
        body = parse(AddMembersSerializer, request.data)
        chat = services.add_members(
            chat_id=_id(chat_id, ChatNotFound), user_id=_caller(request), new_ids=body["userIds"]
        )
        return self._chat(request, chat)

    @schema.change_role
    def change_role(self, request: Request, chat_id: str, user_id: str) -> Response:
        """Give a member another role."""
        body = parse(RoleSerializer, request.data)
        chat = services.change_role(
            chat_id=_id(chat_id, ChatNotFound),
            user_id=_caller(request),
            member_id=_id(user_id, PersonNotFound),
            role=body["role"],
        )
        return self._chat(request, chat)

    @schema.remove_member
    def remove_member(self, request: Request, chat_id: str, user_id: str) -> Response:
        """Remove a member, or leave."""
        parse(EmptySerializer, request.data)
        services.remove_member(
            chat_id=_id(chat_id, ChatNotFound), user_id=_caller(request), member_id=_id(user_id, PersonNotFound)
        )
        return Response(status=204)

    def _chat(self, request: Request, chat: Chat, status: int = 200) -> Response:
        user_id = _caller(request)
        entry = inbox.entry_of(chat=chat, user_id=user_id)
        return Response(representation.inbox_entry_body(entry, viewer_id=user_id), status=status)


class MessageViewSet(viewsets.ViewSet):
    """`/chat/message` and `/chat/{chatId}/message/{messageId}`."""

    @schema.send_message
    def create(self, request: Request) -> Response:
        """Send a message."""
        spend(Rule.SEND, _caller(request))
        body = parse(SendSerializer, request.data)
        stored = submit(
            Draft(
                sender_id=_caller(request),
                chat_id=body.get("chatId"),
                receiver_id=body.get("receiverId"),
                content=body["content"],
                type=body["type"],
                client_id=_client_id(request, body),
                attachment_id=body.get("attachmentId"),
            )
        )
        return Response(representation.builtins_of(stored.message), status=200 if stored.duplicate else 201)

    @schema.edit_message
    def partial_update(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Edit one's own message."""
        spend(Rule.SEND, _caller(request))
        body = parse(EditSerializer, request.data)
        message = services.edit_message(
            chat_id=_id(chat_id, ChatNotFound),
            message_id=_id(message_id, MessageNotFound),
            user_id=_caller(request),
            content=body["content"],
        )
        return self._message(message)

    @schema.delete_message
    def destroy(self, request: Request, chat_id: str, message_id: str) -> Response:
        """Delete one's own message."""
        parse(EmptySerializer, request.data)
        message = services.delete_message(
            chat_id=_id(chat_id, ChatNotFound),
            message_id=_id(message_id, MessageNotFound),
            user_id=_caller(request),
        )
        return self._message(message)

    def _message(self, message: Message) -> Response:
        marks = representation.ReadMarks(selectors.watermarks_of(chat_id=message.chat_id))
        return Response(representation.message_body(message, marks))


def _client_id(request: Request, body: dict[str, Any]) -> UUID:
    """Return the idempotency key, from the body or the `Idempotency-Key` header. Raises `InvalidInput`."""
    given: UUID | None = body.get("clientId")
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return given or uuid7()
    key = ids.parse(header)
    if key is None or given not in (None, key):
        raise InvalidInput.of("clientId", "Idempotency-Key is a UUID, and the same as clientId where both are given.")
    return key
