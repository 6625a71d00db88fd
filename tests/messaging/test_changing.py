"""Tests of edits and deletions: the place stays, the rev moves, and the old text is gone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from chatproject.errors import InvalidInput
from messaging import services
from messaging.drafts import CONTENT_BYTES
from messaging.models import Attachment, Chat, Message
from messaging.representation import message_body
from messaging.selectors import ChatNotFound, MessageNotFound
from messaging.services.changing import MessageIsDeleted, NotMessageSender
from tests.messaging.conftest import NOWHERE, Announced, Person, member, open_direct, say


def edit(who: Person, message: Message, content: str = "At five.") -> Message:
    """Edit a message as somebody."""
    return services.edit_message(chat_id=message.chat_id, message_id=message.id, user_id=who.id, content=content)


def delete(who: Person, message: Message) -> Message:
    """Delete a message as somebody."""
    return services.delete_message(chat_id=message.chat_id, message_id=message.id, user_id=who.id)


def state() -> list[tuple[Any, ...]]:
    """Return what is stored of every message, ciphertext included, and each chat's counter."""
    messages = Message.objects.order_by("id").values_list("id", "seq", "rev", "content", "edited_at", "deleted_at")
    return [*messages, *Chat.objects.order_by("id").values_list("id", "counter", "last_seq")]


def test_an_edit_takes_the_next_rev(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """The message stays in its place with the new text; both people are told."""
    first = say(ada, direct)
    say(grace, direct, "Fine.")
    published.clear()

    edited = edit(ada, first, "At five ☕")

    stored = Message.objects.get(id=first.id)
    assert (edited.content, stored.content, stored.seq, stored.rev) == ("At five ☕", "At five ☕", 1, 3)
    assert stored.edited_at is not None
    assert stored.timestamp == first.timestamp
    assert (Chat.objects.get().counter, Chat.objects.get().last_seq) == (3, 2)
    assert published.told() == [("message:update", {ada.id, grace.id})]
    assert published.events[0].data() == message_body(stored)


def test_an_edit_is_encrypted_anew(published: Announced, ada: Person, direct: Chat) -> None:
    """With a nonce of its own, also when the text is the same."""
    message = say(ada, direct)
    before = bytes(Message.objects.values_list("content", flat=True).get())

    edit(ada, message, message.content)

    after = bytes(Message.objects.values_list("content", flat=True).get())
    assert after != before
    assert message.content.encode() not in after


def test_a_deletion_leaves_a_tombstone(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """Place and sender remain, the text does not; both people are told."""
    message = say(ada, direct)
    ciphertext = bytes(Message.objects.values_list("content", flat=True).get())
    published.clear()

    delete(ada, message)

    stored = Message.objects.get()
    assert (stored.content, stored.seq, stored.rev, stored.sender_id) == ("", 1, 2, ada.id)
    assert stored.deleted_at is not None
    assert bytes(Message.objects.values_list("content", flat=True).get()) != ciphertext
    assert published.told() == [("message:delete", {ada.id, grace.id})]
    assert published.events[0].data() == message_body(stored)
    assert published.events[0].data()["content"] == ""


def test_deleting_twice_is_as_good_as_once(published: Announced, ada: Person, direct: Chat) -> None:
    """The second time changes and announces nothing."""
    message = say(ada, direct)
    delete(ada, message)
    before = state()
    published.clear()

    again = delete(ada, message)

    assert again.deleted_at is not None
    assert state() == before
    assert published.events == []


def test_what_was_read_stays_read(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """The event of a change tells the read mark as it is."""
    message = say(ada, direct)
    services.mark_read(chat_id=direct.id, user_id=grace.id, seq=1)
    published.clear()

    edit(ada, message)

    assert published.events[0].data()["read"] is True


@pytest.mark.parametrize("change", [edit, delete])
def test_only_the_sender_may_change(
    published: Announced, ada: Person, grace: Person, mallory: Person, direct: Chat, change: Any
) -> None:
    """The other member is told so; a stranger learns nothing; nothing changes and nobody hears of it."""
    message = say(ada, direct)
    before = state()
    published.clear()

    with pytest.raises(NotMessageSender):
        change(grace, message)
    with pytest.raises(ChatNotFound):
        change(mallory, message)

    assert state() == before
    assert published.events == []


@pytest.mark.parametrize("change", [edit, delete])
def test_a_message_is_found_in_its_own_chat_alone(ada: Person, mallory: Person, direct: Chat, change: Any) -> None:
    """Not through another chat of its sender, and not when there is none."""
    message = say(ada, direct)
    elsewhere = open_direct(ada, mallory)

    for wrong in (Message(id=message.id, chat_id=elsewhere.id), Message(id=NOWHERE, chat_id=direct.id)):
        with pytest.raises(MessageNotFound):
            change(ada, wrong)


@pytest.mark.parametrize("change", [edit, delete])
def test_system_messages_cannot_be_changed(published: Announced, ada: Person, group: Chat, change: Any) -> None:
    """What happened to a group stays told, whoever caused it."""
    told = Message.objects.get(chat_id=group.id)
    before = state()

    with pytest.raises(MessageNotFound):
        change(ada, told)

    assert state() == before


@pytest.mark.parametrize("content", ["", "  ", "a\0", "\udc00", "x" * (CONTENT_BYTES + 1)])
def test_an_edit_follows_the_rules_of_content(published: Announced, ada: Person, direct: Chat, content: str) -> None:
    """A refused edit changes nothing."""
    message = say(ada, direct)
    before = state()
    published.clear()

    with pytest.raises(InvalidInput):
        edit(ada, message, content)

    assert state() == before
    assert published.events == []


def test_a_deleted_message_cannot_be_edited(published: Announced, ada: Person, direct: Chat) -> None:
    """It does not come back."""
    message = say(ada, direct)
    delete(ada, message)
    before = state()

    with pytest.raises(MessageIsDeleted):
        edit(ada, message)

    assert state() == before


def test_a_former_member_cannot_change_their_messages(ada: Person, grace: Person, group: Chat) -> None:
    """Who has left has left with everything they said."""
    message = say(grace, group)
    services.remove_member(chat_id=group.id, user_id=grace.id, member_id=grace.id)

    for change in (edit, delete):
        with pytest.raises(ChatNotFound):
            change(grace, message)


def test_edits_and_deletions_at_once(published: Announced, ada: Person, direct: Chat) -> None:
    """Whatever the order, a message that was deleted has no text, and every rev was handed out once."""
    message = say(ada, direct)
    published.clear()
    barrier = threading.Barrier(6)

    def change(place: int) -> int | None:
        barrier.wait()
        try:
            return (delete(ada, message) if place == 3 else edit(ada, message, f"edit {place}")).rev
        except MessageIsDeleted:
            return None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        revs = [rev for rev in pool.map(change, range(6)) if rev is not None]

    stored = Message.objects.get()
    assert stored.content == ""
    assert sorted(revs) == list(range(2, 2 + len(revs)))
    assert stored.rev == Chat.objects.get().counter == max(revs)
    assert len(published.events) == len(revs)


def test_an_attachment_lives_as_long_as_a_message_shows_it(ada: Person, direct: Chat) -> None:
    """Deleting one of two messages with a file keeps it; deleting the second takes it along."""
    upload = Attachment(chat_id=direct.id, uploader_id=ada.id, name="tea.txt", media_type="text/plain", size=3)
    upload.save()
    first, second = (say(ada, direct, "", type="file", attachment_id=upload.id) for _ in range(2))

    delete(ada, first)
    assert Attachment.objects.filter(id=upload.id).exists()
    assert Message.objects.get(id=second.id).attachment == upload

    delete(ada, second)
    assert not Attachment.objects.filter(id=upload.id).exists()


def test_the_caption_of_an_attachment_may_be_emptied(ada: Person, direct: Chat) -> None:
    """The file is what the message says."""
    upload = Attachment(chat_id=direct.id, uploader_id=ada.id, name="tea.txt", media_type="text/plain", size=3)
    upload.save()
    message = say(ada, direct, "caption", type="file", attachment_id=upload.id)

    assert edit(ada, message, "").content == ""


def test_a_member_s_marks_are_not_touched(ada: Person, grace: Person, direct: Chat) -> None:
    """A change moves the counter, not what people have read."""
    message = say(ada, direct)
    services.mark_read(chat_id=direct.id, user_id=grace.id, seq=1)

    edit(ada, message)

    assert member(direct, grace).read_seq == 1
