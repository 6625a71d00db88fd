"""Tests of the door to the writer that every entry point but the sockets goes through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatproject.errors import InvalidInput
from messaging.drafts import Draft
from messaging.models import Chat, Message
from messaging.representation import message_document
from messaging.selectors import ChatNotFound
from messaging.services import Stored
from messaging.submission import set_writer, submit
from tests.messaging.conftest import NOWHERE, Announced, Person

STORED = Stored(message_document(Message(chat_id=NOWHERE, sender_id=NOWHERE, content="Tea?", seq=1, rev=1)))


@pytest.fixture
def handed_over() -> Iterator[list[Draft]]:
    """Put another writer behind the door, and take what it is given."""
    drafts: list[Draft] = []

    def write(draft: Draft) -> Stored:
        drafts.append(draft)
        return STORED

    set_writer(write)
    yield drafts
    set_writer(None)


def test_without_a_writer_a_draft_is_stored_at_once(
    published: Announced, ada: Person, grace: Person, direct: Chat
) -> None:
    """As in a command: after the call it is committed and announced."""
    stored = submit(Draft(sender_id=ada.id, chat_id=direct.id, content="Tea?"))

    assert Message.objects.get().id == stored.message.id
    assert published.told() == [("message:receive", {ada.id, grace.id})]


def test_the_error_of_a_draft_is_raised(published: Announced, mallory: Person, direct: Chat) -> None:
    """And nothing is stored."""
    with pytest.raises(ChatNotFound):
        submit(Draft(sender_id=mallory.id, chat_id=direct.id, content="Tea?"))

    assert (Message.objects.count(), published.events) == (0, [])


def test_drafts_go_to_the_installed_writer(handed_over: list[Draft], ada: Person, direct: Chat) -> None:
    """The real-time side puts its batcher there."""
    draft = Draft(sender_id=ada.id, chat_id=direct.id, content="Tea?")

    assert submit(draft) is STORED
    assert handed_over == [draft]
    assert not Message.objects.exists()


def test_bad_drafts_never_reach_the_writer(handed_over: list[Draft], ada: Person, direct: Chat) -> None:
    """They are refused before they wait in a queue."""
    with pytest.raises(InvalidInput):
        submit(Draft(sender_id=ada.id, chat_id=direct.id, content=" "))

    assert handed_over == []
