"""`manage.py seed_demo`: fills the database with people and chats to look at, through the services and no other way."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import ProtectedError

from accounts import services as people_services
from accounts.models import User
from chatproject import db
from chatproject.env import ENV
from chatproject.errors import DomainError
from messaging import attachments, keys, services
from messaging.drafts import Draft
from messaging.management import demo
from messaging.management.demo import Conversation, Line
from messaging.models import Chat, Membership, Message, MessageType
from messaging.representation import MessageDocument


class Command(BaseCommand):
    """Seeds what is missing: a second run adds nothing, a run after an interrupted one completes it."""

    help = "Fill the database with people and chats to look at."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reset", action="store_true", help="first remove the demo's people and every chat that one of them is in"
        )
        parser.add_argument("--force", action="store_true", help="seed in production, too")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reset"] and ENV.production:
            raise CommandError("--reset removes people and chats: not in production.")
        if ENV.production and not options["force"]:
            raise CommandError("The demo's password is public: give --force to let its people into production.")
        if options["reset"]:
            reset()
        try:
            stored = seed()
        except DomainError as error:
            raise CommandError(f"{error.message} {error.fields or ''}".strip()) from error
        self.stdout.write(f"Stored {stored} messages." if stored else "The demo is there already.")
        self.stdout.write(f"These people can sign in with the password {demo.PASSWORD}")
        for name in demo.people():
            self.stdout.write(f"  {name:14} {demo.email(name)}")


def seed() -> int:
    """Create what is missing of people and conversations; return how many messages that were."""
    ids = {name: _person(name) for name in demo.people()}
    return sum(_hold(conversation, ids) for conversation in demo.conversations())


def _person(name: str) -> UUID:
    found = User.objects.filter(email=demo.email(name)).first()
    if found is None:
        found = people_services.create_user(username=name, email=demo.email(name), password=demo.PASSWORD)
    return found.pk


def _hold(conversation: Conversation, ids: dict[str, UUID]) -> int:
    """Store what is missing of a conversation, with its edits, deletions and receipts; return how many messages."""
    client_ids = [line.client_id for line in conversation.lines]
    said = {
        message.client_id: message
        for message in Message.objects.filter(client_id__in=client_ids, sender_id__in=list(ids.values()))
    }
    missing = [line for line in conversation.lines if line.client_id not in said]
    if not missing:
        return 0
    chat_id = next(iter(said.values())).chat_id if said else _open(conversation, ids)
    outcomes = services.store([_draft(line, ids[line.sender], chat_id) for line in missing])
    for line, outcome in zip(missing, outcomes, strict=True):
        if isinstance(outcome, DomainError):
            raise outcome
        _change(line, outcome.message)
    _read(conversation, chat_id, ids)
    return len(missing)


def _open(conversation: Conversation, ids: dict[str, UUID]) -> UUID:
    creator, *others = (ids[name] for name in conversation.people)
    chat, _ = services.create_chat(creator_id=creator, participant_ids=others, title=conversation.title)
    return chat.id


def _draft(line: Line, sender_id: UUID, chat_id: UUID) -> Draft:
    if not line.image:
        return Draft(sender_id=sender_id, chat_id=chat_id, content=line.text, client_id=line.client_id)
    attachment = attachments.store(
        uploader_id=sender_id,
        chat_id=chat_id,
        name="lake.png",
        media_type="image/png",
        file=io.BytesIO(demo.picture()),
    )
    return Draft(
        sender_id=sender_id,
        chat_id=chat_id,
        content=line.text,
        type=MessageType.IMAGE,
        client_id=line.client_id,
        attachment_id=attachment.id,
    )


def _change(line: Line, message: MessageDocument) -> None:
    """Edit or delete a message that its sender thought better of."""
    if line.edit is not None:
        services.edit_message(
            chat_id=message.chat_id, message_id=message.id, user_id=message.sender_id, content=line.edit
        )
    if line.deleted:
        services.delete_message(chat_id=message.chat_id, message_id=message.id, user_id=message.sender_id)


def _read(conversation: Conversation, chat_id: UUID, ids: dict[str, UUID]) -> None:
    """Let everybody have read all, but for the last one, who is some messages behind."""
    last_seq = Chat.objects.values_list("last_seq", flat=True).get(pk=chat_id)
    *punctual, late = conversation.people
    for name in punctual:
        services.mark_read(chat_id=chat_id, user_id=ids[name], seq=last_seq)
    services.mark_delivered(chat_id=chat_id, user_id=ids[late], seq=last_seq)
    services.mark_read(chat_id=chat_id, user_id=ids[late], seq=max(1, last_seq - 4))


@db.transactional()
def reset() -> None:
    """Remove the demonstration's people and the chats that they are in. Raises `CommandError`."""
    users = User.objects.filter(email__in=[demo.email(name) for name in demo.people()])
    user_ids = list(users.values_list("pk", flat=True))
    chat_ids = set(Membership.objects.filter(user_id__in=user_ids).values_list("chat_id", flat=True))
    for chat_id in chat_ids:
        attachments.delete_files(chat_id)
        Chat.objects.filter(pk=chat_id).delete()
    try:
        users.delete()
    except ProtectedError as error:
        raise CommandError("One of the demo's people wrote in a chat that they have left: it stays.") from error
    db.on_commit(keys.forget)
