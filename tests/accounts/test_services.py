"""Tests of the writes to users: registration, signing in, passwords, profile and status."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.db import IntegrityError, connection

from accounts import services, sessions, tokens
from accounts.events import SessionEnded, StatusChosen
from accounts.models import Session, Status, User
from accounts.selectors import SessionHasEnded, UserNotFound
from accounts.services import InvalidCredentials, SignedIn
from accounts.sessions import Device
from chatproject.errors import InvalidInput
from chatproject.events import Event
from chatproject.ids import uuid7
from tests.accounts.conftest import PASSWORD
from tests.accounts.hashing import FastHasher

OTHER_PASSWORD = "seven purple otters at dawn"


def session_id_of(person: SignedIn) -> Any:
    """Return the id of the session that somebody has just opened."""
    return tokens.read_refresh_token(person.tokens.refresh_token)


def codes(failure: pytest.ExceptionInfo[InvalidInput]) -> dict[str, list[str]]:
    """Return the codes of each field at fault."""
    return {name: [problem["code"] for problem in problems] for name, problems in failure.value.fields.items()}


# --- Registration -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_registering_stores_a_user_and_a_session() -> None:
    """Names are normalised, the password hashed, the device noted."""
    device = Device(user_agent="browser", ip_address="203.0.113.7")

    result = services.register(username="Ａda", email=" Ada@Example.org", password=PASSWORD, device=device)

    user = User.objects.get()
    assert (user.username, user.username_key, user.email) == ("Ada", "ada", "ada@example.org")
    assert user.check_password(PASSWORD)
    assert result.user == user
    assert (Session.objects.get().user_agent, Session.objects.get().pk) == ("browser", session_id_of(result))


@pytest.mark.parametrize(
    ("username", "email", "expected"),
    [
        ("ADA", "new@example.org", {"username": ["taken"]}),
        ("new", "ADA@EXAMPLE.ORG", {"email": ["taken"]}),
        ("ada", "ada@example.org", {"username": ["taken"], "email": ["taken"]}),
    ],
)
def test_a_taken_name_or_address(ada: SignedIn, username: str, email: str, expected: dict[str, list[str]]) -> None:
    """All that is taken is told at once, whatever its case."""
    with pytest.raises(InvalidInput) as failure:
        services.register(username=username, email=email, password=PASSWORD)

    assert codes(failure) == expected
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("password1", "password_too_common"),
        ("ada.lovelace", "password_too_similar"),
        ("a\u0301" * 7, "password_too_short"),
    ],
)
@pytest.mark.django_db
def test_weak_passwords(password: str, expected: str) -> None:
    """Django's validators look at the password in the form that is hashed."""
    with pytest.raises(InvalidInput) as failure:
        services.register(username="ada.lovelace", email="ada@example.org", password=password)

    assert codes(failure) == {"password": [expected]}
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_parallel_registrations_of_one_name_succeed_exactly_once(published: list[Event]) -> None:
    """The others are told that the name is taken."""

    def call(number: int) -> str:
        try:
            services.register(username="ada", email=f"ada{number}@example.org", password=PASSWORD)
        except InvalidInput as error:
            return error.fields["username"][0]["code"]
        finally:
            connection.close()
        return "registered"

    with ThreadPoolExecutor(6) as pool:
        results = sorted(pool.map(call, range(6)))

    assert results == ["registered"] + ["taken"] * 5


@pytest.mark.django_db(transaction=True)
def test_a_unique_violation_is_a_taken_name(ada: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two writers pass the check together, the index decides, and the answer is the same."""
    real, calls = services._check_free, []

    def blind(user: User) -> None:
        calls.append(user)
        if len(calls) > 2:
            real(user)

    monkeypatch.setattr(services, "_check_free", blind)

    with pytest.raises(InvalidInput) as failure:
        services.register(username="ada", email="new@example.org", password=PASSWORD)

    assert codes(failure) == {"username": ["taken"]}
    assert (User.objects.count(), Session.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_another_integrity_error_is_not_hidden(ada: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """When neither name nor address is taken, the violation was something else."""
    monkeypatch.setattr(services, "_check_free", lambda user: None)

    with pytest.raises(IntegrityError):
        services.register(username="ada", email="new@example.org", password=PASSWORD)


# --- Signing in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [{"username": "ADA"}, {"email": "Ada@Example.org"}])
def test_signing_in_opens_a_session(ada: SignedIn, name: dict[str, str]) -> None:
    """By name or by address, whatever their case; earlier sessions live on."""
    result = services.sign_in(**name, password=PASSWORD)

    assert result.user == ada.user
    assert result.user.last_login is not None
    assert Session.objects.filter(ended_at=None).count() == 2


def test_a_password_typed_on_another_system(sign_up: Callable[..., SignedIn], db: None) -> None:
    """Composed and decomposed accents are the same password."""
    sign_up("ada", password="ma\u00f1ana ser\u00e1 otro d\u00eda")

    assert services.sign_in(username="ada", password="man\u0303ana sera\u0301 otro di\u0301a")


@pytest.mark.parametrize(
    "attempt",
    [
        {"username": "nobody", "password": PASSWORD},
        {"email": "nobody@example.org", "password": PASSWORD},
        {"username": "ada", "password": "wrong"},
        {"email": "ada@example.org", "password": "wrong"},
        {"username": "idle", "password": PASSWORD},
        {"username": "idle", "password": "wrong"},
        {"username": "ada@example.org", "password": PASSWORD},
        {"username": "locked", "password": PASSWORD},
    ],
)
def test_every_refusal_is_the_same_and_costs_one_hash(
    ada: SignedIn, sign_up: Callable[..., SignedIn], monkeypatch: pytest.MonkeyPatch, attempt: dict[str, str]
) -> None:
    """Unknown, wrong, inactive, unusable: neither the answer nor the time tells which."""
    services.deactivate_user(user_id=sign_up("idle").user.pk)
    User.objects.create_user("locked", "locked@example.org", None)
    hashed: list[str] = []
    real = FastHasher.encode

    def counting(self: FastHasher, password: str, salt: Any) -> str:
        hashed.append(password)
        return real(self, password, salt)

    monkeypatch.setattr(FastHasher, "encode", counting)

    with pytest.raises(InvalidCredentials) as failure:
        services.sign_in(**attempt)

    assert failure.value.message == InvalidCredentials.message
    assert len(hashed) == 1


def test_a_weaker_hash_is_replaced_at_sign_in(ada: SignedIn, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the password is known, it is hashed again with the work factor of today."""
    before = User.objects.get().password
    monkeypatch.setattr(FastHasher, "rounds", 5)

    services.sign_in(username="ada", password=PASSWORD)

    after = User.objects.get().password
    assert before.startswith("bcrypt_sha256$$2b$04$")
    assert after.startswith("bcrypt_sha256$$2b$05$")
    assert services.sign_in(username="ada", password=PASSWORD)
    assert User.objects.get().password == after


def test_a_hash_of_another_kind_is_replaced_at_sign_in(ada: SignedIn, settings: Any) -> None:
    """Users brought along from a Django project keep their passwords."""
    settings.PASSWORD_HASHERS = [*settings.PASSWORD_HASHERS, "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    User.objects.update(password=hashers.make_password(PASSWORD, hasher="pbkdf2_sha256"))

    services.sign_in(username="ada", password=PASSWORD)

    assert User.objects.get().password.startswith("bcrypt_sha256$")


def test_a_wrong_password_replaces_nothing(ada: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a verified password may be hashed again."""
    before = User.objects.get().password
    monkeypatch.setattr(FastHasher, "rounds", 5)

    with pytest.raises(InvalidCredentials):
        services.sign_in(username="ada", password="wrong")

    assert User.objects.get().password == before


@pytest.mark.parametrize("change", [{"password": "changed"}, {"is_active": False}])
def test_what_happens_while_the_hash_is_computed_counts(
    ada: SignedIn, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """A password change or deactivation in that moment leaves no session behind."""
    real = hashers.check_password

    def slow(*args: Any, **kwargs: Any) -> bool:
        matches = real(*args, **kwargs)
        User.objects.update(**change)
        return matches

    monkeypatch.setattr(hashers, "check_password", slow)

    with pytest.raises(InvalidCredentials):
        services.sign_in(username="ada", password=PASSWORD)

    assert Session.objects.count() == 1


# --- Passwords --------------------------------------------------------------------------------------------------------


def test_changing_the_password(published: list[Event], ada: SignedIn) -> None:
    """Every other session ends, this one gets new tokens, and its old refresh token counts as reused."""
    other = services.sign_in(username="ada", password=PASSWORD)

    pair = services.change_password(
        user_id=ada.user.pk,
        session_id=session_id_of(ada),
        current_password=PASSWORD,
        new_password=OTHER_PASSWORD,
    )

    assert published == [
        SessionEnded(recipients=(ada.user.pk,), session_id=session_id_of(other), reason="password_changed")
    ]
    assert tokens.read_refresh_token(pair.refresh_token) == session_id_of(ada)
    assert services.sign_in(username="ada", password=OTHER_PASSWORD)
    with pytest.raises(InvalidCredentials):
        services.sign_in(username="ada", password=PASSWORD)
    with pytest.raises(sessions.RefreshTokenReused):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)


@pytest.mark.parametrize(
    ("current", "new", "expected"),
    [
        ("wrong", OTHER_PASSWORD, {"currentPassword": ["incorrect"]}),
        (PASSWORD, "password1", {"newPassword": ["password_too_common"]}),
        (PASSWORD, "ada@example.org", {"newPassword": ["password_too_similar"]}),
    ],
)
def test_a_refused_password_change(
    published: list[Event], ada: SignedIn, current: str, new: str, expected: dict[str, list[str]]
) -> None:
    """Nothing changes and nobody is signed out."""
    with pytest.raises(InvalidInput) as failure:
        services.change_password(
            user_id=ada.user.pk, session_id=session_id_of(ada), current_password=current, new_password=new
        )

    assert codes(failure) == expected
    assert published == []
    assert sessions.refresh(refresh_token=ada.tokens.refresh_token)


def test_a_password_change_of_an_ended_session(published: list[Event], ada: SignedIn) -> None:
    """The whole change is taken back when the session that asks has ended."""
    sessions.sign_out(user_id=ada.user.pk, session_id=session_id_of(ada))

    with pytest.raises(SessionHasEnded):
        services.change_password(
            user_id=ada.user.pk,
            session_id=session_id_of(ada),
            current_password=PASSWORD,
            new_password=OTHER_PASSWORD,
        )

    assert services.sign_in(username="ada", password=PASSWORD)


def test_a_password_change_of_a_user_who_is_gone(ada: SignedIn) -> None:
    """There is nobody to change."""
    with pytest.raises(SessionHasEnded):
        services.change_password(
            user_id=uuid7(), session_id=session_id_of(ada), current_password=PASSWORD, new_password=OTHER_PASSWORD
        )


def test_of_two_parallel_password_changes_the_second_is_refused(ada: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its current password is current no more."""
    real = hashers.check_password

    def slow(*args: Any, **kwargs: Any) -> bool:
        matches = real(*args, **kwargs)
        User.objects.update(password="changed")
        return matches

    monkeypatch.setattr(hashers, "check_password", slow)

    with pytest.raises(InvalidInput) as failure:
        services.change_password(
            user_id=ada.user.pk,
            session_id=session_id_of(ada),
            current_password=PASSWORD,
            new_password=OTHER_PASSWORD,
        )

    assert codes(failure) == {"currentPassword": ["incorrect"]}


def test_an_administrator_sets_a_password(published: list[Event], ada: SignedIn) -> None:
    """Without the old one; every session ends."""
    services.set_password(user_id=ada.user.pk, new_password=OTHER_PASSWORD)

    assert [(event.name, event.data()) for event in published] == [("session:end", {"reason": "password_changed"})]
    assert services.sign_in(username="ada", password=OTHER_PASSWORD)


def test_an_administrator_sets_a_bad_password(ada: SignedIn) -> None:
    """The same rules hold, and the user must be there."""
    with pytest.raises(InvalidInput):
        services.set_password(user_id=ada.user.pk, new_password="password1")
    with pytest.raises(UserNotFound):
        services.set_password(user_id=uuid7(), new_password=OTHER_PASSWORD)


def test_deactivation_ends_everything(published: list[Event], ada: SignedIn) -> None:
    """The user cannot sign in, and each session is announced as ended."""
    other = services.sign_in(username="ada", password=PASSWORD)

    services.deactivate_user(user_id=ada.user.pk)

    assert published == [
        SessionEnded(recipients=(ada.user.pk,), session_id=session_id_of(person), reason="deactivated")
        for person in (ada, other)
    ]
    assert not User.objects.get().is_active
    with pytest.raises(SessionHasEnded):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)


def test_reactivation_lets_the_user_in_again(published: list[Event], ada: SignedIn) -> None:
    """With a new session: the old ones stay ended."""
    services.deactivate_user(user_id=ada.user.pk)
    published.clear()

    services.reactivate_user(user_id=ada.user.pk)

    assert services.sign_in(username="ada", password=PASSWORD)
    assert published == []
    with pytest.raises(SessionHasEnded):
        sessions.refresh(refresh_token=ada.tokens.refresh_token)


def test_without_a_password_nobody_signs_in(published: list[Event], ada: SignedIn) -> None:
    """An administrator takes a password away: every session ends."""
    services.withdraw_password(user_id=ada.user.pk)

    assert published == [
        SessionEnded(recipients=(ada.user.pk,), session_id=session_id_of(ada), reason="password_changed")
    ]
    with pytest.raises(InvalidCredentials):
        services.sign_in(username="ada", password=PASSWORD)


@pytest.mark.parametrize("write", [services.deactivate_user, services.reactivate_user, services.withdraw_password])
@pytest.mark.django_db
def test_administrators_hear_of_a_mistyped_id(write: Callable[..., None]) -> None:
    """Nothing happens to nobody."""
    with pytest.raises(UserNotFound):
        write(user_id=uuid7())


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_an_administrator_stores_a_user(published: list[Event], password: str | None) -> None:
    """Without signing them in; without a password nobody can."""
    user = services.create_user(username="Grace", email="Grace@example.org", password=password)

    assert User.objects.get() == user
    assert (user.username_key, user.email) == ("grace", "grace@example.org")
    assert user.has_usable_password() is (password is not None)
    assert not Session.objects.exists()
    assert published == []


def test_an_administrator_stores_a_taken_name(ada: SignedIn) -> None:
    """The same rules as at registration."""
    with pytest.raises(InvalidInput) as failure:
        services.create_user(username="ADA", email="new@example.org", password=None)

    assert codes(failure) == {"username": ["taken"]}


@pytest.mark.django_db(transaction=True)
def test_a_unique_violation_by_an_administrator(ada: SignedIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a taken name as well."""
    real, calls = services._check_free, []

    def blind(user: User) -> None:
        calls.append(user)
        if len(calls) > 2:
            real(user)

    monkeypatch.setattr(services, "_check_free", blind)

    with pytest.raises(InvalidInput) as failure:
        services.create_user(username="ada", email="new@example.org", password=None)

    assert codes(failure) == {"username": ["taken"]}


# --- Profile and status -----------------------------------------------------------------------------------------------


def test_changing_the_profile(published: list[Event], ada: SignedIn) -> None:
    """What is given changes, the rest stays, and nothing is announced."""
    user = services.update_profile(
        user_id=ada.user.pk, changes={"username": "Countess", "profile_pic": "https://x.org/a"}
    )

    stored = User.objects.get()
    assert user == stored
    assert (stored.username, stored.username_key, stored.email) == ("Countess", "countess", "ada@example.org")
    assert stored.profile_pic == "https://x.org/a"
    assert published == []


def test_one_may_respell_ones_own_name(ada: SignedIn) -> None:
    """One's own name is not taken by oneself."""
    assert services.update_profile(user_id=ada.user.pk, changes={"username": "ADA"}).username == "ADA"


def test_a_profile_with_a_taken_name(ada: SignedIn, sign_up: Callable[..., SignedIn]) -> None:
    """Nothing of it is stored."""
    sign_up("grace")

    with pytest.raises(InvalidInput) as failure:
        services.update_profile(user_id=ada.user.pk, changes={"username": "Grace", "email": "new@example.org"})

    assert codes(failure) == {"username": ["taken"]}
    assert User.objects.get(pk=ada.user.pk).email == "ada@example.org"


@pytest.mark.django_db(transaction=True)
def test_a_unique_violation_in_a_profile_is_a_taken_name(
    ada: SignedIn, sign_up: Callable[..., SignedIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at registration."""
    sign_up("grace")
    real, calls = services._check_free, []

    def blind(user: User) -> None:
        calls.append(user)
        if len(calls) > 1:
            real(user)

    monkeypatch.setattr(services, "_check_free", blind)

    with pytest.raises(InvalidInput) as failure:
        services.update_profile(user_id=ada.user.pk, changes={"email": "grace@example.org"})

    assert codes(failure) == {"email": ["taken"]}


@pytest.mark.django_db
def test_a_profile_of_nobody() -> None:
    """A user who was deleted in the meantime."""
    with pytest.raises(UserNotFound):
        services.update_profile(user_id=uuid7(), changes={})


def test_choosing_a_status(published: list[Event], ada: SignedIn) -> None:
    """The choice is stored apart from what is shown, and handed to realtime."""
    user = services.choose_status(user_id=ada.user.pk, status=Status.AWAY)

    assert user.chosen_status == "away"
    assert user.status == "offline"
    assert published == [StatusChosen(recipients=(), user_id=ada.user.pk, status="away")]


def test_a_status_of_nobody(published: list[Event]) -> None:
    """Nothing is announced."""
    with pytest.raises(UserNotFound):
        services.choose_status(user_id=uuid7(), status=Status.AWAY)

    assert published == []
