"""Brings a benchmark's Parley database to a size: one long chat and many short ones, all of one person.

Run in the server's environment: `python -m bench.seed_sizes --size 10000 --chats 1000 --away 5000`; again with a larger
size it adds what is missing. The long chat gets `size` messages, the others a tenth of that together and one each at
the least. The others wrote them all. The person has read everything but the last message of each short chat, and is
`away` messages behind in the long one. Prints the person and the one they share the long chat with, and the chats, the
long one first.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.auth import get_user_model

from bench.seed_parley import add_people, history, insert, open_sessions
from chatproject import db
from messaging import keys
from messaging.models import Chat, Membership
from messaging.services import direct

if TYPE_CHECKING:
    from accounts.models import User

SHARE = 10


def installation(chats: int) -> tuple[User, list[User], list[UUID]]:
    """Return the person, the others, and the chat with each of them; the first is the long one. Made when missing."""
    people = sorted(get_user_model().objects.all(), key=lambda one: int(one.username.removeprefix("person")))
    if not people:
        with db.atomic():
            people = add_people(chats + 2)
            direct.open_chats((people[0].id, other.id) for other in people[1:])
    person, others = people[0], people[1:]
    found = direct.find((person.id, other.id) for other in others)
    return person, others, [found[direct.direct_key(person.id, other.id)] for other in others]


def grow(person: User, others: list[User], chats: list[UUID], size: int, away: int) -> None:
    short = max(1, size // SHARE // (len(chats) - 1))
    wanted = {chat_id: size if place == 0 else short for place, chat_id in enumerate(chats)}
    there = dict(Chat.objects.filter(id__in=chats).values_list("id", "counter"))
    keys.preload(chats)
    insert(
        row
        for other, chat_id in zip(others, chats, strict=True)
        for row in history(chat_id, other.id, person.id, range(there[chat_id] + 1, wanted[chat_id] + 1))
    )
    tops = {chat_id: max(there[chat_id], count) for chat_id, count in wanted.items()}
    own = dict(Membership.objects.filter(user=person).values_list("chat_id", "id"))
    with db.atomic():
        db.update_each(Chat, ("counter", "last_seq"), [(chat_id, top, top) for chat_id, top in tops.items()])
        marks = [(own[chat], max(0, top - (away if chat == chats[0] else 1))) for chat, top in tops.items()]
        db.update_each(Membership, ("delivered_seq", "read_seq"), [(key, mark, mark) for key, mark in marks])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True, help="messages of the long chat")
    parser.add_argument("--chats", type=int, required=True, help="how many short chats there are")
    parser.add_argument("--away", type=int, required=True, help="how many messages of the long chat are unread")
    arguments = parser.parse_args()
    person, others, chats = installation(arguments.chats)
    grow(person, others, chats, arguments.size, arguments.away)
    json.dump({"accounts": open_sessions([person, others[0]]), "chats": [str(one) for one in chats]}, sys.stdout)


if __name__ == "__main__":
    main()
