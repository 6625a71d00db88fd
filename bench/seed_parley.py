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
from typing import TYPE_CHECKING

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup()

from django.utils import timezone  # noqa: E402

from accounts import tokens  # noqa: E402
from accounts.models import Session, User, username_key  # noqa: E402
from chatproject import db  # noqa: E402
from chatproject.ids import uuid7  # noqa: E402
from messaging import keys  # noqa: E402
from messaging.models import Chat, ChatKind, Membership, Role  # noqa: E402
from messaging.services import direct  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--group", action="store_true", help="one group of all instead of direct chats of pairs")
    arguments = parser.parse_args()
    with db.atomic():
        people = add_people(arguments.people)
        accounts = open_sessions(people)
        chats = (open_group if arguments.group else open_direct_chats)(people)
    json.dump({"accounts": accounts, "chats": chats}, sys.stdout)


if __name__ == "__main__":
    main()
