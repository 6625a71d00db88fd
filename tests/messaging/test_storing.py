"""Tests of the only writer of messages: batches, order, repeated sends, and what is left when something fails."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from chatproject.errors import InvalidInput, Unavailable
from chatproject.ids import uuid7
from messaging import keys, services
from messaging.drafts import CONTENT_BYTES, Draft
from messaging.events import MessageReceived
from messaging.models import Attachment, Chat, ChatKey, Membership, Message
from messaging.representation import message_body
from messaging.selectors import ChatNotFound
from messaging.services import Outcome, Stored, numbers, storing
from messaging.services.direct import PersonNotFound
from messaging.services.storing import ClientIdReused
from tests.chatproject.commits import lose_answer
from tests.chatproject.races import in_threads
from tests.messaging.conftest import NOWHERE, Announced, Person, open_direct, open_group, row_of, say

THREADS = 8


def draft(sender: Person, chat: Chat, content: str = "Tea?", **more: Any) -> Draft:
    """Return a draft for a chat."""
    return Draft(sender_id=sender.id, chat_id=chat.id, content=content, **more)


def kinds(outcomes: list[Outcome]) -> list[str]:
    """Return the class of each outcome."""
    return [type(one).__name__ for one in outcomes]


def rows() -> tuple[int, ...]:
    """Return how many rows each table of chats has, and the sum of the counters."""
    counters = sum(Chat.objects.values_list("counter", flat=True))
    return (*(model.objects.count() for model in (Chat, ChatKey, Membership, Message, Attachment)), counters)


# --- What is stored ---------------------------------------------------------------------------------------------------


def test_a_message_takes_the_next_number(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """Its seq and rev are the chat's counter; every member is told, the sender's other devices included."""
    first = say(ada, direct)
    second = say(grace, direct, "At five.")

    assert [(one.seq, one.rev) for one in (first, second)] == [(1, 1), (2, 2)]
    chat = Chat.objects.get()
    assert (chat.counter, chat.last_seq) == (2, 2)
    assert published.told() == [("message:receive", {ada.id, grace.id})] * 2


def test_the_event_is_the_stored_message(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """What sockets get equals what a later reader gets, and names the socket that needs no copy."""
    stored = say(ada, direct, origin="socket-7")

    [event] = published.events

    assert isinstance(event, MessageReceived)
    assert event.data() == message_body(Message.objects.get())
    assert (event.message_id, event.origin) == (stored.id, "socket-7")
    assert event.data()["receiverId"] == str(grace.id)
    assert event.data()["read"] is False


@pytest.mark.parametrize(
    "content",
    [
        "👩‍💻🏴󠁧󠁢󠁳󠁣󠁴󠁿🇫🇷",
        "\u202eمرحبا\u202c שלום",
        "e\u0301 é \u1100\u1161 한",
        "\ufeff bom, \uffff, \x01\x7f\u2028\u2029\r\n\t ",
        '"quoted" \\ back </script> \' OR 1=1; --',
        "☕" * (CONTENT_BYTES // 3),
        "a" * CONTENT_BYTES,
    ],
)
def test_content_is_kept_byte_for_byte(ada: Person, direct: Chat, content: str) -> None:
    """Whatever was sent is what is read, and only ciphertext lies in the row."""
    say(ada, direct, content)

    stored = Message.objects.get()

    raw = bytes(Message.objects.values_list("content", flat=True).get())
    assert content.encode() not in raw
    assert stored.content.encode() == content.encode()


def test_a_group_message_has_no_receiver(published: Announced, ada: Person, group: Chat) -> None:
    """And everybody in the group is told, nobody else."""
    published.clear()

    message = say(ada, group)

    assert message.receiver_id is None
    [event] = published.events
    assert set(event.recipients) == set(Membership.objects.values_list("user_id", flat=True))
    assert event.data()["receiverId"] is None


# --- Batches ----------------------------------------------------------------------------------------------------------


def test_one_transaction_takes_many_drafts(published: Announced, ada: Person, grace: Person, mallory: Person) -> None:
    """Drafts of several chats and people are numbered in their order, and announced together in it."""
    one, other = open_direct(ada, grace), open_direct(ada, mallory)
    drafts = [
        draft(ada, one, "1"),
        draft(grace, one, "2"),
        draft(mallory, other, "3"),
        draft(ada, one, "4"),
        Draft(sender_id=ada.id, receiver_id=mallory.id, content="5"),
    ]

    outcomes = services.store(drafts)

    assert [(one.message.content, one.message.seq) for one in outcomes] == [
        ("1", 1),
        ("2", 2),
        ("3", 1),
        ("4", 3),
        ("5", 2),
    ]
    assert [event.data()["content"] for event in published.events] == ["1", "2", "3", "4", "5"]
    assert len(published.batches) == 1
    assert set(published.events[2].recipients) == {ada.id, mallory.id}


def test_the_price_of_a_batch_does_not_depend_on_its_size(ada: Person, grace: Person, direct: Chat) -> None:
    """A full batch takes as many statements as one draft."""

    def statements(count: int) -> int:
        with CaptureQueriesContext(connections["default"]) as captured:
            services.store([draft(ada, direct, str(number)) for number in range(count)])
        return len(captured)

    statements(1)  # the key is fetched once

    assert statements(1) == statements(256)


def test_bad_drafts_disturb_no_other(published: Announced, ada: Person, mallory: Person, direct: Chat) -> None:
    """Each draft has its own outcome in its own place; only what was stored has a number and an event."""
    outcomes = services.store(
        [
            draft(mallory, direct, "intruder"),
            draft(ada, direct, "first"),
            Draft(sender_id=ada.id, chat_id=NOWHERE, content="no such chat"),
            Draft(sender_id=ada.id, receiver_id=NOWHERE, content="no such person"),
            draft(ada, direct, "no such file", type="file", attachment_id=uuid7()),
            draft(ada, direct, "second"),
        ]
    )

    assert kinds(outcomes) == ["ChatNotFound", "Stored", "ChatNotFound", "PersonNotFound", "InvalidInput", "Stored"]
    assert [(one.content, one.seq) for one in Message.objects.order_by("seq")] == [("first", 1), ("second", 2)]
    assert Chat.objects.get().counter == 2
    assert [event.data()["content"] for event in published.events] == ["first", "second"]


def test_a_strange_chat_looks_like_a_missing_one(ada: Person, mallory: Person, direct: Chat) -> None:
    """The two errors are the same, so that ids of chats cannot be guessed."""
    strange, missing = services.store(
        [draft(mallory, direct), Draft(sender_id=mallory.id, chat_id=NOWHERE, content="x")]
    )

    assert isinstance(strange, ChatNotFound)
    assert (strange.code, strange.message, strange.fields) == (missing.code, missing.message, missing.fields)


def test_no_drafts_are_no_work(published: Announced, db: None) -> None:
    """An empty batch stores and announces nothing."""
    assert services.store([]) == []
    assert published.batches == []


@pytest.mark.parametrize("case", ["unknown person", "inactive person", "reused client id", "foreign upload"])
def test_a_refused_draft_opens_no_chat(
    published: Announced, ada: Person, grace: Person, mallory: Person, direct: Chat, case: str
) -> None:
    """Writing to somebody new opens the direct chat only together with its first message."""
    used = say(ada, direct)
    if case == "inactive person":
        type(mallory.user).objects.filter(pk=mallory.id).update(is_active=False)
    changes: dict[str, Any] = {
        "unknown person": {"receiver_id": NOWHERE},
        "inactive person": {},
        "reused client id": {"client_id": used.client_id},
        "foreign upload": {"type": "file", "attachment_id": uuid7()},
    }[case]
    before = rows()
    published.clear()

    [outcome] = services.store([Draft(**{"sender_id": ada.id, "receiver_id": mallory.id, "content": "x", **changes})])

    assert isinstance(outcome, PersonNotFound | ClientIdReused | InvalidInput)
    assert rows() == before
    assert published.events == []


def test_a_failure_leaves_nothing_behind(
    published: Announced, ada: Person, grace: Person, mallory: Person, direct: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last step fails, the new chat, its key, the numbers and the messages are all undone."""
    before = rows()
    published.clear()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(storing, "publish", fail)
    with pytest.raises(RuntimeError):
        services.store([draft(ada, direct), Draft(sender_id=ada.id, receiver_id=mallory.id, content="x")])

    assert rows() == before
    assert published.batches == []


# --- Numbers under load -----------------------------------------------------------------------------------------------


def test_numbers_are_dense_whoever_writes(published: Announced, ada: Person, grace: Person, direct: Chat) -> None:
    """Eight threads write at once: no gap, no double, and the commits follow the numbers."""
    each = 12

    def write(place: int) -> None:
        for number in range(each):
            say((ada, grace)[place % 2], direct, f"{place}-{number}")

    in_threads([lambda place=place: write(place) for place in range(THREADS)])

    total = THREADS * each
    found = list(Message.objects.order_by("seq"))
    assert [one.seq for one in found] == list(range(1, total + 1))
    assert [one.rev for one in found] == list(range(1, total + 1))
    assert Chat.objects.get().counter == total
    assert len({one.content for one in found}) == total
    for place in range(THREADS):
        mine = [one.content for one in found if one.content.startswith(f"{place}-")]
        assert mine == [f"{place}-{number}" for number in range(each)]
    assert sorted(event.data()["seq"] for event in published.events) == list(range(1, total + 1))


def test_a_reader_never_sees_a_number_before_the_one_below(published: Announced, ada: Person, direct: Chat) -> None:
    """While others write, the messages that are there are always 1 to n."""
    done = threading.Event()
    seen: list[list[int]] = []

    def read() -> None:
        while not done.is_set():
            seen.append(list(Message.objects.order_by("seq").values_list("seq", flat=True)))

    def write() -> None:
        try:
            for _ in range(15):
                services.store([draft(ada, direct), draft(ada, direct)])
        finally:
            done.set()

    in_threads([read, write])

    assert all(numbers_ == list(range(1, len(numbers_) + 1)) for numbers_ in seen)
    assert len({len(numbers_) for numbers_ in seen}) > 1


# --- Sends that are repeated ------------------------------------------------------------------------------------------


def test_a_repeated_send_gets_the_first_message(published: Announced, ada: Person, direct: Chat) -> None:
    """The client id is what counts: nothing is stored or announced again, whatever else the retry says."""
    client_id = uuid7()
    [first] = services.store([draft(ada, direct, "once", client_id=client_id)])
    published.clear()

    [again] = services.store([draft(ada, direct, "twice", client_id=client_id)])

    assert again == Stored(first.message, duplicate=True)
    assert (again.message.content, first.duplicate) == ("once", False)
    assert Message.objects.count() == Chat.objects.get().counter == 1
    assert published.events == []


def test_a_repeat_in_the_same_batch(published: Announced, ada: Person, grace: Person) -> None:
    """The first is stored, the others are its duplicates, also where the chat is opened by it."""
    client_id = uuid7()
    repeated = Draft(sender_id=ada.id, receiver_id=grace.id, content="once", client_id=client_id)

    outcomes = services.store([repeated, Draft(sender_id=ada.id, receiver_id=grace.id, content="x"), *[repeated] * 20])

    assert [one.duplicate for one in outcomes] == [False, False, *[True] * 20]
    assert len({one.message.id for one in outcomes}) == 2
    assert [one.seq for one in Message.objects.order_by("seq")] == [1, 2]
    assert len(published.events) == 2


def test_a_repeat_of_a_refused_draft_is_refused(published: Announced, ada: Person, mallory: Person) -> None:
    """Twins in one batch share their fate."""
    client_id = uuid7()
    twin = Draft(sender_id=ada.id, receiver_id=NOWHERE, content="x", client_id=client_id)

    outcomes = services.store([twin, twin])

    assert kinds(outcomes) == ["PersonNotFound", "PersonNotFound"]
    assert rows()[:4] == (0, 0, 0, 0)


@pytest.mark.parametrize("together", [True, False])
def test_a_client_id_belongs_to_one_chat(
    published: Announced, ada: Person, grace: Person, mallory: Person, direct: Chat, together: bool
) -> None:
    """Using it again elsewhere is told, and stores nothing there."""
    client_id = uuid7()
    other = open_direct(ada, mallory)
    here, there = draft(ada, direct, client_id=client_id), draft(ada, other, client_id=client_id)

    outcomes = services.store([here, there]) if together else [*services.store([here]), *services.store([there])]

    assert kinds(outcomes) == ["Stored", "ClientIdReused"]
    assert not Message.objects.filter(chat_id=other.id).exists()
    assert len(published.events) == 1


def test_client_ids_of_different_people_do_not_meet(published: Announced, ada: Person, grace: Person) -> None:
    """Nobody can find out or block what somebody else sends by guessing an id."""
    chat = open_direct(ada, grace)
    client_id = uuid7()

    outcomes = services.store([draft(ada, chat, client_id=client_id), draft(grace, chat, client_id=client_id)])

    assert [one.duplicate for one in outcomes] == [False, False]
    assert Message.objects.count() == 2


def test_parallel_retries_store_one_message(published: Announced, ada: Person, direct: Chat) -> None:
    """Eight devices send the same client id at once: one message, one event, seven duplicates of it."""
    client_id = uuid7()

    outcomes = [
        one for [one] in in_threads([lambda: services.store([draft(ada, direct, client_id=client_id)])] * THREADS)
    ]

    assert len({one.message.id for one in outcomes}) == 1
    assert sorted(one.duplicate for one in outcomes) == [False, *[True] * (THREADS - 1)]
    assert Message.objects.count() == Chat.objects.get().counter == 1
    assert len(published.events) == 1


def test_a_commit_that_was_done_and_not_confirmed(
    published: Announced, ada: Person, grace: Person, direct: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The try after it finds the messages, which are new to whoever sent them once, and to everybody else."""
    drafts = [
        draft(ada, direct, "one", origin="socket-7"),
        Draft(sender_id=grace.id, receiver_id=ada.id, content="two"),
    ]
    lose_answer(monkeypatch, OperationalError("database is locked"))

    outcomes = services.store([*drafts, drafts[0]])

    assert [one.duplicate for one in outcomes] == [False, False, True]
    assert [one.message.seq for one in outcomes] == [1, 2, 1]
    assert Message.objects.count() == Chat.objects.get().counter == 2
    assert published.told() == [("message:receive", {ada.id, grace.id})] * 2
    assert [one.data() for one in published.events] == [message_body(one) for one in Message.objects.order_by("seq")]
    assert [one.origin for one in published.events] == ["socket-7", None]
    assert services.store([replace(drafts[0], message_id=uuid7())]) == [replace(outcomes[0], duplicate=True)]


def test_two_people_who_write_first_at_once_share_one_chat(published: Announced, ada: Person, grace: Person) -> None:
    """Whoever comes first opens it; nobody sees an error."""
    jobs = [
        lambda: services.store([Draft(sender_id=ada.id, receiver_id=grace.id, content="hello")]),
        lambda: services.store([Draft(sender_id=grace.id, receiver_id=ada.id, content="hello")]),
    ]

    outcomes = in_threads(jobs * 2)

    assert all(isinstance(one, Stored) for [one] in outcomes)
    assert rows() == (1, 1, 2, 4, 0, 4)


# --- Attachments ------------------------------------------------------------------------------------------------------


def test_an_attachment_is_its_uploader_s_and_its_chat_s(ada: Person, grace: Person, direct: Chat) -> None:
    """Only who uploaded a file may send it, and only where it was uploaded."""
    elsewhere = open_group(ada, grace)
    upload = Attachment(chat_id=direct.id, uploader_id=ada.id, name="tea.txt", media_type="text/plain", size=3)
    upload.save()

    good, other_person, other_chat = services.store(
        [
            draft(ada, direct, "", type="file", attachment_id=upload.id),
            draft(grace, direct, "", type="file", attachment_id=upload.id),
            draft(ada, elsewhere, "", type="file", attachment_id=upload.id),
        ]
    )

    assert row_of(good).attachment == upload
    for refused in (other_person, other_chat):
        assert isinstance(refused, InvalidInput)
        assert set(refused.fields) == {"attachmentId"}


def test_times_have_whole_milliseconds(ada: Person, direct: Chat) -> None:
    """What is acked equals what is read later on every database."""
    assert say(ada, direct).timestamp.microsecond % 1000 == 0
    assert numbers.now().microsecond % 1000 == 0


def test_a_chat_without_its_key_refuses_its_own_drafts_alone(
    published: Announced, ada: Person, grace: Person, direct: Chat
) -> None:
    """Where the key of one chat is gone, its sender is told so, and the other drafts of the batch are stored."""
    keys.forget()
    ChatKey.objects.filter(chat=direct).delete()
    other = open_group(ada, grace)
    published.clear()

    refused, stored = services.store(
        [
            Draft(sender_id=ada.id, chat_id=direct.id, content="to nobody"),
            Draft(sender_id=ada.id, chat_id=other.id, content="to everybody"),
        ]
    )

    assert isinstance(refused, Unavailable)
    assert isinstance(stored, Stored)
    assert published.told() == [("message:receive", {ada.id, grace.id})]
