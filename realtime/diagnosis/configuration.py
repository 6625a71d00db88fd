"""Checks of the configuration: does it fit the mode it runs in, and are its secrets any good."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core import checks

from chatproject.env import ENV, MINIMUM_SECRET_LENGTH
from realtime.diagnosis.findings import Finding, fail, first_line, ok, warn

PART = "configuration"
FEWEST_CHARACTERS = 12
FEWEST_BYTES = 12
"""Different ones in a secret; 32 random bytes or 50 random characters have many more."""


def settings_in_force() -> Iterator[Finding]:
    """Judge the settings by the mode."""
    found = [*_system_checks(), *(_public() if ENV.production else ())]
    if not ENV.rate_limits and ENV.mode != "test":
        found.append(warn(PART, "rate limits are off: passwords can be guessed", "remove PARLEY_RATE_LIMITS=off"))
    found.extend(
        warn(PART, f"{origin} may call without encryption", "name https:// origins alone")
        for origin in ENV.allowed_origins
        if ENV.https and not origin.startswith("https://")
    )
    summary = f"{ENV.mode}, hosts {', '.join(ENV.allowed_hosts)}, https {'on' if ENV.https else 'off'}"
    yield from found or [ok(PART, summary)]


def _public() -> Iterator[Finding]:
    """Judge what matters when anybody can reach the server."""
    if "*" in ENV.allowed_hosts:
        yield fail(PART, "every host name is accepted", "name yours in PARLEY_ALLOWED_HOSTS")
    if not ENV.https:
        yield warn(PART, "https is off: tokens travel readable", "set PARLEY_HTTPS=on behind a proxy that speaks TLS")
    elif not ENV.trusted_proxies:
        yield warn(
            PART,
            "no proxy is trusted, so that every request looks like http and is redirected",
            "set PARLEY_TRUSTED_PROXIES to the number of proxies in front",
        )


def _system_checks() -> Iterator[Finding]:
    """Run Django's own checks; its deployment hints count in production."""
    for message in checks.run_checks(include_deployment_checks=ENV.production):
        if message.is_silenced():
            continue
        problem, remedy = (
            f"{message.id}: {first_line(Exception(message.msg))}",
            message.hint or "see Django's documentation",
        )
        yield fail(PART, problem, remedy) if message.is_serious() else warn(PART, problem, remedy)


def secrets() -> Iterator[Finding]:
    """Judge the strength of the secrets, without showing any of them."""
    part = "secrets"
    found = []
    for name, value in (("PARLEY_SECRET_KEY", ENV.secret_key), ("PARLEY_JWT_KEY", ENV.jwt_key)):
        if len(value) < MINIMUM_SECRET_LENGTH or len(set(value)) < FEWEST_CHARACTERS:
            remedy = f"{name}: give it {MINIMUM_SECRET_LENGTH} random characters (openssl rand -base64 48)"
            found.append(fail(part, f"{name} is weak", remedy))
    if ENV.secret_key == ENV.jwt_key:
        found.append(fail(part, "PARLEY_SECRET_KEY and PARLEY_JWT_KEY are the same", "give each its own"))
    for key_id, key in ENV.master_keys:
        if len(set(key)) < FEWEST_BYTES:
            remedy = "add a random one in front (openssl rand -base64 32) and run: manage.py rotate_master_key"
            found.append(fail(part, f"the master key {key_id!r} is not random", remedy))
    if settings.SECRET_KEY.startswith("django-insecure-"):
        found.append(fail(part, "PARLEY_SECRET_KEY is a published one", "make a random one"))
    if ENV.mode == "test":
        yield warn(part, "these are the test suite's, which everybody knows", "set PARLEY_ENV for any other use")
        return
    yield from found or [ok(part, "long, different and random")]
