"""Fills a benchmark's Parley database with people, sessions and chats, and prints the accounts with access tokens.

Run in the server's environment: `python -m bench.seed_parley --people 1000`. People get no password: a thousand bcrypt
hashes would take minutes and nobody signs in.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup()

from django.utils import timezone  # noqa: E402

from accounts import tokens  # noqa: E402
from accounts.models import Session, User, username_key  # noqa: E402
from chatproject import db  # noqa: E402
from chatproject.ids import uuid7  # noqa: E402
from messaging import keys  # noqa: E402
from messaging.drafts import Draft  # noqa: E402
from messaging.models import Chat, ChatKind, Membership, Message, MessageType, Role  # noqa: E402
from messaging.services import direct, numbers, store  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TEXT = "the quick brown fox jumps over the lazy dog and then writes home about it, as foxes do every day"
BATCH = 256
ROWS = 2000
COLUMNS = tuple(field.attname for field in Message._meta.concrete_fields)


def add_people(count: int) -> list[User]:
    people = [
        User(
            username=f"person{n}", username_key=username_key(f"person{n}"), email=f"person{n}@example.org", password="!"
        )
        for n in range(count)
    ]
    return User.objects.bulk_create(people)


def open_sessions(people: Sequence[User]) -> list[dict[str, str]]:
    """Store a session for each person and return `{id, token}` of each."""
    now = timezone.now()
    sessions = [
        Session(
            id=uuid7(),
            user=person,
            refresh_hash=os.urandom(32),
            created_at=now,
            refreshed_at=now,
            expires_at=now + timedelta(days=1),
        )
        for person in people
    ]
    Session.objects.bulk_create(sessions)
    return [
        {"id": str(one.user_id), "token": tokens.new_access_token(user_id=one.user_id, session_id=one.id)}
        for one in sessions
    ]


def open_direct_chats(people: Sequence[User]) -> list[str]:
    """Open a chat for each two neighbours and return every person's chat."""
    pairs = [(people[n].id, people[n + 1].id) for n in range(0, len(people), 2)]
    chats = direct.open_chats(pairs)
    return [str(chats[direct.direct_key(*pair)]) for pair in pairs for _ in pair]


def open_group(people: Sequence[User]) -> list[str]:
    """Open one group of all and return every person's chat."""
    chat = Chat.objects.create(kind=ChatKind.GROUP)
    keys.create([chat.id])
    Membership.objects.bulk_create(Membership(chat=chat, user=person, role=Role.MEMBER) for person in people)
    return [str(chat.id)] * len(people)


def write(people: Sequence[User], chats: Sequence[str], count: int) -> None:
    """Put `count` messages into each chat, through the store that all doors use."""
    drafts = [
        Draft(sender_id=people[n].id, chat_id=UUID(chats[n]), content=f"~{n}~ {TEXT}", client_id=uuid7())
        for _ in range(count)
        for n in range(0, len(people), 2)
    ]
    for start in range(0, len(drafts), BATCH):
        store(drafts[start : start + BATCH])


def fill(person: User, chat: str, count: int) -> None:
    """Give a direct chat a long history, which its first person wrote."""
    chat_id = UUID(chat)
    receiver_id = (
        Membership.objects.filter(chat_id=chat_id).exclude(user=person).values_list("user_id", flat=True).get()
    )
    insert(history(chat_id, person.id, receiver_id, range(1, count + 1)))
    Chat.objects.filter(id=chat_id).update(counter=count, last_seq=count)


def history(chat_id: UUID, sender_id: UUID, receiver_id: UUID, seqs: range) -> Iterator[list[Any]]:
    """Yield rows of a direct chat's messages with these numbers, as the store writes them."""
    content = Message._meta.get_field("content")
    cipher = keys.cipher(chat_id)
    moment = numbers.now()
    for seq in seqs:
        message_id = uuid7()
        values = {
            "id": message_id,
            "chat_id": chat_id,
            "sender_id": sender_id,
            "receiver_id": receiver_id,
            "content": content.seal(cipher, f"~{seq}~ {TEXT}", (chat_id, message_id, sender_id)),
            "type": MessageType.TEXT.value,
            "timestamp": moment,
            "seq": seq,
            "rev": seq,
            "client_id": uuid7(),
        }
        yield [values.get(name) for name in COLUMNS]


def insert(rows: Iterable[list[Any]]) -> None:
    """Insert messages without their events, a transaction for some thousands: quicker than the store."""
    rows = iter(rows)
    while part := list(islice(rows, ROWS)):
        with db.atomic():
            db.insert(Message, part)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--group", action="store_true", help="one group of all instead of direct chats of pairs")
    parser.add_argument("--messages", type=int, default=0, help="how many each chat has from the start")
    parser.add_argument("--fill", type=int, nargs="*", default=[], help="length of the history of the first chats")
    arguments = parser.parse_args()
    with db.atomic():
        people = add_people(arguments.people)
        accounts = open_sessions(people)
        chats = (open_group if arguments.group else open_direct_chats)(people)
    for place, count in enumerate(arguments.fill):
        fill(people[2 * place], chats[2 * place], count)
    write(people, chats, arguments.messages)
    json.dump({"accounts": accounts, "chats": chats}, sys.stdout)


if __name__ == "__main__":
    main()
