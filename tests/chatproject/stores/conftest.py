"""Two stores for the tests of copies: the suite's own database as the source, a SQLite file as the target."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from accounts import sessions
from accounts.models import User
from accounts.sessions import UNKNOWN_DEVICE
from chatproject.stores.copying import Copy, Written
from chatproject.stores.places import close_store, open_store
from chatproject.stores.tables import Side
from chatproject.stores.verification import Verdict, verify
from messaging import keys, services
from messaging.drafts import Draft
from messaging.models import Message


def url_of_source() -> str:
    """Return the URL of the database that the suite runs on."""
    settings = connection.settings_dict
    if connection.vendor == "mongodb":
        return f"{settings['HOST'].rpartition('/')[0]}/{settings['NAME']}"
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    credentials = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}"
    return f"postgres://{credentials}/{settings['NAME']}"


@dataclass
class Pair:
    """The two stores, and what is done with them."""

    source_url: str
    target_url: str
    target_path: Path
    source: Side
    target: Side

    def copy(self, **options: Any) -> Written:
        """Make a pass."""
        pass_ = Copy(self.source, self.target, hold=lambda: None, **options)
        written = pass_.run()
        pass_.remove_users()
        return written

    def verify(self) -> Verdict:
        """Compare."""
        return verify(self.source, self.target)


@pytest.fixture
def pair(transactional_db: None, tmp_path: Path, migrated_database: Path, settings: Any) -> Iterator[Pair]:
    """A source in use and an empty target."""
    settings.MEDIA_ROOT = tmp_path / "media"
    keys.forget()
    path = tmp_path / "target.sqlite3"
    shutil.copyfile(migrated_database, path)
    source_url, target_url = url_of_source(), f"sqlite:///{path}"
    open_store("source", source_url, option="--from")
    open_store("target", target_url, option="--to")
    coarse = connection.vendor == "mongodb"
    yield Pair(source_url, target_url, path, Side("source", coarse=coarse), Side("target", coarse=coarse))
    close_store("source")
    close_store("target")


@pytest.fixture
def administrator(transactional_db: None) -> User:
    """An administrator with a group, a right of her own and three entries in the log."""
    ada = person("ada")
    permission = Permission.objects.get(codename="read_content")
    group = Group.objects.create(name="readers")
    group.permissions.add(permission)
    ada.groups.add(group)
    ada.user_permissions.add(permission)
    for number in range(3):
        LogEntry.objects.create(
            action_time=datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=number),
            user=ada,
            content_type=ContentType.objects.get_for_model(User),
            object_id=str(ada.pk),
            object_repr="ada",
            action_flag=CHANGE,
            change_message=f"change {number}",
        )
    return ada


def person(name: str) -> User:
    """Store somebody who is signed in."""
    user = User.objects.create_user(name, f"{name}@example.org", None)
    sessions.open_session(user_id=user.pk, device=UNKNOWN_DEVICE)
    return user


def say(user: User, chat_id: UUID, *contents: str) -> list[Message]:
    """Write messages into a chat and return them."""
    drafts = [Draft(sender_id=user.pk, chat_id=chat_id, content=content) for content in contents]
    outcomes = services.store(drafts)
    return [Message.objects.get(pk=outcome.message.id) for outcome in outcomes]
