"""Rate limits, the same for REST and sockets, counted in the shared cache (Redis when there is one).

The counting is django-ratelimit's: fixed windows, one counter for each rule and subject (OWASP API4:2023).
"""

from __future__ import annotations

import time
from enum import Enum, auto, unique

import structlog
from django.conf import settings
from django_ratelimit.core import get_usage

from chatproject.errors import DomainError
from chatproject.redis_clients import AWAY

log = structlog.get_logger("parley.limits")

RETRY_SECONDS = 5.0


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


_away_until = 0.0
"""When the shared cache, which was away at the last call, is asked again (monotonic); 0 while it is there."""


def spend(rule: Rule, subject: object) -> None:
    """Count one call by `subject` (a user id or an address). Raises `RateLimited` above the rule's rate.

    While the shared cache is away calls are let through: a limit is a protection, not a lock. One call in
    `RETRY_SECONDS` finds out, at the cost of a time-out where the cache hangs; the others do not wait for it.
    """
    global _away_until  # noqa: PLW0603
    now = time.monotonic()
    if now < _away_until:
        return
    if _away_until:
        _away_until = now + RETRY_SECONDS
    try:
        usage = get_usage(
            None, group=f"parley:{rule.name}", key=lambda _group, _request: str(subject), rate=rule.rate, increment=True
        )
    except AWAY as error:
        _away_until = time.monotonic() + RETRY_SECONDS
        log.warning("limits.unavailable", rule=rule.name, error=type(error).__name__)
        return
    _away_until = 0.0
    if usage and usage["should_limit"]:
        raise RateLimited(retry_after=max(1, int(usage["time_left"])))
