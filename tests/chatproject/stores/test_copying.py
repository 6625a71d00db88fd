"""Copies between two real databases: what a second pass carries, where an interrupted one goes on, what collides."""

from __future__ import annotations

import io
import re
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model

from accounts.models import Session, User
from chatproject.ids import uuid7
from chatproject.stores import copying, writing
from chatproject.stores.models import Freeze
from chatproject.stores.tables import CHATS, MESSAGES, TABLES
from messaging import attachments, services
from messaging.drafts import Draft
from messaging.models import Attachment, Chat, Membership, Message
from tests.chatproject.stores.conftest import Pair, person, say


class Stopped(Exception):
    """The process ends here, as by a kill."""


def group(owner: User, *members: User, title: str = "Plans") -> UUID:
    """Open a group."""
    chat, _ = services.create_chat(creator_id=owner.pk, participant_ids=[one.pk for one in members], title=title)
    return chat.pk


def upload(user: User, chat_id: UUID) -> Attachment:
    """Upload a file into a chat."""
    return attachments.store(
        uploader_id=user.pk, chat_id=chat_id, name="notes.txt", media_type="text/plain", file=io.BytesIO(b"notes")
    )


def test_every_table_is_copied() -> None:
    """A model that is added to an app of ours is copied, or this test says that somebody has forgotten it."""
    ours = {model for label in ("accounts", "messaging", "stores") for model in apps.get_app_config(label).get_models()}

    assert {table.model for table in TABLES} == ours - {Freeze}


def test_a_copy_is_its_sources_equal(pair: Pair) -> None:
    """Ciphertexts arrive as they are, counters with their messages, and nothing is left for a second pass."""
    ada, bob = person("ada"), person("bob")
    chat_id = group(ada, bob)
    message, *_ = say(ada, chat_id, *(f"message {number}" for number in range(7)))

    written = pair.copy(batch=3)
    verdict = pair.verify()

    assert written.added["messages"] == Message.objects.count()
    assert verdict.good, verdict
    row = Message.objects.using("target").get(pk=message.pk)
    ciphertexts = [
        Message.objects.using(alias).values_list("content", flat=True).get(pk=message.pk)
        for alias in ("source", "target")
    ]
    assert ciphertexts[0] == ciphertexts[1]
    assert row.content == "message 0"
    assert pair.copy(batch=3).total == 0


def test_a_second_pass_carries_everything_that_happened(pair: Pair) -> None:
    """New, edited and deleted messages, people who came and went, a chat that was erased, sessions that ended."""
    ada, bob, eve = person("ada"), person("bob"), person("eve")
    kept, erased = group(ada, bob, eve), group(ada, bob, title="Gone")
    first, second, third = say(ada, kept, "one", "two", "three")
    say(ada, erased, *(f"{number}" for number in range(5)))
    doomed = upload(ada, kept)
    pair.copy(batch=2)

    say(bob, kept, "four")
    services.edit_message(chat_id=kept, message_id=first.pk, user_id=ada.pk, content="one, better")
    services.delete_message(chat_id=kept, message_id=second.pk, user_id=ada.pk)
    services.remove_member(chat_id=kept, user_id=ada.pk, member_id=eve.pk)
    services.delete_chat(chat_id=erased, user_id=ada.pk)
    services.mark_read(chat_id=kept, user_id=bob.pk, seq=third.seq)
    attachments.delete(attachment_id=doomed.pk)
    Session.objects.filter(user=eve).delete()
    eve.delete()
    say(person("zoe"), group(person("yan"), User.objects.get(username="zoe")), "hello")
    assert not pair.verify().good

    written = pair.copy(batch=2)

    verdict = pair.verify()
    assert verdict.good, [(one.table.name, one.named) for one in verdict.tables if not one.equal]
    assert not Chat.objects.using("target").filter(pk=erased).exists()
    assert written.removed["chats"] == 1
    assert written.removed["users"] == 1
    assert Message.objects.using("target").get(pk=first.pk).content == "one, better"


def test_a_second_pass_leaves_quiet_chats_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million messages only those that are new are read: the others' chats have equal rows."""
    ada, bob = person("ada"), person("bob")
    quiet, busy = group(ada, bob), group(bob, ada)
    say(ada, quiet, *"abcdefgh")
    say(ada, busy, *"abcdefgh")
    pair.copy()
    say(ada, busy, "i")
    passed: list[int] = []
    monkeypatch.setattr(copying.Copy, "_compare", lambda self, table: None)

    pair.copy(progress=passed.append)

    assert passed == [Chat.objects.count(), 1]
    assert pair.verify().tables[TABLES.index(MESSAGES)].equal


@pytest.mark.parametrize("stop_after", [1, 4, 7, 10, 13])
def test_an_interrupted_copy_goes_on(pair: Pair, monkeypatch: pytest.MonkeyPatch, stop_after: int) -> None:
    """Wherever it ends, the next run brings the rest, and does not read again what is there."""
    ada, bob = person("ada"), person("bob")
    long, short = group(ada, bob), group(bob, ada)
    first, *_ = say(ada, long, *(f"{number}" for number in range(20)))
    say(ada, short, "x", "y")
    services.edit_message(chat_id=long, message_id=first.pk, user_id=ada.pk, content="later")
    write, writes = writing.Writer.write, []

    def stopping(self: Any, *arguments: Any) -> None:
        writes.append(arguments)
        if len(writes) > stop_after:
            raise Stopped
        write(self, *arguments)

    monkeypatch.setattr(writing.Writer, "write", stopping)
    with pytest.raises(Stopped):
        pair.copy(batch=4)
    held = Message.objects.using("target").count()
    monkeypatch.setattr(writing.Writer, "write", write)

    written = pair.copy(batch=4)

    assert pair.verify().good
    assert written.added["messages"] == Message.objects.count() - held


def test_a_chats_counter_comes_after_its_messages(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its messages are there a chat is copied as an empty one: otherwise a next pass would pass over it."""
    ada, bob = person("ada"), person("bob")
    chat_id = group(ada, bob)
    say(ada, chat_id, *"abcdefgh")
    monkeypatch.setattr(copying.Copy, "_copy_messages", lambda self: None)

    pair.copy()

    assert Chat.objects.using("target").get(pk=chat_id).counter == 0
    assert Chat.objects.get(pk=chat_id).counter > 8


def test_names_that_two_people_have_swapped(pair: Pair) -> None:
    """A unique value that has passed from one row to another between the passes is no obstacle."""
    ada, bob = person("ada"), person("bob")
    pair.copy()
    for user, name in ((ada, "between"), (bob, "ada"), (ada, "bob")):
        user.username = name
        user.save()

    pair.copy(batch=1)

    assert pair.verify().good
    assert get_user_model().objects.using("target").get(pk=ada.pk).username == "bob"


def test_what_comes_while_a_pass_runs(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody registers, uploads and writes after people and uploads have been passed: the pass brings them along."""
    ada, bob = person("ada"), person("bob")
    chat_id = group(ada, bob)
    say(ada, chat_id, "one")
    go_on = copying.Copy._copy_messages

    def and_meanwhile(self: copying.Copy) -> None:
        eve = person("eve")
        services.add_members(chat_id=chat_id, user_id=ada.pk, new_ids=[eve.pk])
        file = upload(eve, chat_id)
        services.store([Draft(sender_id=eve.pk, chat_id=chat_id, content="", type="file", attachment_id=file.pk)])
        go_on(self)

    monkeypatch.setattr(copying.Copy, "_copy_messages", and_meanwhile)
    pair.copy()
    monkeypatch.setattr(copying.Copy, "_copy_messages", go_on)

    assert Message.objects.using("target").filter(sender__username="eve").exists()
    pair.copy()
    assert pair.verify().good


def test_a_dry_run_writes_nothing(pair: Pair) -> None:
    """It counts what would be written."""
    ada, bob = person("ada"), person("bob")
    say(ada, group(ada, bob), "one", "two")

    written = pair.copy(dry_run=True)

    assert written.added["users"] == 2
    assert written.added["messages"] == Message.objects.count()
    assert [table.count("target") for table in TABLES] == [0] * len(TABLES)


def test_every_message_puts_a_damaged_copy_right(pair: Pair) -> None:
    """What no counter tells of is found by comparing all: a changed, a missing and a foreign message."""
    ada, bob = person("ada"), person("bob")
    chat_id = group(ada, bob)
    changed, missing, _ = say(ada, chat_id, "one", "two", "three")
    pair.copy()
    target = Message.objects.using("target")
    target.filter(pk=changed.pk).update(rev=99)
    target.filter(pk=missing.pk)._raw_delete("target")

    pair.copy()
    assert not pair.verify().good
    pair.copy(every_message=True)

    assert pair.verify().good
    assert Membership.objects.using("target").count() == 2
    assert CHATS.count("target") == 1


def test_a_window_of_numbers_is_read_by_indexes(pair: Pair) -> None:
    """Reading on in a long chat neither scans nor sorts it: each part of a window is a range of an index."""
    sent, changed = (part.explain() for part in pair.target.numbered(uuid7(), 50_000, 52_000))

    assert re.search(r"USING INDEX \S+ \(chatId=\? AND seq>\? AND seq<\?\)", sent), sent
    assert "USING INDEX messages_chat_changed (chatId=? AND rev>? AND rev<?)" in changed
    assert "TEMP B-TREE" not in sent + changed
