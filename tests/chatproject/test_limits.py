"""Tests of rate limits: who is counted for what, when it is over, and what happens without the shared counter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.test import override_settings
from structlog.testing import capture_logs

from chatproject import limits
from chatproject.limits import RATES, RateLimited, Rule, spend
from tests.live.server import free_port

NOON = "2026-01-31T12:00:00Z"


@pytest.fixture(autouse=True)
def _limited(settings: Any) -> Iterator[None]:
    """Count, from nothing, three a minute."""
    settings.RATELIMIT_ENABLE = True
    settings.PARLEY_RATES = {"SEND": "3/m"}
    cache.clear()
    with time_machine.travel(NOON, tick=False):
        yield
    cache.clear()


def exhaust(subject: object = "ada") -> None:
    """Use up what one may."""
    for _ in range(3):
        spend(Rule.SEND, subject)


def test_above_the_rate_is_refused_with_the_time_to_wait() -> None:
    """In whole seconds, at least one, at most the period."""
    exhaust()

    with pytest.raises(RateLimited) as caught:
        spend(Rule.SEND, "ada")

    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60


def test_waiting_as_told_is_enough() -> None:
    """The next window begins then."""
    exhaust()
    with pytest.raises(RateLimited) as caught:
        spend(Rule.SEND, "ada")

    with time_machine.travel(
        f"2026-01-31T12:0{(caught.value.retry_after or 0) // 60}:{(caught.value.retry_after or 0) % 60 + 1:02}Z",
        tick=False,
    ):
        spend(Rule.SEND, "ada")


def test_everybody_and_everything_is_counted_alone() -> None:
    """Another person, and another rule with the same rate, are not touched."""
    exhaust()

    spend(Rule.SEND, "grace")
    spend(Rule.TYPING, "ada")


def test_rules_of_the_same_rate_are_different_rules() -> None:
    """An enumeration would otherwise make one of two members with one value."""
    assert set(RATES) == set(Rule)
    assert len({rule.value for rule in Rule}) == len(Rule)
    assert len(set(RATES.values())) < len(RATES)


def test_rates_may_be_set_by_name() -> None:
    """The others keep theirs."""
    assert Rule.SEND.rate == "3/m"
    assert Rule.LOGIN.rate == RATES[Rule.LOGIN]


def test_limits_can_be_switched_off(settings: Any) -> None:
    """For a bench or a test."""
    settings.RATELIMIT_ENABLE = False

    for _ in range(10):
        spend(Rule.SEND, "ada")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shared cache is a Redis that is not there."""
    monkeypatch.setattr(limits, "_away_until", 0.0)
    cache_settings = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{free_port()}/0",
    }
    with override_settings(CACHES={"default": cache_settings}):
        yield


def test_without_the_shared_counter_calls_go_through(away: None) -> None:
    """A Redis that is away locks nobody out; the log says so once for a while, and not who called."""
    with capture_logs() as lines:
        for _ in range(5):
            spend(Rule.SEND, "ada")

    assert [line["event"] for line in lines] == ["limits.unavailable"]
    assert lines[0]["rule"] == "SEND"
    assert "ada" not in str(lines)


def test_the_counter_is_asked_again_after_a_while(away: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one call at a time; once it answers, limits hold again."""
    spend(Rule.SEND, "ada")
    monkeypatch.setattr(limits, "_away_until", time.monotonic() - 1)

    with capture_logs() as lines:
        for _ in range(5):
            spend(Rule.SEND, "ada")
    assert len(lines) == 1

    monkeypatch.setattr(limits, "_away_until", time.monotonic() - 1)
    here = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "back"}
    with override_settings(CACHES={"default": here}):
        exhaust()
        with pytest.raises(RateLimited):
            spend(Rule.SEND, "ada")
