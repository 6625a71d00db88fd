"""Tests of what the log says and never says."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from chatproject import logs
from chatproject.logs import REDACTED, redact

Lines = Callable[[], list[str]]


@pytest.fixture(params=["json", "console"])
def log_format(request: pytest.FixtureRequest) -> str:
    """Each of the two formats."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _configured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave structlog as the suite has it: loggers that were used before would keep the former processors."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)


@pytest.fixture
def written(log_format: str) -> Iterator[Lines]:
    """Send one logger's lines, rendered as in service, to memory."""
    stream = io.StringIO()
    formatter = logs.configure(log_format=log_format, level="INFO")["formatters"]["parley"]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.config.DictConfigurator({"version": 1}).configure_formatter(formatter))
    logger = logging.getLogger("parley.tests")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield lambda: stream.getvalue().splitlines()
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    "key",
    [
        *("password", "newPassword", "current_password", "content", "title", "Authorization"),
        *("token", "access_token", "refreshToken", "cookie", "key", "secret"),
    ],
)
def test_secrets_are_blanked_by_name(key: str) -> None:
    """However the name is written, at the top or deeper."""
    event = {"event": "x", key: "SECRET", "data": {key: "SECRET", "inner": {key: "SECRET"}}, "chat_id": "7"}

    found = redact(None, "info", event)

    assert found == {"event": "x", key: REDACTED, "data": {key: REDACTED, "inner": {key: REDACTED}}, "chat_id": "7"}


@pytest.mark.parametrize("log_format", ["json"], indirect=True)
def test_a_line_is_one_json_object(written: Lines) -> None:
    """With time, level, logger, the request's id, and what was given, also when it holds a line break."""
    with structlog.contextvars.bound_contextvars(request_id="request-7"):
        structlog.get_logger("parley.tests").info("thing.happened", path="/a\nb", password="SECRET")
        logging.getLogger("parley.tests").warning("Plain %s", "line", extra={"token": "SECRET", "size": 5})

    first, second = (json.loads(line) for line in written())

    assert first["timestamp"].endswith("Z")
    assert {name: first[name] for name in ("event", "level", "logger", "request_id", "path", "password")} == {
        "event": "thing.happened",
        "level": "info",
        "logger": "parley.tests",
        "request_id": "request-7",
        "path": "/a\nb",
        "password": REDACTED,
    }
    assert (second["event"], second["request_id"], second["token"], second["size"]) == (
        "Plain line",
        "request-7",
        REDACTED,
        5,
    )


def fail_with(content: str) -> None:
    """Fail in a frame whose variables hold what nobody may read."""
    password = content
    raise RuntimeError(f"failed with {len(password)} characters")


def test_a_traceback_shows_no_variables(written: Lines) -> None:
    """Where it failed, and never with which content or password, in either format."""
    try:
        fail_with("SECRET")
    except RuntimeError:
        structlog.get_logger("parley.tests").exception("thing.failed")

    text = "\n".join(written())

    assert "thing.failed" in text
    assert "fail_with" in text
    assert "failed with 6 characters" in text
    # A console traceback quotes the source, which has the word in the call.
    assert "SECRET" not in text.replace('fail_with("SECRET")', "")


def test_the_level_is_ours_alone(log_format: str) -> None:
    """Libraries speak from WARNING on, Parley from the configured level."""
    settings: dict[str, Any] = logs.configure(log_format=log_format, level="DEBUG")

    assert settings["loggers"]["parley"] == {"level": "DEBUG"}
    assert settings["root"]["level"] == "WARNING"
