"""Rate limits, the same for REST and sockets, counted in the shared cache (Redis when there is one).

The counting is django-ratelimit's: fixed windows, one counter for each rule and subject (OWASP API4:2023).
"""

from __future__ import annotations

from enum import Enum, auto, unique

import structlog
from django.conf import settings
from django_ratelimit.core import get_usage
from redis.exceptions import RedisError

from chatproject.errors import DomainError

log = structlog.get_logger("parley.limits")


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


def spend(rule: Rule, subject: object) -> None:
    """Count one call by `subject` (a user id or an address). Raises `RateLimited` above the rule's rate.

    When the shared cache is away the call is let through and logged: a limit is a protection, not a lock.
    """
    try:
        usage = get_usage(
            None, group=f"parley:{rule.name}", key=lambda _group, _request: str(subject), rate=rule.rate, increment=True
        )
    except (OSError, RedisError) as error:
        log.warning("limits.unavailable", rule=rule.name, error=type(error).__name__)
        return
    if usage and usage["should_limit"]:
        raise RateLimited(retry_after=max(1, int(usage["time_left"])))
