"""Rate limits, the same for REST and sockets: fixed windows, a counter for each rule and subject (OWASP API4:2023).

What keeps guessers away is counted exactly, by django-ratelimit in the shared cache (Redis when there is one). What
people do all day is counted in memory, and added up over the processes once a second.
"""

from __future__ import annotations

import math
import time
from enum import Enum, auto, unique
from functools import lru_cache

import structlog
from django.conf import settings
from django_ratelimit.core import get_usage

from chatproject.errors import DomainError
from chatproject.redis_clients import AWAY
from chatproject.redis_keys import Keys
from chatproject.tally import Tally

log = structlog.get_logger("parley.limits")

RETRY_SECONDS = 5.0
"""How long a Redis that was away is left alone."""
SECONDS_OF = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@unique
class Rule(Enum):
    """What is limited; `RATES` says how often in which time."""

    REGISTER = auto()
    LOGIN = auto()
    LOGIN_ACCOUNT = auto()
    REFRESH = auto()
    SEARCH = auto()
    SEND = auto()
    UPLOAD = auto()
    TYPING = auto()
    SOCKET = auto()
    COMMAND = auto()

    @property
    def rate(self) -> str:
        """The rate in force, as `count/period`; settings may override it by the rule's name."""
        return str(settings.PARLEY_RATES.get(self.name, RATES[self]))


# Not the members' values: two members with the same value would be one, with one counter.
RATES = {
    Rule.REGISTER: "30/m",
    Rule.LOGIN: "20/m",
    Rule.LOGIN_ACCOUNT: "30/h",
    Rule.REFRESH: "120/m",
    Rule.SEARCH: "120/m",
    Rule.SEND: "600/m",
    Rule.UPLOAD: "60/m",
    Rule.TYPING: "120/m",
    Rule.SOCKET: "600/m",
    Rule.COMMAND: "1200/m",
}


class RateLimited(DomainError):
    """Too many calls of one kind by one subject; `retry_after` seconds have to pass."""

    code = "rate_limited"
    status = 429
    message = "Too many requests: wait a moment."


EXACT = frozenset({Rule.REGISTER, Rule.LOGIN, Rule.LOGIN_ACCOUNT, Rule.REFRESH})
"""Rules that keep guessers away: rare calls, each of which asks the shared counter. All others are counted here."""

tally = Tally()
"""What was counted in this process; `realtime.exchange` adds what the others have counted."""

_away_until = 0.0
"""When the shared cache, which was away at the last call, is asked again (monotonic); 0 while it is there."""


def spend(rule: Rule, subject: object) -> None:
    """Count one call by `subject` (a user id or an address). Raises `RateLimited` above the rule's rate.

    An exact rule may wait for Redis, so it is for threads alone; the others wait for nothing. Several processes may let
    through more of those, by what each has counted since the last exchange (docs/decisions/0008-rate-limits.md).
    """
    if not settings.RATELIMIT_ENABLE:
        return
    seconds = _count_together(rule, subject) if rule in EXACT else _count_here(rule, subject)
    if seconds is not None:
        raise RateLimited(retry_after=max(1, math.ceil(seconds)))


def _count_here(rule: Rule, subject: object) -> float | None:
    """Count in memory; return for how many seconds the rate is used up."""
    rate = rule.rate
    limit, period = _parsed(rate)
    return tally.count(f"{rule.name}|{rate}|{subject}", limit=limit, period=period)


def _count_together(rule: Rule, subject: object) -> float | None:
    """Count in the shared cache; return for how many seconds the rate is used up.

    While the cache is away this process counts for itself: nobody is locked out by that, and nobody may guess without
    end. One call in `RETRY_SECONDS` finds out, at the cost of a time-out where the cache hangs.
    """
    global _away_until  # noqa: PLW0603
    now = time.monotonic()
    if now < _away_until:
        return _count_here(rule, subject)
    if _away_until:
        _away_until = now + RETRY_SECONDS
    # django-ratelimit's own hash has no key: who reads Redis could try all addresses out.
    name = Keys("limit", ()).digest(str(subject).encode()).hex()
    try:
        usage = get_usage(None, group=f"parley:{rule.name}", key=lambda *_: name, rate=rule.rate, increment=True)
    except AWAY as error:
        _away_until = time.monotonic() + RETRY_SECONDS
        log.warning("limits.unavailable", rule=rule.name, error=type(error).__name__)
        return _count_here(rule, subject)
    _away_until = 0.0
    return float(usage["time_left"]) if usage and usage["should_limit"] else None


@lru_cache(maxsize=64)
def _parsed(rate: str) -> tuple[int, int]:
    """Return how many calls a rate allows in how many seconds, as django-ratelimit reads it."""
    count, _, period = rate.partition("/")
    return int(count), int(period[:-1] or 1) * SECONDS_OF[period[-1]]
