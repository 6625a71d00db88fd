"""Tests of the reads of people and sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.utils import timezone

from accounts import selectors, services, sessions, tokens
from accounts.models import EndReason, Session, User
from accounts.selectors import SessionHasEnded, UserNotFound
from accounts.services import SignedIn
from accounts.tokens import InvalidToken, TokenExpired
from chatproject import db
from chatproject.ids import uuid7
from tests.accounts.conftest import PASSWORD


def session_id_of(person: SignedIn) -> Any:
    """Return the id of the session that somebody has just opened."""
    return tokens.read_refresh_token(person.tokens.refresh_token)


def names(users: list[User]) -> list[str]:
    """Return the users' names in their order."""
    return [user.username for user in users]


def test_a_token_leads_to_its_principal_with_one_query(ada: SignedIn, django_assert_num_queries: Any) -> None:
    """Every request pays this, so it is one."""
    with django_assert_num_queries(1):
        principal = selectors.authenticate_access_token(token=ada.tokens.access_token)
        assert principal.user.username == "ada"

    assert (principal.user_id, principal.session_id) == (ada.user.pk, session_id_of(ada))
    assert timedelta(minutes=9) < principal.expires_at - timezone.now() <= timedelta(minutes=10)


def test_a_bad_token_costs_no_query(ada: SignedIn, django_assert_num_queries: Any) -> None:
    """Forgeries and expired tokens do not reach the database."""
    with django_assert_num_queries(0):
        with pytest.raises(InvalidToken):
            selectors.authenticate_access_token(token="nonsense")
        with time_machine.travel(timezone.now() + timedelta(minutes=11)), pytest.raises(TokenExpired):
            selectors.authenticate_access_token(token=ada.tokens.access_token)


def sign_out(person: SignedIn) -> None:
    """End the session."""
    sessions.sign_out(user_id=person.user.pk, session_id=session_id_of(person))


def deactivate(person: SignedIn) -> None:
    """Shut the user out."""
    services.deactivate_user(user_id=person.user.pk)


def clear_flag(person: SignedIn) -> None:
    """Shut the user out behind the services' back."""
    User.objects.filter(pk=person.user.pk).update(is_active=False)


def expire(person: SignedIn) -> None:
    """Let the session's time be over."""
    Session.objects.update(expires_at=timezone.now())


def delete(person: SignedIn) -> None:
    """Remove the user."""
    User.objects.all().delete()


def hand_over(person: SignedIn) -> None:
    """Give the session to somebody else, which nothing does."""
    other = User.objects.create_user("grace", "grace@example.org", None)
    Session.objects.update(user=other)


@pytest.mark.parametrize("end", [sign_out, deactivate, clear_flag, expire, delete, hand_over])
def test_a_token_ends_with_its_session(ada: SignedIn, end: Callable[[SignedIn], None]) -> None:
    """At once, not only when the token itself expires."""
    end(ada)

    with pytest.raises(SessionHasEnded):
        selectors.authenticate_access_token(token=ada.tokens.access_token)
    assert selectors.live_session_ids(session_ids=[session_id_of(ada)]) == (
        {session_id_of(ada)} if end is hand_over else set()
    )


def test_live_sessions_among_many(ada: SignedIn, sign_up: Callable[..., SignedIn]) -> None:
    """Realtime asks for all its sockets' sessions at once."""
    grace, alan = sign_up("grace"), sign_up("alan")
    sign_out(grace)
    asked = [session_id_of(person) for person in (ada, grace)] + [uuid7()]

    assert selectors.live_session_ids(session_ids=asked) == {session_id_of(ada)}
    assert selectors.live_session_ids(session_ids=[]) == set()
    assert session_id_of(alan) not in asked


def test_the_list_of_sessions(ada: SignedIn, sign_up: Callable[..., SignedIn]) -> None:
    """One's own live ones, the newest first."""
    sign_up("grace")
    second, third = (services.sign_in(username="ada", password=PASSWORD) for _ in range(2))
    sessions.end_session(user_id=ada.user.pk, session_id=session_id_of(second), reason=EndReason.REVOKED)

    found = selectors.sessions_of(user_id=ada.user.pk)

    assert [session.pk for session in found] == [session_id_of(third), session_id_of(ada)]


def test_expired_sessions_are_not_listed(ada: SignedIn) -> None:
    """They ended by themselves."""
    with time_machine.travel(timezone.now() + settings.PARLEY_REFRESH_LIFETIME, tick=False):
        assert selectors.sessions_of(user_id=ada.user.pk) == []


def test_getting_somebody(ada: SignedIn) -> None:
    """By id."""
    assert selectors.get_user(user_id=ada.user.pk) == ada.user


def test_somebody_who_is_not_there(ada: SignedIn) -> None:
    """Unknown, inactive and no id at all are the same."""
    services.deactivate_user(user_id=ada.user.pk)

    for user_id in (uuid7(), ada.user.pk, None):
        with pytest.raises(UserNotFound):
            selectors.get_user(user_id=user_id)


def test_active_users(ada: SignedIn, sign_up: Callable[..., SignedIn]) -> None:
    """Whoever is unknown or inactive is left out."""
    grace, alan = sign_up("grace"), sign_up("alan")
    services.deactivate_user(user_id=grace.user.pk)

    found = selectors.active_users(ids=[ada.user.pk, grace.user.pk, uuid7()])

    assert found == [ada.user]
    assert alan.user not in found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("al", ["alan", "Alonzo"]),
        ("AL", ["alan", "Alonzo"]),
        (" alo ", ["Alonzo"]),
        ("alonzo", ["Alonzo"]),
        ("lon", []),
        ("a%", []),
        ("a_", ["a_b"]),
        ("ad", []),
        ("alan@example.org", ["alan"]),
        ("Alan@Example.ORG", ["alan"]),
        ("alan@", []),
        ("idle", []),
        ("idle@example.org", []),
        ("ada@example.org", []),
        ("ол", ["Ольга"]),
        ("ｇr", ["grace"]),
    ],
)
def test_search(ada: SignedIn, sign_up: Callable[..., SignedIn], query: str, expected: list[str]) -> None:
    """By the start of a name or a whole address; never oneself, never the inactive; nothing is a wildcard."""
    for name in ("alan", "Alonzo", "grace", "a_b", "axb", "idle", "Ольга"):
        sign_up(name)
    services.deactivate_user(user_id=User.objects.get(username="idle").pk)

    found = selectors.search_users(query=query, limit=10, viewer_id=ada.user.pk)

    assert names(found) == expected


def test_search_has_a_limit(ada: SignedIn, sign_up: Callable[..., SignedIn]) -> None:
    """The first ones by name."""
    for number in (3, 1, 2):
        sign_up(f"user{number}")

    assert names(selectors.search_users(query="us", limit=2, viewer_id=ada.user.pk)) == ["user1", "user2"]


def test_search_on_postgresql_leaves_the_order_of_letters_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a range would depend on the collation, while Django's index for patterns does not."""
    monkeypatch.setattr(db, "vendor", lambda: "postgresql")

    assert selectors.name_begins_with("al").children == [("username_key__startswith", "al")]
