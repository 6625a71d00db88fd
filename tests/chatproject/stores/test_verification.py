"""Verification finds what a copy must not be: altered, incomplete, too much, or locked for good."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from accounts.models import User
from chatproject.stores.verification import Verdict
from messaging import services
from messaging.fields import Sealed
from messaging.models import ChatKey, Message
from tests.chatproject.stores.conftest import Pair, person, say


@pytest.fixture
def messages(pair: Pair) -> list[Message]:
    """Three messages that were copied."""
    ada, bob = person("ada"), person("bob")
    chat, _ = services.create_chat(creator_id=ada.pk, participant_ids=[bob.pk], title="Plans")
    said = say(ada, chat.pk, "one", "two", "three")
    pair.copy()
    assert pair.verify().good
    return said


def named(verdict: Verdict) -> list[str]:
    """Return what is named, and check that the verdict follows from it."""
    assert not verdict.good
    return [f"{one.table.name} {problem}" for one in verdict.tables for problem in one.named]


def test_a_corrupted_ciphertext_is_named(pair: Pair, messages: list[Message]) -> None:
    """One bit in one row."""
    rows = Message.objects.using("target").filter(pk=messages[1].pk)
    content = rows.values_list("content", flat=True).get()
    rows.update(content=Sealed(content[:-1] + bytes([content[-1] ^ 1])))

    verdict = pair.verify()

    assert named(verdict) == [f"messages {messages[1].pk} differs in content"]
    differing = [one for one in verdict.tables if not one.equal]
    assert [one.source_digest == one.target_digest for one in differing] == [False]


def test_a_missing_and_a_foreign_row_are_named(pair: Pair, messages: list[Message]) -> None:
    """Also where the counts are equal."""
    Message.objects.using("target").filter(pk=messages[2].pk)._raw_delete("target")
    foreign = User.objects.using("target").create(username="eve", email="eve@example.org")

    verdict = pair.verify()

    assert named(verdict) == [
        f"users {foreign.pk} is not in the source",
        f"messages {messages[2].pk} is missing",
    ]
    assert [problem.partition(":")[0] for problem in verdict.wrong_numbers] == [str(messages[0].chat_id)]


def test_keys_that_do_not_unwrap_are_named(pair: Pair, messages: list[Message], settings: Any) -> None:
    """A damaged data key, and a master key that is not configured."""
    rows = ChatKey.objects.using("target")
    key = rows.get()
    rows.update(wrapped=key.wrapped[:-1] + bytes([key.wrapped[-1] ^ 1]))
    assert "does not unwrap" in pair.verify().wrong_keys[0]

    settings.PARLEY_MASTER_KEYS = (("other", base64.b64decode("A" * 43 + "=")),)
    assert "is not in PARLEY_MASTER_KEYS" in pair.verify().wrong_keys[0]
