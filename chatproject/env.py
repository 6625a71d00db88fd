"""Reads the environment, once: every other module takes its configuration from `ENV`.

Each variable may also come from a file named by `<VARIABLE>_FILE` (container secrets). In development, missing
secrets are read from `secrets.env` in the data directory; in production a missing secret stops the start.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from django.core.exceptions import ImproperlyConfigured
from environs import FileAwareEnv

from chatproject import redis_url
from chatproject.redis_url import RedisServer

BASE_DIR = Path(__file__).resolve().parent.parent
MASTER_KEY_BYTES = 32
SQLITE_SYNCHRONOUS = ("full", "normal")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MINIMUM_SECRET_LENGTH = 50

Mode = Literal["development", "production", "test"]

_TEST_SECRETS = {
    "PARLEY_SECRET_KEY": "test-secret-key-that-signs-nothing-outside-of-the-test-suite",
    "PARLEY_JWT_KEY": "test-jwt-key-that-signs-nothing-outside-of-the-test-suite--",
    "PARLEY_MASTER_KEYS": "test1:" + base64.b64encode(b"\x11" * MASTER_KEY_BYTES).decode(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The process's whole configuration. Secrets are kept out of its repr."""

    mode: Mode
    data_dir: Path
    database_url: str
    sqlite_synchronous: str
    redis: tuple[RedisServer, ...]
    redis_prefix: str
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    trusted_proxies: int
    https: bool
    rate_limits: bool
    log_format: Literal["console", "json"]
    log_level: str
    secret_key: str
    jwt_key: str
    master_keys: tuple[tuple[str, bytes], ...]

    def __repr__(self) -> str:
        return f"<Environment {self.mode} data_dir={self.data_dir}>"

    @property
    def production(self) -> bool:
        """Whether the strict rules of a public deployment hold."""
        return self.mode == "production"


def parse_master_keys(value: str) -> tuple[tuple[str, bytes], ...]:
    """Parse `id:base64,id:base64`; the first key wraps, all unwrap. Each key is 256 bits.

    Raises `ImproperlyConfigured` without ever repeating the key material.
    """
    keys: list[tuple[str, bytes]] = []
    for place, entry in enumerate(filter(None, (part.strip() for part in value.split(","))), start=1):
        key_id, colon, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not colon or not key_id or len(key_id) > 32 or len(key) != MASTER_KEY_BYTES:
            raise ImproperlyConfigured(
                f"PARLEY_MASTER_KEYS: entry {place} must be `id:base64` of {MASTER_KEY_BYTES} bytes "
                f"(make one: openssl rand -base64 {MASTER_KEY_BYTES})."
            )
        keys.append((key_id, key))
    if not keys:
        raise ImproperlyConfigured("PARLEY_MASTER_KEYS is empty: give it `id:base64` of 32 random bytes.")
    if len({key_id for key_id, _ in keys}) != len(keys):
        raise ImproperlyConfigured("PARLEY_MASTER_KEYS names the same key id twice.")
    return tuple(keys)


def _secret(env: FileAwareEnv, name: str, mode: Mode) -> str:
    """Read one secret; there is no default outside of tests."""
    default = _TEST_SECRETS[name] if mode == "test" else ""
    value = env.str(name, default)
    if value:
        return value
    hint = "run `make run`, or `python -m chatproject.devsecrets var/secrets.env`"
    raise ImproperlyConfigured(f"{name} is not set." + ("" if mode == "production" else f" For development, {hint}."))


def _strong(name: str, value: str, mode: Mode) -> str:
    """Refuse a short signing secret in production (OWASP ASVS 6.4.1)."""
    if mode == "production" and len(value) < MINIMUM_SECRET_LENGTH:
        raise ImproperlyConfigured(f"{name} is too short: give it at least {MINIMUM_SECRET_LENGTH} characters.")
    return value


def _prefix(name: str, value: str) -> str:
    """Refuse a prefix that would not stand alone in a key, or mean something in a pattern."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", value):
        raise ImproperlyConfigured(f"{name} must be up to 32 letters, digits, dots, dashes or underscores.")
    return value


def read() -> Environment:
    """Read and check the environment. Raises `ImproperlyConfigured` that names the variable at fault."""
    env = FileAwareEnv(strip_whitespace=True)  # editors end a file with a line break, which is no part of a secret
    try:
        return _read(env)
    except ValueError as error:  # environs' own, and that of a `_FILE` that cannot be read
        raise ImproperlyConfigured(str(error)) from error


def _read(env: FileAwareEnv) -> Environment:
    mode = cast("Mode", env.str("PARLEY_ENV", "development"))
    if mode not in ("development", "production", "test"):
        raise ImproperlyConfigured(f"PARLEY_ENV must be development, production or test, not {mode!r}.")
    data_dir = Path(env.str("PARLEY_DATA_DIR", str(BASE_DIR / "var"))).resolve()
    if mode == "development":
        env.read_env(str(data_dir / "secrets.env"), recurse=False)
    production = mode == "production"
    local_hosts = [] if production else ["localhost", "127.0.0.1", "[::1]", "testserver"]
    hosts = tuple(env.list("PARLEY_ALLOWED_HOSTS", local_hosts))
    if production and not hosts:
        raise ImproperlyConfigured("PARLEY_ALLOWED_HOSTS is not set: name the hosts that Parley answers for.")
    log_format = env.str("PARLEY_LOG_FORMAT", "json" if production else "console")
    if log_format not in ("console", "json"):
        raise ImproperlyConfigured("PARLEY_LOG_FORMAT must be console or json.")
    log_level = env.str("PARLEY_LOG_LEVEL", "DEBUG" if mode == "test" else "INFO").upper()
    if log_level not in LOG_LEVELS:
        raise ImproperlyConfigured(f"PARLEY_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}.")
    sqlite_synchronous = env.str("PARLEY_SQLITE_SYNCHRONOUS", "full").lower()
    if sqlite_synchronous not in SQLITE_SYNCHRONOUS:
        raise ImproperlyConfigured(f"PARLEY_SQLITE_SYNCHRONOUS must be one of {', '.join(SQLITE_SYNCHRONOUS)}.")
    return Environment(
        mode=mode,
        data_dir=data_dir,
        database_url=env.str("DATABASE_URL", ""),
        sqlite_synchronous=sqlite_synchronous,
        redis=redis_url.parse(env.str("REDIS_URL", "")),
        redis_prefix=_prefix("PARLEY_REDIS_PREFIX", env.str("PARLEY_REDIS_PREFIX", "parley")),
        allowed_hosts=hosts,
        allowed_origins=tuple(env.list("PARLEY_ALLOWED_ORIGINS", [])),
        trusted_proxies=env.int("PARLEY_TRUSTED_PROXIES", 0),
        https=env.bool("PARLEY_HTTPS", production),
        rate_limits=env.bool("PARLEY_RATE_LIMITS", True),
        log_format=cast("Literal['console', 'json']", log_format),
        log_level=log_level,
        secret_key=_strong("PARLEY_SECRET_KEY", _secret(env, "PARLEY_SECRET_KEY", mode), mode),
        jwt_key=_strong("PARLEY_JWT_KEY", _secret(env, "PARLEY_JWT_KEY", mode), mode),
        master_keys=parse_master_keys(_secret(env, "PARLEY_MASTER_KEYS", mode)),
    )


def of_child(**changes: str) -> dict[str, str]:
    """Return this process's variables with changes, for a child that is to be configured otherwise."""
    names = {f"{name}_FILE" for name in changes}
    return {**{name: value for name, value in os.environ.items() if name not in names}, **changes}


ENV = read()
