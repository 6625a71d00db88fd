"""Tests of real servers as operators start them: production's strictness, and one installation of two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chatproject.test_env import PRODUCTION, SECRETS
from tests.live.server import ROOT, Daphne, clean_environment, make_redis

pytestmark = pytest.mark.live

CREDENTIALS = {"username": "nobody", "password": "Zanzibar-Quokka-1492"}


def start(directory: Path, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a production environment and some changes; an empty value takes the variable away."""
    variables = {**PRODUCTION, "PARLEY_DATA_DIR": str(directory), **changes}
    environment = clean_environment(**{name: value for name, value in variables.items() if value})
    arguments = [sys.executable, *command]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def lines_of(server: Daphne) -> list[dict[str, Any]]:
    """Return the server's log: every line of it is one JSON object."""
    return [json.loads(line) for line in server.log.splitlines()]


def test_a_full_production_environment_has_no_warnings(tmp_path: Path) -> None:
    """Django's own deployment checks have nothing to say."""
    done = start(
        tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING", REDIS_URL="redis://127.0.0.1:1/0"
    )

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    assert "WARNING" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", [*SECRETS, "PARLEY_ALLOWED_HOSTS"])
def test_production_does_not_start_without(tmp_path: Path, name: str) -> None:
    """Its name is the last thing said, and no other secret is."""
    done = start(tmp_path, "-c", "import chatproject.env", **{name: ""})

    assert done.returncode != 0
    assert f"{name} is not set" in done.stderr.strip().splitlines()[-1]
    for other in SECRETS:
        assert PRODUCTION[other] not in done.stderr


def test_nothing_falls_back_to_a_default(tmp_path: Path) -> None:
    """Without any environment the server is a development server, and that does not start without secrets either."""
    done = start(tmp_path, "-c", "import chatproject.env", PARLEY_ENV="", **dict.fromkeys(SECRETS, ""))

    assert done.returncode != 0
    assert "PARLEY_SECRET_KEY is not set." in done.stderr


def test_production_keeps_to_https(daphne: Callable[..., Daphne]) -> None:
    """Plain requests are sent there; behind the trusted proxy each answer carries HSTS. Health checks stay plain."""
    server = daphne(
        PARLEY_ENV="production",
        PARLEY_TRUSTED_PROXIES="1",
        PARLEY_SECRET_KEY=PRODUCTION["PARLEY_SECRET_KEY"],
        PARLEY_JWT_KEY=PRODUCTION["PARLEY_JWT_KEY"],
        PARLEY_MASTER_KEYS=PRODUCTION["PARLEY_MASTER_KEYS"],
    )
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}

    plain = httpx.get(f"{server.url}/user/me")
    secure = httpx.get(f"{server.url}/user/me", headers=proxied)
    large = httpx.post(f"{server.url}/chat/message", headers=proxied, content=b"x" * 300_000)

    assert (plain.status_code, plain.headers["Location"]) == (301, f"https://127.0.0.1:{server.port}/user/me")
    assert (secure.status_code, large.status_code) == (401, 413)
    for answer in (secure, large):
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_large_body_is_refused_like_everything(live_server_process: Daphne) -> None:
    """413 in the one shape, declared or streamed, with the headers of every answer and the id of its log line."""
    url = f"{live_server_process.url}/chat/message"

    def stream() -> Any:
        for _ in range(40):
            yield b"x" * 10_000

    for content in (b"x" * 300_000, stream()):
        answer = httpx.post(url, content=content, headers={"Content-Type": "application/json"})

        assert answer.status_code == 413
        error = answer.json()["error"]
        assert (error["code"], error["requestId"]) == ("body_too_large", answer.headers["X-Request-ID"])
        assert answer.headers["X-Frame-Options"] == "DENY"
        [line] = [one for one in lines_of(live_server_process) if one.get("request_id") == error["requestId"]]
        assert (line["event"], line["status"], line["path"]) == ("http.request", 413, "/chat/message")


@pytest.mark.parametrize("charset", ["rot13", "zip", "undefined"])
def test_no_codec_of_the_client_s_choice(live_server_process: Daphne, charset: str) -> None:
    """Neither a query, a body, a form nor an upload can be made to fail by it."""
    with httpx.Client(base_url=live_server_process.url) as client:
        for path, media_type in (
            ("/auth/login?a=%31", "application/json"),
            ("/admin/login/?a=%31", "application/x-www-form-urlencoded"),
            ("/admin/login/", "multipart/form-data; boundary=b"),
        ):
            content_type = f"{media_type}; charset={charset}"
            answer = client.post(path, content=b'--b\r\nx: y\r\n\r\n{"a": 1}', headers={"Content-Type": content_type})
            assert answer.status_code in (400, 403), (path, answer.status_code)
        answer = client.get("/chat?limit=%31", headers={"Content-Type": f"text/plain; charset={charset}"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/%FF", "/chat/%00", "/chat/%ED%A0%80", "/%0Ax", "/chat/..%2f..", "/" + "a" * 5000, "/user/me?" + "a=1&" * 3000],
)
def test_odd_requests_are_refused(live_server_process: Daphne, path: str) -> None:
    """In the one shape, whatever bytes they hold; the log stays one object a line."""
    answer = httpx.get(live_server_process.url + path)

    assert answer.status_code in (400, 401, 404)
    assert answer.json()["error"]["requestId"] == answer.headers["X-Request-ID"]
    assert lines_of(live_server_process)[-1]["status"] == answer.status_code


def test_two_processes_count_together(tmp_path: Path, daphne: Callable[..., Daphne]) -> None:
    """The twenty-first attempt of a minute is refused whichever process gets it; without Redis none is.

    A wrong password counts as one, and so does a body without any, which is not hashed: hashing takes its time.
    """
    with make_redis(tmp_path) as redis:
        redis.start()
        options = {"REDIS_URL": redis.url, "PARLEY_RATE_LIMITS": "on", "PARLEY_TRUSTED_PROXIES": "1"}
        one, other = (daphne(**options) for _ in range(2))

        def sign_in(server: Daphne, address: str, **body: str) -> httpx.Response:
            headers = {"X-Forwarded-For": f"6.6.6.6, {address}"}
            return httpx.post(f"{server.url}/auth/login", json=body, headers=headers, timeout=60)

        def allowed(address: str) -> int:
            """Return how often an address may try, at either process in turn."""
            for number in range(25):
                body = CREDENTIALS if number < 2 else {}
                answer = sign_in((one, other)[number % 2], address, **body)
                if answer.status_code == 429:
                    error = answer.json()["error"]
                    assert (error["code"], answer.headers["Retry-After"]) == ("rate_limited", str(error["retryAfter"]))
                    return number
                assert answer.status_code == (401 if body else 400)
            return 25

        # A minute may end while an address is being counted, but hardly three times.
        assert any(allowed(f"203.0.113.{number}") == 20 for number in range(3))

        redis.kill()
        assert sign_in(one, "203.0.113.0", **CREDENTIALS).status_code == 401

    assert [line for line in lines_of(one) if line["event"] == "limits.unavailable"]
    assert CREDENTIALS["password"] not in one.log + other.log
