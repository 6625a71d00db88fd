"""Tests of the environment: what a production server refuses to start without, and that it never tells a secret."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from chatproject import env
from chatproject.env import MASTER_KEY_BYTES, MINIMUM_SECRET_LENGTH, parse_master_keys, read

STRONG = "0123456789" * (MINIMUM_SECRET_LENGTH // 10)
KEY = base64.b64encode(b"\x07" * MASTER_KEY_BYTES).decode()
OTHER_KEY = base64.b64encode(b"\x08" * MASTER_KEY_BYTES).decode()
PRODUCTION = {
    "PARLEY_ENV": "production",
    "PARLEY_ALLOWED_HOSTS": "chat.example.org,chat.example.net",
    "PARLEY_SECRET_KEY": STRONG,
    "PARLEY_JWT_KEY": STRONG[::-1] + "j",
    "PARLEY_MASTER_KEYS": f"k1:{KEY}",
}
SECRETS = ("PARLEY_SECRET_KEY", "PARLEY_JWT_KEY", "PARLEY_MASTER_KEYS")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with nothing of Parley in it but the data directory; what a test sets ends with it."""
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")})
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PARLEY_DATA_DIR", str(tmp_path))
    return monkeypatch


@pytest.fixture
def production(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A complete production environment."""
    for name, value in PRODUCTION.items():
        environment.setenv(name, value)
    return environment


def test_production_is_strict_by_default(production: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HTTPS, rate limits and JSON logs are on; no proxy and no other origin is trusted."""
    found = read()

    assert found.production
    assert found.allowed_hosts == ("chat.example.org", "chat.example.net")
    assert (found.https, found.rate_limits, found.log_format, found.log_level) == (True, True, "json", "INFO")
    assert found.sqlite_synchronous == "full"
    assert (found.allowed_origins, found.trusted_proxies, found.database_url, found.redis) == ((), 0, "", ())
    assert found.data_dir == tmp_path.resolve()


@pytest.mark.parametrize("name", [*SECRETS, "PARLEY_ALLOWED_HOSTS"])
@pytest.mark.parametrize("value", [None, ""])
def test_production_needs_each_of_its_secrets(production: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """A missing or empty one stops the start with its name."""
    if value is None:
        production.delenv(name)
    else:
        production.setenv(name, value)

    with pytest.raises(ImproperlyConfigured, match=name):
        read()


@pytest.mark.parametrize("name", SECRETS)
def test_production_reads_no_development_secrets(production: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """A file that lies about is no source."""
    (tmp_path / "secrets.env").write_text(f"{name}={PRODUCTION[name]}\n")
    production.delenv(name)

    with pytest.raises(ImproperlyConfigured, match=name):
        read()


@pytest.mark.parametrize("name", ["PARLEY_SECRET_KEY", "PARLEY_JWT_KEY"])
def test_production_refuses_weak_secrets(production: pytest.MonkeyPatch, name: str) -> None:
    """Below fifty characters; the message does not repeat it."""
    production.setenv(name, "WEAK" + "s" * (MINIMUM_SECRET_LENGTH - 5))

    with pytest.raises(ImproperlyConfigured, match=f"{name} is too short") as caught:
        read()

    assert "WEAK" not in str(caught.value)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(production: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """As container secrets do; a line break at the end is none of it."""
    production.delenv(name)
    (tmp_path / "secret").write_text(PRODUCTION[name] + "\n")
    production.setenv(f"{name}_FILE", str(tmp_path / "secret"))

    found = read()

    assert found.secret_key == PRODUCTION["PARLEY_SECRET_KEY"]
    assert found.jwt_key == PRODUCTION["PARLEY_JWT_KEY"]
    assert found.master_keys == (("k1", b"\x07" * MASTER_KEY_BYTES),)


def test_a_secret_file_that_is_not_there(production: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    production.setenv("PARLEY_JWT_KEY_FILE", "/nowhere/secret")
    production.delenv("PARLEY_JWT_KEY")

    with pytest.raises(ImproperlyConfigured, match="PARLEY_JWT_KEY_FILE"):
        read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARLEY_ENV", "prod"),
        ("PARLEY_LOG_FORMAT", "xml"),
        ("PARLEY_LOG_LEVEL", "loud"),
        ("PARLEY_SQLITE_SYNCHRONOUS", "off"),
        ("PARLEY_TRUSTED_PROXIES", "one"),
        ("PARLEY_HTTPS", "maybe"),
        ("PARLEY_RATE_LIMITS", "7"),
    ],
)
def test_wrong_values_are_named(production: pytest.MonkeyPatch, name: str, value: str) -> None:
    """So that the operator finds them."""
    production.setenv(name, value)

    with pytest.raises(ImproperlyConfigured, match=name):
        read()


def test_development_reads_its_secrets_from_the_data_directory(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And says how to make them when they are not there."""
    with pytest.raises(ImproperlyConfigured, match=r"PARLEY_SECRET_KEY is not set\. For development"):
        read()

    (tmp_path / "secrets.env").write_text("".join(f"{name}={PRODUCTION[name]}\n" for name in SECRETS))
    found = read()

    assert (found.mode, found.https, found.log_format) == ("development", False, "console")
    assert found.secret_key == STRONG
    assert "localhost" in found.allowed_hosts


def test_nothing_secret_is_in_the_repr(production: pytest.MonkeyPatch) -> None:
    """A traceback that shows the environment shows no key."""
    text = repr(read())

    assert "production" in text
    for name in SECRETS:
        assert PRODUCTION[name] not in text


def test_master_keys_are_read_in_order() -> None:
    """The first one wraps; spaces and empty entries do not matter."""
    keys = parse_master_keys(f" new:{KEY} , old:{OTHER_KEY},")

    assert keys == (("new", b"\x07" * MASTER_KEY_BYTES), ("old", b"\x08" * MASTER_KEY_BYTES))


@pytest.mark.parametrize(
    "value",
    [
        *("", ",", "k1", "k1:", f":{KEY}", KEY),
        *("k1:c2hvcnQ=", f"k1:{KEY}x", f"k1:{KEY[:-1]}", f"k1:!{KEY[1:]}", f"k1:{KEY},k1:{OTHER_KEY}"),
        *(f"{'k' * 33}:{KEY}", f"k1:{KEY} k2:{OTHER_KEY}"),
    ],
)
def test_bad_master_keys_are_refused_without_repeating_them(value: str) -> None:
    """Missing ids, other lengths, other alphabets, the same id twice."""
    with pytest.raises(ImproperlyConfigured, match="PARLEY_MASTER_KEYS") as caught:
        parse_master_keys(value)

    assert KEY[1:-1] not in str(caught.value)
    assert OTHER_KEY[1:-1] not in str(caught.value)


def test_the_suite_runs_in_the_test_mode() -> None:
    """Its secrets sign nothing outside of it."""
    assert env.ENV.mode == "test"
    assert not env.ENV.production
