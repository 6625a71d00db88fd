"""Tests of what is kept of people's presence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from accounts import presence
from accounts.models import Status, User
from accounts.services import SignedIn


def test_what_somebody_shows_is_recorded(ada: SignedIn) -> None:
    """Status and time, and nothing else."""
    now = timezone.now().replace(microsecond=0)

    presence.record(user_ids=[ada.user.pk], status=Status.AWAY, now=now)

    user = User.objects.get()
    assert (user.status, user.chosen_status, user.last_seen) == ("away", "online", now)


def test_renewing_in_chunks(db: None, sign_up: Callable[..., SignedIn], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many people, each who shows something is renewed, and nobody else."""
    monkeypatch.setattr(presence, "CHUNK", 2)
    people = [sign_up(f"user{number}").user.pk for number in range(7)]
    then, now = timezone.now() - timedelta(minutes=5), timezone.now()
    for user_id in people[:6]:
        presence.record(user_ids=[user_id], status=Status.ONLINE, now=then)
    presence.record(user_ids=[people[0]], status=Status.OFFLINE, now=then)

    presence.renew(user_ids=set(people[:5]), now=now)

    assert set(User.objects.filter(last_seen=now).values_list("pk", flat=True)) == set(people[1:5])


@pytest.mark.django_db
def test_renewing_nobody(django_assert_num_queries: Any) -> None:
    """No query for nothing."""
    with django_assert_num_queries(0):
        presence.renew(user_ids=[], now=timezone.now())


def test_who_has_lapsed(db: None, sign_up: Callable[..., SignedIn]) -> None:
    """Those who show something but were not renewed within the TTL, or by a clock that was set back since."""
    now = timezone.now()
    late = now - settings.PARLEY_PRESENCE_TTL - timedelta(seconds=1)
    shown = {
        "gone": (Status.ONLINE, late),
        "ahead": (Status.ONLINE, now + timedelta(hours=1)),
        "away": (Status.AWAY, late),
        "left": (Status.OFFLINE, late),
        "here": (Status.ONLINE, now),
    }
    ids = {name: sign_up(name).user.pk for name in shown}
    sign_up("never")
    for name, (status, seen) in shown.items():
        presence.record(user_ids=[ids[name]], status=status, now=seen)

    assert set(presence.lapsed_user_ids()) == {ids["gone"], ids["ahead"], ids["away"]}
    assert {name for name, user_id in ids.items() if User.objects.get(pk=user_id).presence() != Status.OFFLINE} == {
        "here"
    }


def test_who_is_stored_as_offline_without_having_chosen_so(db: None, sign_up: Callable[..., SignedIn]) -> None:
    """Those whose status another process has written over."""
    ids = {name: sign_up(name).user.pk for name in ("lost", "invisible", "there", "other")}
    User.objects.filter(pk=ids["invisible"]).update(chosen_status=Status.OFFLINE)
    presence.record(user_ids=[ids["there"]], status=Status.ONLINE, now=timezone.now())

    found = presence.hidden_user_ids(user_ids=[ids["lost"], ids["invisible"], ids["there"]])

    assert found == [ids["lost"]]
