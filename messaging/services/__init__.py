"""Everything that writes chats and messages; each call is one transaction, and publishes after it."""

from messaging.services.audit import read_content
from messaging.services.changing import delete_message, edit_message
from messaging.services.chats import (
    add_members,
    change_role,
    create_chat,
    delete_chat,
    remove_member,
    rename_chat,
)
from messaging.services.receipts import mark_delivered, mark_read
from messaging.services.storing import Outcome, Stored, store

__all__ = [
    "Outcome",
    "Stored",
    "add_members",
    "change_role",
    "create_chat",
    "delete_chat",
    "delete_message",
    "edit_message",
    "mark_delivered",
    "mark_read",
    "read_content",
    "remove_member",
    "rename_chat",
    "store",
]
