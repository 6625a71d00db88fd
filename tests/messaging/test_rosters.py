"""Tests of what is remembered of a chat's members: it is quick, and it is never out of date."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from chatproject import db
from chatproject.ids import uuid7
from messaging import rosters, services
from messaging.models import Chat, Membership
from messaging.rosters import Roster
from tests.messaging.conftest import Announced, Person, open_direct, open_group, say


def roster_of(chat: Chat) -> Roster:
    """Return the chat's roster as a batch of messages would find it."""
    name = Chat.objects.values_list("roster", flat=True).get(id=chat.id)
    return rosters.of_chats([(chat.id, name)])[chat.id]


def members(chat: Chat) -> set[UUID]:
    """Return who is in the chat by its roster."""
    return set(roster_of(chat).members)


def test_a_roster_is_read_once(group: Chat) -> None:
    """The second time it costs the look at its name alone."""
    roster_of(group)

    with CaptureQueriesContext(connections["default"]) as captured:
        roster_of(group)

    assert len(captured) == 1


def test_many_rosters_take_one_query(ada: Person, grace: Person, alan: Person) -> None:
    """However many of them are not in memory."""
    chats = [open_group(ada, grace, alan) for _ in range(5)]
    names = list(Chat.objects.filter(id__in=[chat.id for chat in chats]).values_list("id", "roster"))
    strange = [(chat_id, uuid7()) for chat_id, _ in names]

    with CaptureQueriesContext(connections["default"]) as captured:
        found = rosters.of_chats(strange)

    assert len(captured) == 1
    assert {tuple(sorted(roster.members)) for roster in found.values()} == {tuple(sorted((ada.id, grace.id, alan.id)))}


CHANGES: dict[str, Callable[[Chat, Person, Person], object]] = {
    "added by its owner": lambda chat, owner, other: services.add_members(
        chat_id=chat.id, user_id=owner.id, new_ids=[other.id]
    ),
    "added by hand": lambda chat, owner, other: Membership.objects.create(chat=chat, user_id=other.id),
}


@pytest.mark.parametrize("change", CHANGES)
def test_who_is_added_is_found_at_once(ada: Person, mallory: Person, group: Chat, change: str) -> None:
    """And may write."""
    before = members(group)

    CHANGES[change](group, ada, mallory)

    assert members(group) == before | {mallory.id}
    assert say(mallory, group).sender_id == mallory.id


REMOVALS: dict[str, Callable[[Chat, Person, Person], object]] = {
    "removed by its owner": lambda chat, owner, other: services.remove_member(
        chat_id=chat.id, user_id=owner.id, member_id=other.id
    ),
    "left": lambda chat, owner, other: services.remove_member(chat_id=chat.id, user_id=other.id, member_id=other.id),
    "removed by hand": lambda chat, owner, other: Membership.objects.get(chat=chat, user_id=other.id).delete(),
    "all rows of one person": lambda chat, owner, other: Membership.objects.filter(user_id=other.id).delete(),
}


@pytest.mark.parametrize("removal", REMOVALS)
def test_who_goes_is_gone_at_once(published: Announced, ada: Person, alan: Person, group: Chat, removal: str) -> None:
    """They may write no more, and are told nothing more."""
    say(ada, group)
    before = members(group)

    REMOVALS[removal](group, ada, alan)

    assert members(group) == before - {alan.id}
    with pytest.raises(AssertionError, match="ChatNotFound"):
        say(alan, group)
    published.clear()
    say(ada, group)
    assert alan.id not in published.events[0].recipients


def test_a_change_that_is_taken_back_leaves_nothing_behind(
    published: Announced, ada: Person, mallory: Person, group: Chat
) -> None:
    """What was read in a transaction that failed stands under a name that no row holds."""
    before = members(group)

    class TakenBack(Exception):
        """Ends the transaction."""

    @db.transactional()
    def change_and_fail() -> None:
        services.add_members(chat_id=group.id, user_id=ada.id, new_ids=[mallory.id])
        assert mallory.id in members(group)
        raise TakenBack

    with pytest.raises(TakenBack):
        change_and_fail()

    assert members(group) == before


def test_a_chat_that_goes_takes_its_memberships_along(ada: Person, group: Chat) -> None:
    """Without a statement for each of them."""
    with CaptureQueriesContext(connections["default"]) as captured:
        group.delete()

    assert not [query for query in captured if query["sql"].startswith('UPDATE "chats"')]
    assert not Chat.objects.filter(id=group.id).exists()


def test_the_memory_has_a_bound(ada: Person, grace: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rosters that were used longest ago are forgotten first; a single one may be larger."""
    memory = rosters._Memory()
    monkeypatch.setattr(rosters, "REMEMBERED_MEMBERS", 5)
    keys = [(uuid7(), uuid7()) for _ in range(4)]
    for key in keys[:3]:
        memory.put(key, Roster((ada.id, grace.id)))
        memory.get(keys[0])

    assert [memory.get(key) is not None for key in keys] == [True, False, True, False]

    memory.put(keys[3], Roster(tuple(uuid7() for _ in range(9))))

    assert [memory.get(key) is not None for key in keys] == [False, False, False, True]


def test_the_other_of_two(ada: Person, grace: Person) -> None:
    """Whoever asks; alone there is nobody."""
    chat = open_direct(ada, grace)

    assert roster_of(chat).other_than(ada.id) == grace.id
    assert roster_of(chat).other_than(grace.id) == ada.id
    assert Roster((ada.id,)).other_than(ada.id) is None
