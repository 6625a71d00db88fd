"""Structured logging: people's lines in development, JSON in production, and never content, tokens or passwords."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

FORBIDDEN_KEYS = frozenset(
    {"password", "newpassword", "currentpassword", "content", "title", "authorization", "token", "accesstoken",
     "refreshtoken", "cookie", "key", "secret"}
)  # fmt: skip
REDACTED = "[redacted]"


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank every value whose key names something secret (OWASP Logging Cheat Sheet, "Data to exclude")."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: object, value: Any) -> Any:
    if str(key).replace("_", "").lower() in FORBIDDEN_KEYS:
        return REDACTED
    if isinstance(value, dict):
        return {inner: _redacted(inner, one) for inner, one in value.items()}
    return value


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact,
    ]


def configure(*, log_format: str, level: str, cache_loggers: bool = True) -> dict[str, Any]:
    """Configure structlog and return Django's `LOGGING`: both write the same lines to standard error.

    A cached logger is quick, and deaf to a later configuration, such as a test that captures what is logged.
    """
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Lines below the level cost nothing: a socket's frames are many.
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=cache_loggers,
    )
    renderers: list[Processor]
    if log_format == "json":
        # Without the locals of each frame, which structlog shows by default: they hold content and passwords.
        tracebacks = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        renderers = [tracebacks, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        renderers = [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "parley": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared(),
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "parley"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "parley": {"level": level},
            # Our own request log says more; Django's would repeat each 4xx and 5xx without its request id.
            "django.request": {"level": "ERROR"},
            "daphne": {"level": "WARNING"},
            "daphne.server": {"level": "ERROR"},
            # Below that they write down what people send. A level of their own also keeps them from adding a handler.
            "engineio.server": {"level": "ERROR"},
            "socketio.server": {"level": "ERROR"},
        },
    }
