"""Tests of the one direct chat that two people have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from chatproject.errors import InvalidInput
from messaging import services
from messaging.models import Chat, ChatKey, ChatKind, Membership, Role
from messaging.services import direct
from messaging.services.direct import PersonNotFound
from tests.messaging.conftest import NOWHERE, Announced, Person, open_direct


def test_the_key_is_the_same_from_both_sides(ada: Person, grace: Person) -> None:
    """Sorted, so that two people cannot have two chats."""
    assert direct.direct_key(ada.id, grace.id) == direct.direct_key(grace.id, ada.id)


def test_a_direct_chat_is_opened_with_its_key(published: Announced, ada: Person, grace: Person) -> None:
    """Two members of equal rights, no title, a data key, and nothing to announce yet."""
    chat, created = services.create_chat(creator_id=ada.id, participant_ids=[grace.id], title=None)

    assert created
    assert (chat.kind, chat.title, chat.counter, chat.created_by_id) == (ChatKind.DIRECT, None, 0, ada.id)
    assert set(Membership.objects.values_list("user_id", "role")) == {(ada.id, Role.MEMBER), (grace.id, Role.MEMBER)}
    assert ChatKey.objects.get().chat_id == chat.id
    assert published.events == []


def test_a_direct_chat_is_found_rather_than_doubled(ada: Person, grace: Person) -> None:
    """From either side, and with oneself or the other named twice."""
    first = open_direct(ada, grace)

    again, created = services.create_chat(creator_id=grace.id, participant_ids=[ada.id, grace.id, ada.id], title=None)

    assert (again.id, created) == (first.id, False)
    assert Chat.objects.count() == 1


def test_a_chat_with_a_title_is_a_group_even_of_two(ada: Person, grace: Person) -> None:
    """So two people can have several."""
    chat, created = services.create_chat(creator_id=ada.id, participant_ids=[grace.id], title="Plans")

    assert created
    assert (chat.kind, chat.direct_key) == (ChatKind.GROUP, None)


@pytest.mark.parametrize("who", ["unknown", "inactive"])
def test_nobody_can_be_reached_who_is_not_there(ada: Person, grace: Person, who: str) -> None:
    """A person who has left looks like one who never was."""
    type(grace.user).objects.filter(pk=grace.id).update(is_active=False)

    with pytest.raises(PersonNotFound):
        services.create_chat(creator_id=ada.id, participant_ids=[NOWHERE if who == "unknown" else grace.id], title=None)

    assert (Chat.objects.count(), ChatKey.objects.count(), Membership.objects.count()) == (0, 0, 0)


def test_a_chat_with_oneself_is_refused(ada: Person) -> None:
    """It takes two."""
    with pytest.raises(InvalidInput) as caught:
        services.create_chat(creator_id=ada.id, participant_ids=[ada.id], title=None)

    assert caught.value.fields["participantIds"][0]["code"] == "self"


def test_both_open_it_at_once(published: Announced, ada: Person, grace: Person) -> None:
    """Eight calls from both sides end in one chat that exactly one of them has made."""

    def call(place: int) -> tuple[Chat, bool]:
        one, other = (ada, grace) if place % 2 else (grace, ada)
        try:
            return services.create_chat(creator_id=one.id, participant_ids=[other.id], title=None)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(8)))

    assert len({chat.id for chat, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert (Chat.objects.count(), ChatKey.objects.count(), Membership.objects.count()) == (1, 1, 2)


def test_no_pairs_are_no_query(ada: Person, django_assert_num_queries: object) -> None:
    """A batch without receivers pays nothing for them."""
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert direct.find([]) == {}
