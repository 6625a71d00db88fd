"""Tests of what a member reads: history and changes by number, the inbox and its counts, and what reading costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chatproject import db
from chatproject.ids import uuid7
from messaging import inbox, keys, representation, selectors, services
from messaging.drafts import Draft
from messaging.inbox import UNREAD_CAP, Cursor, InvalidCursor
from messaging.models import Chat, Departure, Membership, Message, MessageType
from messaging.selectors import ChatNotFound, MessageNotFound
from messaging.services import numbers
from tests.messaging.conftest import NOWHERE, Person, crowd, member, open_direct, row_of, say


def seqs(messages: list[Message]) -> list[int]:
    """Return the messages' places."""
    return [one.seq for one in messages]


def fill(chat: Chat, sender: Person, count: int) -> list[Message]:
    """Store many messages at once."""
    drafts = [Draft(sender_id=sender.id, chat_id=chat.id, content=f"message {number}") for number in range(count)]
    return [row_of(one) for one in services.store(drafts)]


def statements(read: Callable[[], Any]) -> int:
    """Return how many statements it takes to read and show something, with nothing in memory."""
    keys.forget()
    with CaptureQueriesContext(connections["default"]) as captured:
        read()
    return len(captured)


# --- History ----------------------------------------------------------------------------------------------------------


def test_history_pages_down_to_the_first(ada: Person, grace: Person, direct: Chat) -> None:
    """Page after page, every message exactly once, oldest first within a page."""
    fill(direct, ada, 25)

    found: list[int] = []
    before: int | None = None
    pages = 0
    while True:
        page = selectors.history(chat_id=direct.id, user_id=grace.id, before=before, limit=10)
        assert seqs(page.messages) == sorted(seqs(page.messages))
        found = seqs(page.messages) + found
        pages += 1
        if not page.has_more:
            break
        before = page.messages[0].seq

    assert found == list(range(1, 26))
    assert pages == 3


@pytest.mark.parametrize(("count", "limit", "more"), [(0, 5, False), (4, 5, False), (5, 5, False), (6, 5, True)])
def test_has_more_is_exact(ada: Person, direct: Chat, count: int, limit: int, more: bool) -> None:
    """A full page is not taken for a sign of another."""
    fill(direct, ada, count)

    page = selectors.history(chat_id=direct.id, user_id=ada.id, before=None, limit=limit)

    assert (len(page.messages), page.has_more) == (min(count, limit), more)


def test_gaps_in_the_numbers_lose_nothing(ada: Person, direct: Chat) -> None:
    """Hundreds of edits between two messages leave a wide gap of seqs; pages are full all the same."""
    first, *_ = fill(direct, ada, 3)
    for _ in range(3):
        Chat.objects.filter(id=direct.id).update(counter=Chat.objects.get().counter + 700)
        services.edit_message(chat_id=direct.id, message_id=first.id, user_id=ada.id, content="again")
        fill(direct, ada, 2)

    page = selectors.history(chat_id=direct.id, user_id=ada.id, before=None, limit=8)
    rest = selectors.history(chat_id=direct.id, user_id=ada.id, before=page.messages[0].seq, limit=8)

    assert seqs(rest.messages) + seqs(page.messages) == list(
        Message.objects.order_by("seq").values_list("seq", flat=True)
    )
    assert (len(page.messages), page.has_more, rest.has_more) == (8, True, False)
    assert seqs(page.messages)[-1] > 2000


def test_a_page_is_looked_for_in_a_window_that_widens(ada: Person, direct: Chat) -> None:
    """Twice the page at first, and eight times as much for as long as a gap leaves it short."""
    fill(direct, ada, 3)
    Chat.objects.filter(id=direct.id).update(counter=1000)
    fill(direct, ada, 9)

    def windows(before: int) -> tuple[list[int], list[int]]:
        with CaptureQueriesContext(connections["default"]) as captured:
            page = selectors.history(chat_id=direct.id, user_id=ada.id, before=before, limit=4)
        asked = " ".join(query["sql"] for query in captured)
        found = re.findall(r"""(?:"seq" >= |'seq': {'\$gte': )(\d+)""", asked)
        return [before - int(bottom) for bottom in found], seqs(page.messages)

    assert windows(1010) == ([10], [1006, 1007, 1008, 1009])
    assert windows(1003) == ([10, 80, 640, 1003], [2, 3, 1001, 1002])
    assert windows(4) == ([4], [1, 2, 3])


@pytest.mark.parametrize(
    ("before", "expected"), [(0, []), (1, []), (2, [1]), (4, [2, 3]), (99, [4, 5]), (2**53 - 1, [4, 5])]
)
def test_before_is_exclusive(ada: Person, direct: Chat, before: int, expected: list[int]) -> None:
    """And any number is good, even one that is not there yet."""
    fill(direct, ada, 5)

    page = selectors.history(chat_id=direct.id, user_id=ada.id, before=before, limit=2)

    assert seqs(page.messages) == expected


@pytest.mark.parametrize("chat_id", ["direct", "nowhere"])
def test_strangers_read_nothing(mallory: Person, direct: Chat, chat_id: str) -> None:
    """A chat that one is not in is not there, in whichever way it is asked for."""
    place = {"chat_id": direct.id if chat_id == "direct" else NOWHERE, "user_id": mallory.id}

    for read in (
        lambda: selectors.history(**place, before=None, limit=5),
        lambda: selectors.changes(**place, after=0, limit=5),
        lambda: selectors.chat_for_member(**place),
        lambda: selectors.membership(**place),
        lambda: selectors.member_ids(**place),
        lambda: selectors.message_for_member(**place, message_id=NOWHERE),
    ):
        with pytest.raises(ChatNotFound):
            read()


def test_a_message_is_looked_up_in_its_chat(ada: Person, mallory: Person, direct: Chat) -> None:
    """The id alone is not enough."""
    message = say(ada, direct)
    elsewhere = open_direct(ada, mallory)

    found = selectors.message_for_member(chat_id=direct.id, message_id=message.id, user_id=ada.id)

    assert found == message
    with pytest.raises(MessageNotFound):
        selectors.message_for_member(chat_id=elsewhere.id, message_id=message.id, user_id=ada.id)


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_after_brings_everything_missed(ada: Person, grace: Person, direct: Chat) -> None:
    """New, edited and deleted messages once each, in their latest state, sorted by rev."""
    one, two, three, four = fill(direct, ada, 4)
    known = Chat.objects.get().counter
    services.edit_message(chat_id=direct.id, message_id=three.id, user_id=ada.id, content="edited")
    new = say(grace, direct, "new")
    services.delete_message(chat_id=direct.id, message_id=one.id, user_id=ada.id)
    services.edit_message(chat_id=direct.id, message_id=three.id, user_id=ada.id, content="edited twice")

    page = selectors.changes(chat_id=direct.id, user_id=grace.id, after=known, limit=50)

    assert [(one_.id, one_.rev) for one_ in page.messages] == [(new.id, 6), (one.id, 7), (three.id, 8)]
    assert [one_.content for one_ in page.messages] == ["new", "", "edited twice"]
    assert page.chat.counter == 8
    assert {two.id, four.id}.isdisjoint({one_.id for one_ in page.messages})


def test_changes_page_up_to_the_counter(ada: Person, direct: Chat) -> None:
    """A client that goes on from the last rev of each page ends with everything."""
    fill(direct, ada, 12)
    held: list[int] = []
    after, more = 0, True

    while more:
        page = selectors.changes(chat_id=direct.id, user_id=ada.id, after=after, limit=5)
        held += [one.rev for one in page.messages]
        after, more = held[-1], page.has_more

    assert held == list(range(1, 13))


@pytest.mark.parametrize("after", [3, 4, 2**53 - 1])
def test_nothing_changed_is_an_empty_page(ada: Person, direct: Chat, after: int) -> None:
    """Also for a rev of the future."""
    fill(direct, ada, 3)

    page = selectors.changes(chat_id=direct.id, user_id=ada.id, after=after, limit=5)

    assert (page.messages, page.has_more, page.chat.counter) == ([], False, 3)


def test_changes_of_many_chats(ada: Person, grace: Person, alan: Person, direct: Chat) -> None:
    """One or two statements for all, each chat above its own cursor."""
    other, quiet = open_direct(ada, alan), open_direct(grace, alan)
    fill(direct, ada, 3)
    fill(other, alan, 2)
    keys.preload([direct.id, other.id, quiet.id])

    with CaptureQueriesContext(connections["default"]) as captured:
        found = selectors.changes_of_chats(cursors={direct.id: 1, other.id: 0, quiet.id: 0})

    assert {chat_id: [one.rev for one in messages] for chat_id, messages in found.items()} == {
        direct.id: [2, 3],
        other.id: [1, 2],
    }
    assert len(captured) == (2 if db.indexes_parts() else 1)
    assert selectors.changes_of_chats(cursors={}) == {}


# --- The inbox --------------------------------------------------------------------------------------------------------


def pages(user: Person, limit: int) -> list[Chat]:
    """Return the whole inbox, page by page."""
    found: list[Chat] = []
    cursor: Cursor | None = None
    while True:
        entries, cursor = inbox.read(user_id=user.id, before=cursor, limit=limit)
        found += [entry.chat for entry in entries]
        if cursor is None:
            return found
        cursor = Cursor.parse(str(cursor))


def test_the_inbox_is_sorted_by_the_newest_message(ada: Person, grace: Person, alan: Person, mallory: Person) -> None:
    """Edits and receipts move nothing; chats of others are not in it."""
    one, two = open_direct(ada, grace), open_direct(ada, alan)
    open_direct(grace, mallory)
    message = say(ada, one)
    say(alan, two, "newest")

    services.edit_message(chat_id=one.id, message_id=message.id, user_id=ada.id, content="edited")
    services.mark_read(chat_id=one.id, user_id=grace.id, seq=1)
    entries, cursor = inbox.read(user_id=ada.id, before=None, limit=10)

    assert [entry.chat.id for entry in entries] == [two.id, one.id]
    assert [entry.last_message.content for entry in entries if entry.last_message] == ["newest", "edited"]
    assert cursor is None


def test_pages_of_the_inbox_join(ada: Person, person: Callable[[str], Person]) -> None:
    """Every chat exactly once, also those that one batch wrote to, which have the same activity."""
    chats = [open_direct(ada, person(f"friend{number}")) for number in range(7)]
    services.store([Draft(sender_id=ada.id, chat_id=chat.id, content="to all") for chat in chats[:6]])
    assert len(set(Chat.objects.values_list("activity", flat=True))) == 2

    for limit in (1, 2, 3, 7):
        found = pages(ada, limit)
        assert len(found) == 7
        assert {chat.id for chat in found} == {chat.id for chat in chats}
        assert found[-1] == chats[6]


def test_messages_that_arrive_between_two_pages(ada: Person, person: Callable[[str], Person]) -> None:
    """Nothing is repeated, nothing that stayed in its place is lost, and what moved is on top."""
    chats = [open_direct(ada, person(f"friend{number}")) for number in range(6)]
    for chat in chats:
        say(ada, chat)
    first, cursor = inbox.read(user_id=ada.id, before=None, limit=2)

    say(ada, chats[0])
    rest, _ = inbox.read(user_id=ada.id, before=cursor, limit=10)

    assert [entry.chat for entry in first] == [chats[5], chats[4]]
    assert [entry.chat for entry in rest] == [chats[3], chats[2], chats[1]]
    assert inbox.read(user_id=ada.id, before=None, limit=1)[0][0].chat == chats[0]


def test_an_empty_inbox(ada: Person) -> None:
    """Somebody new has no chats, and that is no error."""
    assert inbox.read(user_id=ada.id, before=None, limit=10) == ([], None)


def test_a_chat_without_messages_is_in_the_inbox(ada: Person, direct: Chat) -> None:
    """With no last message and nothing unread."""
    [entry], _ = inbox.read(user_id=ada.id, before=None, limit=10)

    assert (entry.last_message, entry.unread_count) == (None, 0)


@pytest.mark.parametrize("text", ["", "x", ".", str(NOWHERE), f"{NOWHERE}.", f"{NOWHERE}.x", f"{NOWHERE}.{NOWHERE}."])
def test_only_cursors_of_a_page_are_taken(text: str) -> None:
    """Anything else is told, never guessed at."""
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)


# --- Unread -----------------------------------------------------------------------------------------------------------


def unread(who: Person, chat: Chat) -> int:
    """Return the unread count, the same in the inbox and beside a single chat."""
    entries, _ = inbox.read(user_id=who.id, before=None, limit=100)
    [counted] = [entry.unread_count for entry in entries if entry.chat.id == chat.id]
    fresh = Chat.objects.get(id=chat.id)
    assert inbox.entry_of(chat=fresh, user_id=who.id).unread_count == counted
    return counted


def test_unread_is_what_others_have_said_since(ada: Person, grace: Person, group: Chat) -> None:
    """Not one's own, not what was deleted, not what the system tells."""
    assert unread(grace, group) == 0  # the system message of the opening
    first, *_ = fill(group, ada, 3)
    fill(group, grace, 2)
    services.rename_chat(chat_id=group.id, user_id=ada.id, title="More tea")
    assert (unread(grace, group), unread(ada, group)) == (3, 2)

    services.delete_message(chat_id=group.id, message_id=first.id, user_id=ada.id)
    assert unread(grace, group) == 2

    services.mark_read(chat_id=group.id, user_id=grace.id, seq=first.seq + 1)
    assert unread(grace, group) == 1

    services.mark_read(chat_id=group.id, user_id=grace.id, seq=2**53 - 1)
    assert unread(grace, group) == 0


def bulk(chat: Chat, sender: Person, count: int) -> None:
    """Insert many messages without encrypting each, for counting alone."""
    numbers.take_for_messages(numbers.read([chat.id]), {chat.id: count}, moment=numbers.now())
    last = Chat.objects.get(id=chat.id).counter
    sealed = Message.objects.filter(chat_id=chat.id).values_list("content", flat=True)[0]
    Message.objects.bulk_create(
        Message(chat_id=chat.id, sender_id=sender.id, content=sealed, seq=seq, rev=seq, timestamp=timezone.now())
        for seq in range(last - count + 1, last + 1)
    )


def test_unread_has_a_cap(ada: Person, grace: Person, direct: Chat) -> None:
    """999 and no more, however much there is."""
    say(ada, direct)
    bulk(direct, ada, UNREAD_CAP - 2)
    assert unread(grace, direct) == UNREAD_CAP - 1

    bulk(direct, ada, 3)
    assert unread(grace, direct) == UNREAD_CAP

    bulk(direct, ada, 2000)
    assert unread(grace, direct) == UNREAD_CAP
    assert unread(ada, direct) == 0


def test_counting_looks_at_a_bounded_number_of_rows(ada: Person, direct: Chat) -> None:
    """However long the history, the index gives only the newest numbers."""
    say(ada, direct)
    bulk(direct, ada, 4000)
    chat = Chat.objects.get()

    with CaptureQueriesContext(connections["default"]) as captured:
        inbox.entry_of(chat=chat, user_id=ada.id)

    floor = chat.last_seq - inbox.UNREAD_WINDOW
    [count] = [query["sql"] for query in captured if re.search(r"COUNT\(|'unread'", query["sql"])]
    assert re.search(rf"""(^|\.)"seq" > {floor}\b|'seq': {{'\$gt': {floor}}}""", count), count


# --- What reading costs -----------------------------------------------------------------------------------------------


def test_the_inbox_costs_the_same_for_any_number_of_chats(ada: Person, person: Callable[[str], Person]) -> None:
    """One chat or a hundred of two hundred, of two members or of two hundred."""

    def show() -> None:
        entries, _ = inbox.read(user_id=ada.id, before=None, limit=100)
        for entry in entries:
            representation.inbox_entry_body(entry, viewer_id=ada.id)

    friend = person("friend")
    say(friend, open_direct(ada, friend))
    cost = statements(show)

    people = crowd(200)
    services.store([Draft(sender_id=ada.id, receiver_id=one, content="Tea?") for one in people])
    for number in range(3):
        services.create_chat(creator_id=ada.id, participant_ids=people, title=f"group {number}")

    assert len(inbox.read(user_id=ada.id, before=None, limit=100)[0]) == 100
    assert statements(show) == cost == 6


@pytest.mark.parametrize("way", ["history", "changes"])
def test_a_page_costs_the_same_for_any_size(ada: Person, person: Callable[[str], Person], way: str) -> None:
    """One message or a full page, two members or two hundred."""

    def show(chat: Chat) -> None:
        if way == "history":
            page = selectors.history(chat_id=chat.id, user_id=ada.id, before=None, limit=100)
        else:
            page = selectors.changes(chat_id=chat.id, user_id=ada.id, after=0, limit=100)
        representation.page_body(page, viewer_id=ada.id)

    small = open_direct(ada, person("friend"))
    large, _ = services.create_chat(creator_id=ada.id, participant_ids=crowd(200), title="Tea round")
    say(ada, small)
    fill(large, ada, 120)

    cost = 6 if way == "changes" and db.indexes_parts() else 5
    assert statements(lambda: show(small)) == statements(lambda: show(large)) == cost


def test_a_query_that_never_shows_the_content_decrypts_nothing(ada: Person, direct: Chat) -> None:
    """Loading rows needs no key."""
    fill(direct, ada, 5)

    with_key = statements(lambda: [one.content for one in Message.objects.all()])

    assert statements(lambda: list(Message.objects.all())) == 1
    assert with_key == 2


# --- Damage -----------------------------------------------------------------------------------------------------------


def test_one_damaged_message_spoils_no_other(ada: Person, grace: Person, direct: Chat) -> None:
    """It is shown as unreadable, by whichever way; the rest of the page is intact."""
    fill(direct, ada, 3)
    row = Message.objects.get(seq=2)
    raw = bytearray(Message.objects.filter(id=row.id).values_list("content", flat=True).get())
    raw[-1] ^= 1
    from messaging.fields import Sealed

    Message.objects.filter(id=row.id).update(content=Sealed(raw))

    for page in (
        selectors.history(chat_id=direct.id, user_id=grace.id, before=None, limit=10),
        selectors.changes(chat_id=direct.id, user_id=grace.id, after=0, limit=10),
    ):
        bodies = representation.page_body(page, viewer_id=grace.id)["messages"]
        assert [(one["content"], one["unreadable"]) for one in bodies] == [
            ("message 0", False),
            (None, True),
            ("message 2", False),
        ]


def test_a_message_moved_to_another_row_is_unreadable(ada: Person, direct: Chat) -> None:
    """A ciphertext is bound to its place: two that were exchanged open in neither."""
    fill(direct, ada, 2)
    one, two = Message.objects.order_by("seq")
    contents = dict(Message.objects.values_list("seq", "content"))
    Message.objects.filter(id=one.id).update(content=contents[2])
    Message.objects.filter(id=two.id).update(content=contents[1])

    page = selectors.history(chat_id=direct.id, user_id=ada.id, before=None, limit=10)

    assert [representation.message_body(one)["unreadable"] for one in page.messages] == [True, True]


# --- For the sockets --------------------------------------------------------------------------------------------------


def test_who_is_told_of_what(ada: Person, grace: Person, alan: Person, mallory: Person, group: Chat) -> None:
    """Members, by chat."""
    pair = open_direct(ada, mallory)

    assert set(selectors.member_ids(chat_id=group.id, user_id=grace.id)) == {ada.id, grace.id, alan.id}
    found = selectors.member_ids_of_chats(chat_ids=[group.id, pair.id, NOWHERE])
    assert {chat_id: set(ids) for chat_id, ids in found.items()} == {
        group.id: {ada.id, grace.id, alan.id},
        pair.id: {ada.id, mallory.id},
    }


def test_where_chats_stand(ada: Person, grace: Person, mallory: Person, direct: Chat) -> None:
    """The counter of each chat of a person; and of those that moved lately, by a message or a receipt alone."""
    start = numbers.now()
    quiet, marked = open_direct(ada, mallory), open_direct(grace, mallory)
    say(ada, direct)
    long_ago = start.replace(year=2020)
    Chat.objects.exclude(id=direct.id).update(changed_at=long_ago)
    Membership.objects.update(marked_at=long_ago)
    Membership.objects.filter(chat_id=marked.id, user_id=grace.id).update(delivered_seq=7, read_seq=5, marked_at=start)

    assert selectors.revs(user_id=ada.id) == {direct.id: 1, quiet.id: 0}
    standings = {one.chat_id: one for one in selectors.standings_since(moment=start)}
    assert {chat_id: (one.rev, one.marks) for chat_id, one in standings.items()} == {
        direct.id: (1, 0),
        marked.id: (0, 12),
    }
    assert set(standings[direct.id].members) == {ada.id, grace.id}


def test_who_has_gone_lately(ada: Person, grace: Person, alan: Person, group: Chat) -> None:
    """Those who left or were removed, but for those who are back; after an hour nobody asks, and nobody is kept."""
    start = numbers.now()
    Departure.objects.create(chat_id=group.id, user_id=ada.id, rev=1, departed_at=start - timedelta(hours=2))
    for one in (grace, alan):
        services.remove_member(chat_id=group.id, user_id=ada.id, member_id=one.id)
    services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[alan.id])

    assert [(one.user_id, one.rev) for one in selectors.departures_since(moment=start)] == [(grace.id, 2)]
    assert Departure.objects.count() == 2


def test_the_peers_of_many(ada: Person, grace: Person, alan: Person, mallory: Person, group: Chat) -> None:
    """Everybody who shares a chat with them, once, for two queries."""
    open_direct(ada, mallory)
    asked = [ada.id, grace.id, mallory.id, NOWHERE]
    with CaptureQueriesContext(connections["default"]) as captured:
        found = selectors.peer_ids_of(user_ids=asked)

    assert len(captured) == 2
    assert {one: sorted(peers) for one, peers in found.items()} == {
        ada.id: sorted([grace.id, alan.id, mallory.id]),
        grace.id: sorted([ada.id, alan.id]),
        mallory.id: [ada.id],
    }


def test_members_come_in_the_order_in_which_they_joined(ada: Person, grace: Person, alan: Person, group: Chat) -> None:
    """With their users, at no further cost; watermarks come without."""
    with CaptureQueriesContext(connections["default"]) as captured:
        names = [one.user.username for one in selectors.memberships_of(chat_id=group.id)]

    assert names == ["ada", "grace", "alan"]
    assert len(captured) == 1
    assert {one.user_id for one in selectors.watermarks_of(chat_id=group.id)} == {ada.id, grace.id, alan.id}


def test_a_membership_without_its_chat_leads_nowhere(ada: Person) -> None:
    """Where the database does not enforce foreign keys, half a row is no chat."""
    stray = Membership(chat_id=uuid7(), user_id=ada.id)
    stray.save()

    with pytest.raises(ChatNotFound):
        selectors.chat_for_member(chat_id=stray.chat_id, user_id=ada.id)
    stray.delete()


def test_system_messages_are_read_like_others(ada: Person, group: Chat) -> None:
    """Their text is what they tell."""
    page = selectors.history(chat_id=group.id, user_id=ada.id, before=None, limit=1)

    assert [one.type for one in page.messages] == [MessageType.SYSTEM]
    assert member(group, ada).read_seq == 0
