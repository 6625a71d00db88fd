"""Makes the peer's tables and fills them with pairs of people; prints the accounts with their tokens."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import django

django.setup()

import jwt  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

from bench.peers.channels.models import Chat, Membership  # noqa: E402


def token(user: User) -> str:
    claims = {"sub": str(user.pk), "exp": datetime.now(UTC) + timedelta(hours=2)}
    return jwt.encode(claims, settings.SECRET_KEY, algorithm="HS256")


def main() -> None:
    call_command("migrate", "--run-syncdb", verbosity=0)
    with transaction.atomic():
        people = User.objects.bulk_create(User(username=f"person{n}", password="!") for n in range(int(sys.argv[1])))
        chats = Chat.objects.bulk_create(Chat() for _ in range(len(people) // 2))
        Membership.objects.bulk_create(Membership(chat=chats[n // 2], user=person) for n, person in enumerate(people))
    json.dump(
        {
            "accounts": [{"id": str(person.pk), "token": token(person)} for person in people],
            "chats": [str(chats[n // 2].pk) for n in range(len(people))],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
