"""Tests of sessions: opening, exchanging refresh tokens, ending."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts import services, sessions, tokens
from accounts.events import SessionEnded
from accounts.models import EndReason, Session, User
from accounts.selectors import SessionHasEnded
from accounts.services import SignedIn
from accounts.sessions import Device, RefreshInProgress, RefreshTokenReused, SessionNotFound
from accounts.tokens import InvalidRefreshToken, TokenPair
from chatproject.events import Event
from chatproject.ids import uuid7
from tests.accounts.conftest import PASSWORD


def session_of(pair: TokenPair) -> Session:
    """Return the stored session of a pair of tokens."""
    return Session.objects.get(pk=tokens.read_refresh_token(pair.refresh_token))


def ended(person: SignedIn, session: Session, reason: str) -> SessionEnded:
    """Return the event that is expected when a session ends."""
    return SessionEnded(recipients=(person.user.pk,), session_id=session.pk, reason=reason)


@pytest.mark.django_db
def test_a_session_knows_its_device() -> None:
    """What the request said is kept as far as it fits, for the list of sessions."""
    user = User.objects.create_user("ada", "ada@example.org", PASSWORD)

    pair = sessions.open_session(user_id=user.pk, device=Device(user_agent="x\0" * 300, ip_address="::1"))

    session = session_of(pair)
    assert (session.user_agent, session.ip_address) == ("x" * 256, "::1")
    assert session.expires_at - session.created_at == settings.PARLEY_REFRESH_LIFETIME


def test_only_a_hash_of_the_refresh_token_is_stored(ada: SignedIn) -> None:
    """A copy of the database lets nobody in."""
    session = session_of(ada.tokens)

    assert bytes(session.refresh_hash) == tokens.hash_refresh_token(ada.tokens.refresh_token)
    assert session.pk == tokens.read_access_token(ada.tokens.access_token).session_id


def test_a_refresh_gives_a_new_pair_and_extends_the_session(ada: SignedIn) -> None:
    """The new token works in its turn, for as long as somebody comes back within the session's lifetime."""
    pair = ada.tokens
    for day in (29, 58, 87):
        # Whole seconds: MongoDB keeps milliseconds.
        moment = timezone.now().replace(microsecond=0) + timedelta(days=day)
        with time_machine.travel(moment, tick=False):
            former, pair = pair, sessions.refresh(refresh_token=pair.refresh_token)
            session = session_of(pair)

            assert pair.refresh_token != former.refresh_token
            assert session.refreshed_at == moment
            assert session.expires_at == moment + settings.PARLEY_REFRESH_LIFETIME
            assert tokens.read_access_token(pair.access_token).session_id == session.pk


def test_a_reused_token_ends_the_session(published: list[Event], ada: SignedIn) -> None:
    """Two parties hold tokens of one family, so nobody may go on (RFC 9700, section 4.14.2)."""
    newer = sessions.refresh(refresh_token=ada.tokens.refresh_token)

    with pytest.raises(RefreshTokenReused):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)

    session = session_of(newer)
    assert session.end_reason == EndReason.REFRESH_REUSED
    assert published == [ended(ada, session, "refresh_reused")]
    with pytest.raises(SessionHasEnded):
        sessions.refresh(refresh_token=newer.refresh_token)


def test_reuse_leaves_other_sessions_alone(published: list[Event], ada: SignedIn) -> None:
    """Only the family that leaked ends."""
    other = services.sign_in(username="ada", password=PASSWORD)
    sessions.refresh(refresh_token=ada.tokens.refresh_token)

    with pytest.raises(RefreshTokenReused):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)

    assert sessions.refresh(refresh_token=other.tokens.refresh_token)


def test_a_guess_ends_nobodys_session(ada: SignedIn) -> None:
    """Knowing a session's id is not enough to end it by a made-up token."""
    guess = tokens.base64.urlsafe_b64encode(session_of(ada.tokens).pk.bytes + bytes(48)).rstrip(b"=").decode()

    with pytest.raises(InvalidRefreshToken):
        sessions.refresh(refresh_token=guess)

    assert sessions.refresh(refresh_token=ada.tokens.refresh_token)


@pytest.mark.django_db(transaction=True)
def test_parallel_refreshes_succeed_exactly_once(
    sign_up: Callable[..., SignedIn], published: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tabs that refresh at the same moment: one wins, the others are told so, and the session lives on."""
    callers = 6
    person = sign_up("ada")
    everybody_has_looked = Barrier(callers)
    real = tokens.new_refresh_token

    def wait_and_make(**kwargs: object) -> str:
        everybody_has_looked.wait(10)
        return real(**kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(tokens, "new_refresh_token", wait_and_make)

    def call(_: int) -> TokenPair | None:
        try:
            return sessions.refresh(refresh_token=person.tokens.refresh_token)
        except RefreshInProgress:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(callers) as pool:
        results = list(pool.map(call, range(callers)))
    monkeypatch.undo()

    winners = [pair for pair in results if pair is not None]
    assert len(winners) == 1
    assert published == []
    assert sessions.refresh(refresh_token=winners[0].refresh_token)


@pytest.mark.django_db(transaction=True)
def test_a_session_that_ends_during_a_refresh_stays_ended(
    sign_up: Callable[..., SignedIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange does not bring a session back that was signed out in between."""
    person = sign_up("ada")
    session = session_of(person.tokens)
    real = tokens.new_refresh_token

    def sign_out_and_make(**kwargs: object) -> str:
        sessions.sign_out(user_id=person.user.pk, session_id=session.pk)
        return real(**kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(tokens, "new_refresh_token", sign_out_and_make)

    with pytest.raises(SessionHasEnded):
        sessions.refresh(refresh_token=person.tokens.refresh_token)

    assert session_of(person.tokens).end_reason == EndReason.LOGOUT


def test_an_expired_session_cannot_be_refreshed(ada: SignedIn) -> None:
    """Thirty days without a refresh end it."""
    with (
        time_machine.travel(timezone.now() + settings.PARLEY_REFRESH_LIFETIME, tick=False),
        pytest.raises(SessionHasEnded),
    ):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)


def test_a_deleted_users_token_is_nobodys(ada: SignedIn) -> None:
    """The session went with its user; that is no failure of ours."""
    ada.user.delete()

    with pytest.raises(InvalidRefreshToken):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)


def test_an_inactive_users_session_is_over(ada: SignedIn) -> None:
    """Even when somebody only cleared the flag in the database."""
    User.objects.filter(pk=ada.user.pk).update(is_active=False)

    with pytest.raises(SessionHasEnded):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)


def test_an_ended_session_gets_no_new_tokens(ada: SignedIn) -> None:
    """Renewing asks for a live session as well."""
    session = session_of(ada.tokens)
    sessions.sign_out(user_id=ada.user.pk, session_id=session.pk)

    with pytest.raises(SessionHasEnded):
        sessions.renew_tokens(user_id=ada.user.pk, session_id=session.pk)


def test_signing_out_ends_the_session_once(published: list[Event], ada: SignedIn) -> None:
    """The second time there is nothing to end and nothing to announce."""
    session = session_of(ada.tokens)

    sessions.sign_out(user_id=ada.user.pk, session_id=session.pk)
    sessions.sign_out(user_id=ada.user.pk, session_id=session.pk)

    assert published == [ended(ada, session, "logout")]
    assert session_of(ada.tokens).ended_at is not None


def test_ending_one_session(published: list[Event], ada: SignedIn) -> None:
    """The other one goes on."""
    other = services.sign_in(username="ada", password=PASSWORD)
    session = session_of(other.tokens)

    sessions.end_session(user_id=ada.user.pk, session_id=session.pk)

    assert published == [ended(ada, session, "revoked")]
    assert session_of(ada.tokens).ended_at is None
    with pytest.raises(SessionNotFound):
        sessions.end_session(user_id=ada.user.pk, session_id=session.pk)


def test_nobody_ends_the_session_of_another(
    published: list[Event], ada: SignedIn, sign_up: Callable[..., SignedIn]
) -> None:
    """Somebody else's session, one that never was and an id that is none give the same answer."""
    grace = sign_up("grace")

    for session_id in (session_of(grace.tokens).pk, uuid7(), None):
        with pytest.raises(SessionNotFound):
            sessions.end_session(user_id=ada.user.pk, session_id=session_id)

    assert published == []


def test_ending_all_but_one(published: list[Event], ada: SignedIn) -> None:
    """Each ended session is announced to its own sockets."""
    kept = session_of(ada.tokens)
    others = [session_of(services.sign_in(username="ada", password=PASSWORD).tokens) for _ in range(2)]

    count = sessions.end_sessions(user_id=ada.user.pk, reason=EndReason.REVOKED, except_id=kept.pk)

    assert count == 2
    assert published == [ended(ada, session, "revoked") for session in others]
    assert list(Session.objects.filter(ended_at=None)) == [kept]


def test_records_of_dead_sessions_can_be_forgotten(ada: SignedIn) -> None:
    """Live ones and recently ended ones stay."""
    now = timezone.now()
    live, recent = ada, services.sign_in(username="ada", password=PASSWORD)
    old, expired = (services.sign_in(username="ada", password=PASSWORD) for _ in range(2))
    Session.objects.filter(pk=session_of(recent.tokens).pk).update(ended_at=now)
    Session.objects.filter(pk=session_of(old.tokens).pk).update(ended_at=now - timedelta(days=100))
    Session.objects.filter(pk=session_of(expired.tokens).pk).update(expires_at=now - timedelta(days=100))

    assert sessions.forget_dead_sessions(before=now - timedelta(days=90)) == 2

    assert {session.pk for session in Session.objects.all()} == {session_of(x.tokens).pk for x in (live, recent)}


def test_the_daily_sweep_says_what_it_removed(ada: SignedIn, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator's timer calls it; what ended lately stays for the person to see."""
    old, recent = (session_of(services.sign_in(username="ada", password=PASSWORD).tokens) for _ in range(2))
    Session.objects.filter(pk=old.pk).update(ended_at=timezone.now() - timedelta(days=91))
    Session.objects.filter(pk=recent.pk).update(ended_at=timezone.now() - timedelta(days=89))

    call_command("sweep_sessions")

    assert capsys.readouterr().out == "Removed the records of 1 sessions that ended more than 90 days ago.\n"
    assert {session.pk for session in Session.objects.all()} == {session_of(ada.tokens).pk, recent.pk}
