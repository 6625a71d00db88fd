"""Writes users: registration, signing in, passwords, profile and the chosen status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

import structlog
from django.contrib.auth import hashers
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone

from accounts import pictures, sessions
from accounts.events import StatusChosen
from accounts.models import EndReason, Status, User, normalize_email, username_key
from accounts.passwords import prepare
from accounts.selectors import SessionHasEnded, UserNotFound
from accounts.sessions import UNKNOWN_DEVICE, Device
from accounts.tokens import TokenPair
from chatproject.db import lock, transactional
from chatproject.errors import DomainError, InvalidInput
from chatproject.events import publish

log = structlog.get_logger("parley.accounts")

_TAKEN = {
    "username": ("taken", "This username is taken."),
    "email": ("taken", "This e-mail address is taken."),
}


class InvalidCredentials(DomainError):
    """No active account has this name with this password; which of the two is wrong is not told."""

    code = "invalid_credentials"
    status = 401
    message = "The name or the password is wrong."


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A user with the tokens of the session just opened."""

    user: User
    tokens: TokenPair


def register(*, username: str, email: str, password: str, device: Device = UNKNOWN_DEVICE) -> SignedIn:
    """Store a new user and sign them in. The caller has validated the form of name and address.

    Raises `InvalidInput` with the code `taken` for a name or address in use, and with the validators' codes for a weak
    password.
    """
    user = _new_user(username=username, email=email, password=password)
    try:
        tokens = _store_new_user(user, device)
    except IntegrityError:
        _raise_taken(user)
    log.info("user.registered", user_id=str(user.pk))
    return SignedIn(user=user, tokens=tokens)


def create_user(*, username: str, email: str, password: str | None) -> User:
    """Store a new user without signing them in, for administrators. Nobody can sign in without a password (None).

    Raises as `register`.
    """
    user = _new_user(username=username, email=email, password=password)
    try:
        _insert_user(user)
    except IntegrityError:
        _raise_taken(user)
    log.info("user.created", user_id=str(user.pk))
    return user


def _new_user(*, username: str, email: str, password: str | None) -> User:
    """Return a user who could be stored, as far as can be told by now. Raises `InvalidInput`."""
    user = User(username=AbstractBaseUser.normalize_username(username), email=normalize_email(email))
    _check_free(user)
    if password is None:
        user.set_unusable_password()
        return user
    _check_strength(password, user=user, field="password")
    # Hashing takes its time on purpose, so it is done before the transaction, which keeps others waiting.
    user.password = hashers.make_password(prepare(password))
    return user


@transactional()
def _insert_user(user: User) -> None:
    _check_free(user)
    user.save(force_insert=True)


@transactional()
def _store_new_user(user: User, device: Device) -> TokenPair:
    _insert_user(user)
    return sessions.open_session(user_id=user.pk, device=device)


def _check_free(user: User) -> None:
    """Raise `InvalidInput` when somebody else has the name or the address."""
    others = User.objects.exclude(pk=user.pk)
    taken: dict[str, list[tuple[str, str]]] = {}
    if others.filter(username_key=username_key(user.username)).exists():
        taken["username"] = [_TAKEN["username"]]
    if others.filter(email=user.email).exists():
        taken["email"] = [_TAKEN["email"]]
    if taken:
        raise InvalidInput(fields=taken)


def _raise_taken(user: User) -> NoReturn:
    """Turn the unique violation being handled into the error that the check would have raised a moment later."""
    _check_free(user)
    raise  # noqa: PLE0704


def _check_strength(password: str, *, user: User, field: str) -> None:
    """Run the project's password validators. Raises `InvalidInput` for `field` with each validator's code."""
    try:
        validate_password(prepare(password), user)
    except ValidationError as error:
        problems = [(problem.code or "invalid", " ".join(problem.messages)) for problem in error.error_list]
        raise InvalidInput(fields={field: problems}) from error


def sign_in(
    *, password: str, username: str | None = None, email: str | None = None, device: Device = UNKNOWN_DEVICE
) -> SignedIn:
    """Open a session for the user with this name or address (one of them is given) and password.

    An unknown name, an inactive user and a wrong password cost one hash each and raise the same `InvalidCredentials`
    (OWASP Authentication Cheat Sheet, "Authentication Responses"). A hash made by weaker settings is replaced.
    """
    user = _find(username=username, email=email)
    prepared = prepare(password)
    if user is None:
        hashers.make_password(prepared)
        raise InvalidCredentials
    verified = user.password
    upgraded: list[str] = []
    matches = hashers.check_password(prepared, verified, setter=lambda raw: upgraded.append(hashers.make_password(raw)))
    if not matches or not user.is_active:
        log.info("user.sign_in_refused", user_id=str(user.pk), active=user.is_active)
        raise InvalidCredentials
    return _sign_in_verified(user, verified=verified, replacement=upgraded[0] if upgraded else verified, device=device)


def _find(*, username: str | None, email: str | None) -> User | None:
    if username is not None:
        return User.objects.filter(username_key=username_key(username)).first()
    return User.objects.filter(email=normalize_email(email or "")).first()


@transactional()
def _sign_in_verified(user: User, *, verified: str, replacement: str, device: Device) -> SignedIn:
    """Open the session if the verified hash is still the user's.

    The update takes the user's row, so a password change or deactivation comes either before, and wins, or after, and
    finds this session to end.
    """
    now = timezone.now()
    current = User.objects.filter(pk=user.pk, is_active=True, password=verified)
    if not current.update(password=replacement, last_login=now):
        raise InvalidCredentials
    user.password, user.last_login = replacement, now
    return SignedIn(user=user, tokens=sessions.open_session(user_id=user.pk, device=device))


def change_password(*, user_id: UUID, session_id: UUID, current_password: str, new_password: str) -> TokenPair:
    """Change the password, end every other session, and return new tokens for this one (its old ones are void).

    Raises `InvalidInput` for a wrong `currentPassword` (code `incorrect`) or a weak `newPassword`, and
    `SessionHasEnded`.
    """
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise SessionHasEnded
    if not hashers.check_password(prepare(current_password), user.password):
        raise _incorrect_password()
    _check_strength(new_password, user=user, field="newPassword")
    replacement = hashers.make_password(prepare(new_password))
    pair = _replace_password(user, replacement=replacement, session_id=session_id)
    log.info("user.password_changed", user_id=str(user_id))
    return pair


@transactional()
def _replace_password(user: User, *, replacement: str, session_id: UUID) -> TokenPair:
    if not User.objects.filter(pk=user.pk, is_active=True, password=user.password).update(password=replacement):
        raise _incorrect_password()
    sessions.end_sessions(user_id=user.pk, reason=EndReason.PASSWORD_CHANGED, except_id=session_id)
    return sessions.renew_tokens(user_id=user.pk, session_id=session_id)


def _incorrect_password() -> InvalidInput:
    return InvalidInput.of("currentPassword", "This is not your current password.", code="incorrect")


def set_password(*, user_id: UUID, new_password: str) -> None:
    """Set a user's password without the old one, for administrators; every session ends.

    Raises `InvalidInput` for a weak `newPassword` and `UserNotFound`.
    """
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise UserNotFound
    _check_strength(new_password, user=user, field="newPassword")
    _set_password(user_id, hashers.make_password(prepare(new_password)))


@transactional()
def _set_password(user_id: UUID, replacement: str) -> None:
    User.objects.filter(pk=user_id).update(password=replacement)
    sessions.end_sessions(user_id=user_id, reason=EndReason.PASSWORD_CHANGED)


@transactional()
def deactivate_user(*, user_id: UUID) -> None:
    """Shut a user out: no signing in any more, and every session ends. Raises `UserNotFound`."""
    if not User.objects.filter(pk=user_id).update(is_active=False):
        raise UserNotFound
    sessions.end_sessions(user_id=user_id, reason=EndReason.DEACTIVATED)
    log.info("user.deactivated", user_id=str(user_id))


@transactional()
def reactivate_user(*, user_id: UUID) -> None:
    """Let a user in again; they have to sign in anew. Raises `UserNotFound`."""
    if not User.objects.filter(pk=user_id).update(is_active=True):
        raise UserNotFound
    log.info("user.reactivated", user_id=str(user_id))


def withdraw_password(*, user_id: UUID) -> None:
    """Take a user's password away, for administrators: until they get a new one nobody can sign in; sessions end.

    Raises `UserNotFound`.
    """
    if not User.objects.filter(pk=user_id).exists():
        raise UserNotFound
    _set_password(user_id, hashers.make_password(None))


def update_profile(*, user_id: UUID, changes: Mapping[str, str]) -> User:
    """Change some of `username`, `email` and `profile_pic` (a URL, or empty for none) and return the user.

    The caller has validated their form. Raises `InvalidInput` with the code `taken`, and `UserNotFound`.
    """
    changed: list[User] = []
    try:
        return _update_profile(user_id=user_id, changes=changes, changed=changed)
    except IntegrityError:
        _raise_taken(changed[-1])


@transactional()
def _update_profile(*, user_id: UUID, changes: Mapping[str, str], changed: list[User]) -> User:
    lock(User.objects.filter(pk=user_id))
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise UserNotFound
    former = user.profile_pic
    user.username = AbstractBaseUser.normalize_username(changes.get("username", user.username))
    user.email = normalize_email(changes.get("email", user.email))
    user.profile_pic = changes.get("profile_pic", former)
    changed.append(user)
    _check_free(user)
    user.save(update_fields=["username", "username_key", "email", "profile_pic"])
    if user.profile_pic != former:
        pictures.discard(url=former)
    return user


@transactional()
def choose_status(*, user_id: UUID, status: Status) -> User:
    """Store the status a user wants to show and return the user. Publishes `StatusChosen`; raises `UserNotFound`."""
    if not User.objects.filter(pk=user_id, is_active=True).update(chosen_status=status):
        raise UserNotFound
    publish(StatusChosen(recipients=(), user_id=user_id, status=Status(status).value))
    return User.objects.get(pk=user_id)
