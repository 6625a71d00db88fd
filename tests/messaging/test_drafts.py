"""Tests of what a message has to be before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from chatproject.errors import InvalidInput
from chatproject.ids import uuid7
from messaging.drafts import CONTENT_BYTES, Draft, check, check_content

SENDER, CHAT, OTHER = uuid7(), uuid7(), uuid7()


def draft(**changes: Any) -> Draft:
    """Return a good draft with some changes."""
    return Draft(**{"sender_id": SENDER, "chat_id": CHAT, "content": "Tea?", **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"chat_id": None, "receiver_id": OTHER},
        {"type": "image", "content": "https://example.org/tea.png"},
        {"type": "file", "content": "", "attachment_id": uuid7()},
        {"type": "image", "content": "  ", "attachment_id": uuid7()},
        {"content": "x" * CONTENT_BYTES},
        {"content": "☕" * (CONTENT_BYTES // 3)},
        {"content": "\r\n tea \t"},
        {"content": "\u200f\u202eمرحبا e\u0301 \U0001f469\u200d\U0001f4bb \ufeff\uffff"},
    ],
)
def test_good_drafts_pass_as_they_are(changes: dict[str, Any]) -> None:
    """Nothing is trimmed, normalised or replaced."""
    given = draft(**changes)

    assert check(given) is given


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"chat_id": None}, {"chatId": "exactly_one"}),
        ({"receiver_id": OTHER}, {"chatId": "exactly_one"}),
        ({"chat_id": None, "receiver_id": SENDER}, {"receiverId": "self"}),
        ({"type": "system"}, {"type": "invalid_choice"}),
        ({"type": ""}, {"type": "invalid_choice"}),
        ({"attachment_id": uuid7()}, {"attachmentId": "invalid"}),
        ({"content": ""}, {"content": "blank"}),
        ({"content": " \t\r\n\u2003\u3000"}, {"content": "blank"}),
        ({"type": "image", "content": ""}, {"content": "blank"}),
        ({"content": "a\0b"}, {"content": "null_characters_not_allowed"}),
        ({"content": "half a pair: \ud83d"}, {"content": "surrogate_characters_not_allowed"}),
        ({"content": "x" * (CONTENT_BYTES + 1)}, {"content": "max_length"}),
        ({"content": "☕" * (CONTENT_BYTES // 3) + "xx"}, {"content": "max_length"}),
        ({"content": "x" * 1024 * 1024}, {"content": "max_length"}),
        ({"chat_id": None, "type": "x", "content": ""}, {"chatId": "", "type": "", "content": ""}),
    ],
)
def test_bad_drafts_name_each_field(changes: dict[str, Any], problems: dict[str, str]) -> None:
    """The error has a code for every field at fault and no other."""
    with pytest.raises(InvalidInput) as caught:
        check(draft(**changes))

    assert set(caught.value.fields) == set(problems)
    for name, code in problems.items():
        assert caught.value.fields[name][0]["code"] == code or not code


def test_the_limit_counts_bytes() -> None:
    """16 KiB of UTF-8 pass to the last byte, whatever the characters; the error tells the size."""
    four_bytes = "\U0001f375"
    check(draft(content=four_bytes * (CONTENT_BYTES // 4)))

    with pytest.raises(InvalidInput) as caught:
        check(draft(content=four_bytes * (CONTENT_BYTES // 4) + "x"))

    assert "16385 bytes" in caught.value.fields["content"][0]["message"]


def test_every_draft_has_a_client_id_of_its_own() -> None:
    """A sender who gives none cannot meet their own earlier message."""
    assert draft().client_id != draft().client_id


@pytest.mark.parametrize(
    ("content", "may_be_empty", "good"), [("", True, True), ("", False, False), ("x", False, True)]
)
def test_an_edit_may_be_empty_only_beside_an_attachment(content: str, may_be_empty: bool, good: bool) -> None:
    """The caption of a picture may go; the text of a message is deleted rather than emptied."""
    if good:
        check_content(content, may_be_empty=may_be_empty)
        return
    with pytest.raises(InvalidInput):
        check_content(content, may_be_empty=may_be_empty)
