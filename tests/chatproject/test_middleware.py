"""Tests of the frame of every request: its id, its address, its log line, and the headers of each answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from structlog.testing import capture_logs

from chatproject.middleware import new_request_id

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.mark.parametrize("offered", ["abcdefgh", "019a8c3e-5d0b-7c41-9f2e-6b1f0c9d2a11", "a.b_c-d8" * 8])
def test_a_harmless_id_is_kept(offered: str) -> None:
    """So that a proxy's log and ours meet."""
    assert new_request_id(offered) == offered


@pytest.mark.parametrize(
    "offered", [None, "", "short", "x" * 65, "with space", "line\nbreak", "<script>", "ümlaut-x", "a" * 8 + "\n"]
)
def test_any_other_id_is_replaced(offered: str | None) -> None:
    """Nothing can be smuggled into the log."""
    made = new_request_id(offered)

    assert made != offered
    assert len(made) == 36


def test_one_id_for_header_body_and_log(client: Client) -> None:
    """And one line that says how the request ended, without its query."""
    with capture_logs() as lines:
        response = client.get("/nowhere?token=SECRET", headers={"X-Request-ID": "request-7"})

    assert response.headers["X-Request-ID"] == response.json()["error"]["requestId"] == "request-7"
    [line] = [one for one in lines if one["event"] == "http.request"]
    assert (line["method"], line["path"], line["status"], line["address"]) == ("GET", "/nowhere", 404, "127.0.0.1")
    assert line["ms"] >= 0
    assert "SECRET" not in str(line)


def test_requests_do_not_share_what_is_bound(client: Client) -> None:
    """The next one has an id of its own."""
    first = client.get("/nowhere").headers["X-Request-ID"]

    assert client.get("/nowhere").headers["X-Request-ID"] != first


def test_health_checks_are_quiet(client: Client) -> None:
    """A balancer asks every second."""
    with capture_logs() as lines:
        client.get("/healthz")

    assert [one["log_level"] for one in lines] == ["debug"]


@pytest.mark.parametrize(("proxies", "expected"), [(0, "127.0.0.1"), (1, "203.0.113.7"), (2, "198.51.100.1")])
def test_the_address_behind_proxies(client: Client, settings: Any, proxies: int, expected: str) -> None:
    """The claims of the client do not count."""
    settings.PARLEY_TRUSTED_PROXIES = proxies
    forwarded = "6.6.6.6, 198.51.100.1, 203.0.113.7"

    with capture_logs() as lines:
        client.get("/nowhere", headers={"X-Forwarded-For": forwarded})

    assert lines[-1]["address"] == expected


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/nowhere", 404),
        ("/user/me", 401),
        ("/static/admin/css/base.css", 200),
        ("/static/nowhere.css", 404),
        ("/admin/login/", 200),
    ],
)
def test_security_headers_are_on_every_answer(db: None, client: Client, path: str, status: int) -> None:
    """Pages, files and refusals alike."""
    response = client.get(path)

    assert response.status_code == status
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_security_headers_are_on_a_500(db: None, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """And on a failure that nobody expected, which is logged under the same id."""

    def fail(**_: object) -> None:
        raise RuntimeError("SECRET CAUSE")

    monkeypatch.setattr("accounts.authentication.authenticate_access_token", fail)
    client.raise_request_exception = False

    response = client.get("/user/me", headers={"Authorization": "Bearer x"})

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert response.json()["error"]["requestId"] == response.headers["X-Request-ID"]
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert "SECRET" not in response.content.decode()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example.org", True),
        ("https://evil.example", False),
        ("null", False),
        ("https://app.example.org.evil", False),
    ],
)
@pytest.mark.parametrize("path", ["/nowhere", "/user/me", "/healthz"])
def test_cors_is_an_allow_list(db: None, client: Client, settings: Any, origin: str, allowed: bool, path: str) -> None:
    """Also on refusals, so that a front end can read why; never for every origin."""
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.org"]

    response = client.get(path, headers={"Origin": origin})

    assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_cors_preflight(client: Client, settings: Any) -> None:
    """A front end may send its token, its idempotency key and a range."""
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.org"]
    headers = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PATCH"}

    response = client.options("/chat/message", headers=headers)

    assert response.status_code == 200
    assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
    assert {"authorization", "idempotency-key", "range"} <= set(
        response.headers["Access-Control-Allow-Headers"].split(", ")
    )
