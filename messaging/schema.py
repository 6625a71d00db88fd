"""Describes the endpoints of chats and messages for the OpenAPI document; each view method wears one of these."""

from __future__ import annotations

from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from accounts.schema import AUTHENTICATION, OTHER_ID
from chatproject.errors import InvalidInput
from chatproject.limits import RateLimited
from chatproject.openapi import BODY, NOTHING, answered, errors, id_in_path, sent
from messaging.inbox import InvalidCursor
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
from messaging.services.changing import MessageIsDeleted, NotMessageSender
from messaging.services.chats import DirectChatFixed, LastOwner, RoleRequired
from messaging.services.direct import PersonNotFound
from messaging.services.storing import ClientIdReused
from messaging.shapes import (
    CHAT,
    CHAT_ID,
    ENTRY,
    MESSAGE,
    RECEIPT,
    ChatPageSerializer,
    InboxEntrySerializer,
    InboxPageSerializer,
    MessageSerializer,
    ReceiptSerializer,
)

_CHAT_PATH = [id_in_path("chat_id")]
_MEMBER_PATH = [id_in_path("chat_id"), id_in_path("user_id")]
_MESSAGE_PATH = [id_in_path("chat_id"), id_in_path("message_id")]
_GROUP = (ChatNotFound, DirectChatFixed, RoleRequired)
_ENTRY = answered(InboxEntrySerializer, ENTRY, "The chat.")
_EDITED = answered(
    MessageSerializer,
    {**MESSAGE, "content": "Tea at five? ☕", "rev": 42, "editedAt": "2026-01-31T12:01:30.000Z"},
    "The message.",
)
_TOMBSTONE = answered(
    MessageSerializer,
    {**MESSAGE, "content": "", "rev": 43, "deletedAt": "2026-01-31T12:02:00.000Z"},
    "The message without its content.",
)

inbox = extend_schema(
    operation_id="listChats",
    summary="Your chats, the one with the newest message first",
    tags=["chat"],
    parameters=[InboxSerializer],
    responses={
        # Forced: a method named `list` is otherwise taken for one that answers an array.
        200: answered(
            forced_singular_serializer(InboxPageSerializer),  # type: ignore[no-untyped-call]
            {"chats": [ENTRY], "nextCursor": None},
            "A page of the inbox.",
        ),
        **errors(InvalidInput, InvalidCursor, *AUTHENTICATION),
    },
)
create_chat = extend_schema(
    operation_id="createChat",
    summary="Open a direct chat or a group",
    description="One participant and no title: the direct chat with that person, which is found rather than doubled.",
    tags=["chat"],
    request=CreateChatSerializer,
    responses={
        201: answered(InboxEntrySerializer, ENTRY, "The new chat."),
        200: answered(InboxEntrySerializer, ENTRY, "The direct chat that was there."),
        **errors(*BODY, *AUTHENTICATION, PersonNotFound, RateLimited),
    },
    examples=[
        sent("direct", {"participantIds": [OTHER_ID]}),
        sent("group", {"participantIds": [OTHER_ID], "title": "Tea round"}),
    ],
)
history = extend_schema(
    operation_id="getChat",
    summary="A page of messages, or everything that changed after a rev",
    description=(
        "Without `before` and `after` the newest page; `before` gives the page below that seq, both sorted by seq. "
        "`after` gives what changed after that rev (new, edited, deleted), sorted by rev."
    ),
    tags=["chat"],
    parameters=[*_CHAT_PATH, PageSerializer],
    responses={
        200: answered(
            ChatPageSerializer,
            {"chat": CHAT, "messages": [MESSAGE], "hasMore": False, "rev": 41},
            "The chat and some of its messages.",
        ),
        **errors(InvalidInput, *AUTHENTICATION, ChatNotFound),
    },
)
rename_chat = extend_schema(
    operation_id="renameChat",
    summary="Rename a group (owner or admin)",
    tags=["chat"],
    parameters=_CHAT_PATH,
    request=RenameSerializer,
    responses={200: _ENTRY, **errors(*BODY, *AUTHENTICATION, *_GROUP, RateLimited)},
    examples=[sent("rename", {"title": "Tea round"})],
)
delete_chat = extend_schema(
    operation_id="deleteChat",
    summary="Erase a group for everybody and destroy its key (owner)",
    tags=["chat"],
    parameters=_CHAT_PATH,
    request=None,
    responses={204: NOTHING, **errors(*BODY, *AUTHENTICATION, *_GROUP)},
)
mark_read = extend_schema(
    operation_id="markRead",
    summary="Move your read mark; it only grows",
    tags=["chat"],
    parameters=_CHAT_PATH,
    request=ReadSerializer,
    responses={
        200: answered(ReceiptSerializer, RECEIPT, "Your watermarks."),
        **errors(*BODY, *AUTHENTICATION, ChatNotFound, RateLimited),
    },
    examples=[sent("read", {"seq": 41})],
)
add_members = extend_schema(
    operation_id="addMembers",
    summary="Add people to a group (owner or admin)",
    tags=["chat"],
    parameters=_CHAT_PATH,
    request=AddMembersSerializer,
    responses={200: _ENTRY, **errors(*BODY, *AUTHENTICATION, *_GROUP, PersonNotFound, RateLimited)},
    examples=[sent("add", {"userIds": [OTHER_ID]})],
)
change_role = extend_schema(
    operation_id="changeRole",
    summary="Give a member another role (owner)",
    tags=["chat"],
    parameters=_MEMBER_PATH,
    request=RoleSerializer,
    responses={200: _ENTRY, **errors(*BODY, *AUTHENTICATION, *_GROUP, PersonNotFound, LastOwner)},
    examples=[sent("role", {"role": "admin"})],
)
remove_member = extend_schema(
    operation_id="removeMember",
    summary="Remove a member (owner or admin), or leave",
    tags=["chat"],
    parameters=_MEMBER_PATH,
    request=None,
    responses={204: NOTHING, **errors(*BODY, *AUTHENTICATION, *_GROUP, PersonNotFound, LastOwner)},
)
send_message = extend_schema(
    operation_id="sendMessage",
    summary="Send a message",
    description=(
        "To a chat, or to a person: `receiverId` alone opens the direct chat. Repeat a send with the same `clientId` "
        "(or `Idempotency-Key` header) until it is answered: it is stored once."
    ),
    tags=["message"],
    parameters=[
        OpenApiParameter(
            "Idempotency-Key",
            OpenApiTypes.UUID,
            OpenApiParameter.HEADER,
            description="The same as `clientId` in the body, for clients that repeat requests by this header.",
        )
    ],
    request=SendSerializer,
    responses={
        201: answered(MessageSerializer, MESSAGE, "Stored."),
        200: answered(MessageSerializer, MESSAGE, "It was stored before, under the same `clientId`."),
        **errors(*BODY, *AUTHENTICATION, ChatNotFound, PersonNotFound, ClientIdReused, RateLimited),
    },
    examples=[
        sent("to a person", {"receiverId": OTHER_ID, "content": "Tea at four? ☕", "type": "text"}),
        sent("to a chat", {"chatId": CHAT_ID, "content": "Yes!", "clientId": MESSAGE["clientId"]}),
    ],
)
edit_message = extend_schema(
    operation_id="editMessage",
    summary="Edit your own message",
    tags=["message"],
    parameters=_MESSAGE_PATH,
    request=EditSerializer,
    responses={
        200: _EDITED,
        **errors(
            *BODY, *AUTHENTICATION, ChatNotFound, MessageNotFound, NotMessageSender, MessageIsDeleted, RateLimited
        ),
    },
    examples=[sent("edit", {"content": "Tea at five? ☕"})],
)
delete_message = extend_schema(
    operation_id="deleteMessage",
    summary="Delete your own message; its place remains",
    tags=["message"],
    parameters=_MESSAGE_PATH,
    request=None,
    responses={200: _TOMBSTONE, **errors(*BODY, *AUTHENTICATION, ChatNotFound, MessageNotFound, NotMessageSender)},
)
