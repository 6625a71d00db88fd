"""Tests of rate limits: who is counted for what, when it is over, and what happens without the shared counter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.test import override_settings
from django_ratelimit import ALL
from django_ratelimit.core import _get_window, _make_cache_key, _split_rate
from structlog.testing import capture_logs

from chatproject import limits
from chatproject.limits import EXACT, RATES, RateLimited, Rule, spend, tally
from chatproject.redis_url import parse
from tests.live.server import free_port

NOON = "2026-01-31T12:00:00Z"


@pytest.fixture(autouse=True)
def _limited(settings: Any) -> Iterator[None]:
    """Count, from nothing, three a minute."""
    settings.RATELIMIT_ENABLE = True
    settings.PARLEY_RATES = {"SEND": "3/m", "LOGIN": "3/m"}
    cache.clear()
    tally.clear()
    with time_machine.travel(NOON, tick=False):
        yield
    cache.clear()
    tally.clear()


def exhaust(subject: object = "ada", rule: Rule = Rule.SEND) -> None:
    """Use up what one may."""
    for _ in range(3):
        spend(rule, subject)


BOTH_WAYS = pytest.mark.parametrize("rule", [Rule.SEND, Rule.LOGIN], ids=["in memory", "exactly"])


def test_what_is_counted_exactly() -> None:
    """What guesses: a password, a name, a token. These are few, and each waits for Redis."""
    assert {rule.name for rule in EXACT} == {"REGISTER", "LOGIN", "LOGIN_ACCOUNT", "REFRESH"}


def test_the_shared_counter_does_not_know_addresses() -> None:
    """The library's own hash has no key, so its names could be found by trying all addresses."""
    address = "203.0.113.7"
    spend(Rule.LOGIN, address)

    window = _get_window(address, 60)
    names = [_make_cache_key("parley:LOGIN", window + near, "3/m", address, ALL) for near in (-60, 0, 60)]
    assert cache.get_many(names) == {}


@BOTH_WAYS
def test_above_the_rate_is_refused_with_the_time_to_wait(rule: Rule) -> None:
    """In whole seconds, at least one, at most the period."""
    exhaust(rule=rule)

    with pytest.raises(RateLimited) as caught:
        spend(rule, "ada")

    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60


@BOTH_WAYS
def test_waiting_as_told_is_enough(rule: Rule) -> None:
    """The next window begins then."""
    exhaust(rule=rule)
    with pytest.raises(RateLimited) as caught:
        spend(rule, "ada")

    with time_machine.travel(
        f"2026-01-31T12:0{(caught.value.retry_after or 0) // 60}:{(caught.value.retry_after or 0) % 60 + 1:02}Z",
        tick=False,
    ):
        spend(rule, "ada")


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
    assert Rule.REFRESH.rate == RATES[Rule.REFRESH]


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
        "BACKEND": "chatproject.caches.SharedCache",
        "LOCATION": parse(f"redis://127.0.0.1:{free_port()}"),
    }
    with override_settings(CACHES={"default": cache_settings}):
        yield


def test_without_the_shared_counter_each_process_counts_for_itself(away: None) -> None:
    """A Redis that is away locks nobody out and lets nobody guess; the log says so once, and not who called."""
    with capture_logs() as lines:
        exhaust(rule=Rule.LOGIN)
        with pytest.raises(RateLimited):
            spend(Rule.LOGIN, "ada")

    assert [line["event"] for line in lines] == ["limits.unavailable"]
    assert lines[0]["rule"] == "LOGIN"
    assert "ada" not in str(lines)


def test_the_counter_is_asked_again_after_a_while(away: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one call at a time; once it answers, it counts again."""
    spend(Rule.LOGIN, "ada")
    monkeypatch.setattr(limits, "_away_until", time.monotonic() - 1)

    with capture_logs() as lines:
        for _ in range(2):
            spend(Rule.LOGIN, "ada")
    assert len(lines) == 1

    monkeypatch.setattr(limits, "_away_until", time.monotonic() - 1)
    here = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "back"}
    with override_settings(CACHES={"default": here}):
        exhaust(rule=Rule.LOGIN)
        with pytest.raises(RateLimited):
            spend(Rule.LOGIN, "ada")


def test_frequent_calls_ask_nobody(away: None) -> None:
    """They are counted in memory, whatever Redis does."""
    with capture_logs() as lines:
        exhaust()
        with pytest.raises(RateLimited):
            spend(Rule.SEND, "ada")

    assert lines == []


@pytest.mark.parametrize(("rate", "parsed"), [("600/m", (600, 60)), ("5/10s", (5, 10)), ("1/d", (1, 86_400))])
def test_rates_are_read_as_the_library_reads_them(rate: str, parsed: tuple[int, int]) -> None:
    """A rate means the same for both ways of counting."""
    assert limits._parsed(rate) == parsed == _split_rate(rate)
