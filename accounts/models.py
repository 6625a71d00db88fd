"""Users and their sessions. Column names are the specification's, so that documents read as it describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import DEFAULT_DB_ALIAS, models
from django.utils import timezone

from accounts.passwords import prepare
from chatproject.db import freezing
from chatproject.ids import uuid7

USERNAME_RULE = RegexValidator(
    r"\A\w(?:[\w.-]{1,30}\w)\Z",
    "Use 3 to 32 letters, digits, underscores, dots or hyphens, with no dot or hyphen at either end.",
)


def username_key(username: str) -> str:
    """Return the form in which usernames are compared: NFKC (RFC 8265) and case-folded."""
    return AbstractBaseUser.normalize_username(username).casefold()


def normalize_email(email: str) -> str:
    """Return the form in which e-mail addresses are stored and compared."""
    return email.strip().lower()


class Status(models.TextChoices):
    """What a person shows to those who share a chat with them."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class UserManager(BaseUserManager["User"]):
    """Makes users with normalised names and hashed passwords."""

    def create_user(self, username: str, email: str, password: str | None = None, **extra: Any) -> User:
        """Store a user. The caller has validated the fields. Raises `Maintenance`."""
        # `createsuperuser` names the database, and then no router is asked whether it may be written.
        freezing.check_writable(self._db or DEFAULT_DB_ALIAS)
        user = self.model(username=AbstractBaseUser.normalize_username(username), email=normalize_email(email), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, email: str, password: str | None = None, **extra: Any) -> User:
        """Store an administrator (`manage.py createsuperuser`)."""
        return self.create_user(username, email, password, is_staff=True, is_superuser=True, **extra)

    def get_by_natural_key(self, username: str | None) -> User:
        """Find a user by name, whatever its case."""
        return self.get(username_key=username_key(username or ""))


class User(AbstractBaseUser, PermissionsMixin):
    """A person. `status` is what they last chose or showed; `presence()` says what holds now."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    username = models.CharField(max_length=32, unique=True, validators=[USERNAME_RULE])
    username_key = models.CharField(max_length=64, unique=True, editable=False, db_column="usernameKey")
    email = models.EmailField(max_length=254, unique=True)
    profile_pic = models.CharField(max_length=500, blank=True, default="", db_column="profilePic")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OFFLINE)
    chosen_status = models.CharField(
        max_length=8, choices=Status.choices, default=Status.ONLINE, db_column="chosenStatus"
    )
    last_seen = models.DateTimeField(null=True, blank=True, db_column="lastSeen")
    shown_at = models.DateTimeField(null=True, blank=True, db_index=True, db_column="shownAt")
    """When what they show last changed."""
    is_active = models.BooleanField(default=True, db_column="isActive")
    is_staff = models.BooleanField(default=False, db_column="isStaff")
    date_joined = models.DateTimeField(default=timezone.now, db_column="createdAt")

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        db_table = "users"
        indexes = (
            models.Index(fields=["username_key"], name="users_by_username_key"),
            # MongoDB's planner leaves the unique index alone, which has a filter (`messaging.indexes.MongoIndex`).
            models.Index(fields=["email"], name="users_by_email"),
            # Of the status alone: with `lastSeen` every renewal would have to write to it.
            models.Index(fields=["status"], name="users_status"),
        )

    def __str__(self) -> str:
        return self.username

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep the comparison key in step with the name."""
        self.username_key = username_key(self.username)
        super().save(*args, **kwargs)

    def set_password(self, raw_password: str | None) -> None:
        """Hash the password in its prepared form, whichever door it comes through (the admin, a command, the API)."""
        super().set_password(None if raw_password is None else prepare(raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        """Compare with the password in its prepared form."""
        return super().check_password(None if raw_password is None else prepare(raw_password))

    def presence(self, now: datetime | None = None) -> str:
        """Return the status that holds now: an `online` or `away` not renewed within the TTL has lapsed.

        So has one from the future: the clock was set back, and by that clock nobody would renew it for long.
        """
        if self.status == Status.OFFLINE or self.last_seen is None:
            return Status.OFFLINE
        lapsed = abs((now or timezone.now()) - self.last_seen) > settings.PARLEY_PRESENCE_TTL
        return Status.OFFLINE if lapsed else self.status


class EndReason(models.TextChoices):
    """Why a session ended; sent to its sockets as the reason of `session:end`."""

    LOGOUT = "logout"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"
    REFRESH_REUSED = "refresh_reused"
    EXPIRED = "expired"


class Session(models.Model):
    """One sign-in on one device: the family of all refresh tokens that descend from it (RFC 9700, section 4.14)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False, db_column="_id")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions", db_column="userId")
    user_id: UUID
    refresh_hash = models.BinaryField(max_length=32, editable=False, db_column="refreshHash")
    created_at = models.DateTimeField(default=timezone.now, db_column="createdAt")
    refreshed_at = models.DateTimeField(default=timezone.now, db_column="refreshedAt")
    expires_at = models.DateTimeField(db_column="expiresAt")
    ended_at = models.DateTimeField(null=True, blank=True, db_column="endedAt")
    end_reason = models.CharField(
        max_length=20, choices=EndReason.choices, blank=True, default="", db_column="endReason"
    )
    user_agent = models.CharField(max_length=256, blank=True, default="", db_column="userAgent")
    ip_address = models.CharField(max_length=45, blank=True, default="", db_column="ipAddress")

    class Meta:
        db_table = "sessions"
        indexes = (models.Index(fields=["user", "ended_at"], name="sessions_user_ended"),)

    def __str__(self) -> str:
        return f"session {self.id}"
