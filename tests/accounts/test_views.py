"""Tests of the REST endpoints: what they take, answer, limit and announce."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from PIL import Image
from rest_framework.test import APIClient

from accounts import services, sessions, tokens
from accounts.events import SessionEnded, StatusChosen
from accounts.models import Session, User
from accounts.services import SignedIn
from chatproject.events import Event
from chatproject.ids import uuid7
from tests.accounts.conftest import PASSWORD

REGISTRATION = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}


def code_of(response: Any) -> tuple[int, str]:
    """Return status and code of a failure, whose shape is checked on the way."""
    error = response.json()["error"]
    assert {"code", "message", "fields", "requestId"} <= set(error)
    assert error["requestId"] == response["X-Request-ID"]
    return response.status_code, error["code"]


def field_codes(response: Any) -> dict[str, list[str]]:
    """Return the codes of each field at fault in a 400."""
    assert code_of(response) == (400, "invalid")
    fields = response.json()["error"]["fields"]
    return {name: [problem["code"] for problem in found] for name, found in fields.items()}


def png(size: tuple[int, int] = (64, 64)) -> SimpleUploadedFile:
    """Return an uploadable picture."""
    file = BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(file, "PNG")
    return SimpleUploadedFile("me.png", file.getvalue(), content_type="image/png")


# --- Registration, signing in, refreshing -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_register(api: APIClient) -> None:
    """The answer holds the user and working tokens; the session remembers the device."""
    response = api.post("/auth/register", REGISTRATION, HTTP_USER_AGENT="Firefox", REMOTE_ADDR="203.0.113.7")

    body = response.json()
    user = User.objects.get()
    assert response.status_code == 201
    assert set(body) == {"user", "accessToken", "refreshToken", "expiresIn"}
    assert body["expiresIn"] == 600
    assert body["user"] == {
        "id": str(user.pk),
        "username": "ada",
        "email": "ada@example.org",
        "profilePic": None,
        "status": "online",
        "lastSeen": None,
    }
    assert tokens.read_access_token(body["accessToken"]).user_id == user.pk
    assert Session.objects.get().user_agent == "Firefox"
    assert Session.objects.get().ip_address == "203.0.113.7"


def test_register_with_a_taken_name(ada: SignedIn, api: APIClient) -> None:
    """Each field says so."""
    response = api.post("/auth/register", {**REGISTRATION, "username": "Ada"})

    assert field_codes(response) == {"username": ["taken"], "email": ["taken"]}


@pytest.mark.django_db
def test_register_with_a_weak_password(api: APIClient) -> None:
    """The validators' codes arrive at the field."""
    response = api.post("/auth/register", {**REGISTRATION, "password": "password1"})

    assert field_codes(response) == {"password": ["password_too_common"]}


@pytest.mark.parametrize("name", [{"username": "ada"}, {"email": "ADA@example.org"}])
def test_login(ada: SignedIn, api: APIClient, name: dict[str, str]) -> None:
    """The same answer as registration, with 200; a stale token in the header does not matter."""
    api.credentials(HTTP_AUTHORIZATION="Bearer stale")

    response = api.post("/auth/login", {**name, "password": PASSWORD})

    assert response.status_code == 200
    assert set(response.json()) == {"user", "accessToken", "refreshToken", "expiresIn"}
    assert response.json()["user"]["email"] == "ada@example.org"


@pytest.mark.parametrize(
    "body", [{"username": "ada", "password": "wrong"}, {"username": "nobody", "password": PASSWORD}]
)
def test_login_refused(ada: SignedIn, api: APIClient, body: dict[str, str]) -> None:
    """One answer for a wrong name and a wrong password."""
    response = api.post("/auth/login", body)

    assert code_of(response) == (401, "invalid_credentials")
    assert response.json()["error"]["fields"] == {}


def test_refresh(ada: SignedIn, api: APIClient) -> None:
    """The pair is new and works."""
    response = api.post("/auth/refresh", {"refreshToken": ada.tokens.refresh_token})

    body = response.json()
    assert response.status_code == 200
    assert set(body) == {"accessToken", "refreshToken", "expiresIn"}
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {body['accessToken']}")
    assert api.get("/user/me").status_code == 200


def test_refresh_reused(published: list[Event], ada: SignedIn, api: APIClient, as_ada: APIClient) -> None:
    """The second use ends the session, its access tokens and its sockets."""
    newer = api.post("/auth/refresh", {"refreshToken": ada.tokens.refresh_token}).json()["refreshToken"]

    response = api.post("/auth/refresh", {"refreshToken": ada.tokens.refresh_token})

    assert code_of(response) == (401, "refresh_token_reused")
    assert [event.data() for event in published] == [{"reason": "refresh_reused"}]
    assert code_of(api.post("/auth/refresh", {"refreshToken": newer})) == (401, "session_ended")
    assert code_of(as_ada.get("/user/me")) == (401, "session_ended")


def test_refresh_in_progress(ada: SignedIn, api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loses the race is told to use the winner's answer."""
    monkeypatch.setattr(sessions, "_exchange", lambda **kwargs: False)

    response = api.post("/auth/refresh", {"refreshToken": ada.tokens.refresh_token})

    assert code_of(response) == (401, "refresh_in_progress")


@pytest.mark.parametrize("token", ["x", "A" * 86, "\u00e9" * 86])
@pytest.mark.django_db
def test_refresh_with_nonsense(api: APIClient, token: str) -> None:
    """A token that was never issued."""
    assert code_of(api.post("/auth/refresh", {"refreshToken": token})) == (401, "invalid_refresh_token")


def test_refresh_of_a_deleted_user(ada: SignedIn, api: APIClient) -> None:
    """A known failure, not an internal one."""
    User.objects.all().delete()

    response = api.post("/auth/refresh", {"refreshToken": ada.tokens.refresh_token})

    assert code_of(response) == (401, "invalid_refresh_token")


# --- Session, password ------------------------------------------------------------------------------------------------


def test_logout(published: list[Event], ada: SignedIn, as_ada: APIClient, api: APIClient) -> None:
    """Both tokens are void at once, and the sockets are told."""
    response = as_ada.post("/auth/logout")

    session_id = tokens.read_refresh_token(ada.tokens.refresh_token)
    assert (response.status_code, response.content) == (204, b"")
    assert published == [SessionEnded(recipients=(ada.user.pk,), session_id=session_id, reason="logout")]
    assert code_of(as_ada.post("/auth/logout")) == (401, "session_ended")
    assert code_of(api.post("/auth/refresh", {"refreshToken": ada.tokens.refresh_token})) == (401, "session_ended")


def test_password(published: list[Event], ada: SignedIn, as_ada: APIClient, api: APIClient) -> None:
    """Other sessions end; this one goes on with the new pair."""
    services.sign_in(username="ada", password=PASSWORD)

    response = as_ada.post("/auth/password", {"currentPassword": PASSWORD, "newPassword": "purple otters at dawn"})

    assert response.status_code == 200
    assert [event.data() for event in published] == [{"reason": "password_changed"}]
    assert as_ada.get("/user/me").status_code == 200
    assert api.post("/auth/refresh", {"refreshToken": response.json()["refreshToken"]}).status_code == 200
    assert code_of(api.post("/auth/login", {"username": "ada", "password": PASSWORD})) == (401, "invalid_credentials")


def test_password_with_a_wrong_current_one(as_ada: APIClient) -> None:
    """It is a field's error: a 401 would look as if the token were bad."""
    response = as_ada.post("/auth/password", {"currentPassword": "wrong", "newPassword": "purple otters at dawn"})

    assert field_codes(response) == {"currentPassword": ["incorrect"]}


def test_sessions(ada: SignedIn, as_ada: APIClient, sign_up: Callable[..., SignedIn]) -> None:
    """All of one's own, the current one marked."""
    sign_up("grace")
    services.sign_in(username="ada", password=PASSWORD, device=sessions.Device(user_agent="app", ip_address="::1"))

    body = as_ada.get("/auth/sessions").json()

    assert [set(session) for session in body["sessions"]] == [
        {"id", "createdAt", "lastUsedAt", "expiresAt", "userAgent", "ipAddress", "current"}
    ] * 2
    assert [(s["userAgent"], s["ipAddress"], s["current"]) for s in body["sessions"]] == [
        ("app", "::1", False),
        ("", "", True),
    ]


def test_ending_a_session(published: list[Event], ada: SignedIn, as_ada: APIClient) -> None:
    """It is gone, and its sockets are told why."""
    other = tokens.read_refresh_token(services.sign_in(username="ada", password=PASSWORD).tokens.refresh_token)

    response = as_ada.delete(f"/auth/sessions/{other}")

    assert (response.status_code, response.content) == (204, b"")
    assert published == [SessionEnded(recipients=(ada.user.pk,), session_id=other, reason="revoked")]
    assert code_of(as_ada.delete(f"/auth/sessions/{other}")) == (404, "session_not_found")


def test_ending_somebody_elses_session(
    published: list[Event], as_ada: APIClient, sign_up: Callable[..., SignedIn]
) -> None:
    """It is not there for others; neither is what is no id."""
    grace = tokens.read_refresh_token(sign_up("grace").tokens.refresh_token)

    for session_id in (grace, uuid7(), "nonsense", "x" * 500, "%00"):
        assert code_of(as_ada.delete(f"/auth/sessions/{session_id}")) == (404, "session_not_found")
    assert published == []


# --- Users ------------------------------------------------------------------------------------------------------------


def test_me(ada: SignedIn, as_ada: APIClient) -> None:
    """Oneself, with the address."""
    response = as_ada.get("/user/me")

    assert response.status_code == 200
    assert response.json() == {
        "id": str(ada.user.pk),
        "username": "ada",
        "email": "ada@example.org",
        "profilePic": None,
        "status": "online",
        "lastSeen": None,
    }


def test_changing_me(as_ada: APIClient) -> None:
    """The answer is the user as changed."""
    changes = {"username": "Countess", "email": "NEW@example.org", "profilePic": "https://example.org/a.png"}

    body = as_ada.patch("/user/me", changes).json()

    assert (body["username"], body["email"], body["profilePic"]) == (
        "Countess",
        "new@example.org",
        "https://example.org/a.png",
    )
    assert as_ada.patch("/user/me", {"profilePic": None}).json()["profilePic"] is None
    assert as_ada.patch("/user/me", {}).json()["username"] == "Countess"


def test_changing_me_to_somebody_else(as_ada: APIClient, sign_up: Callable[..., SignedIn]) -> None:
    """A taken name is the field's error."""
    sign_up("grace")

    assert field_codes(as_ada.patch("/user/me", {"username": "GRACE"})) == {"username": ["taken"]}


@pytest.mark.parametrize("field", ["id", "status", "isStaff", "is_staff", "password", "lastSeen"])
def test_changing_what_is_not_mine_to_change(as_ada: APIClient, field: str) -> None:
    """Other columns of the user cannot be reached."""
    assert field_codes(as_ada.patch("/user/me", {field: "x"})) == {field: ["unknown_field"]}


def test_uploading_a_picture(as_ada: APIClient, api: APIClient) -> None:
    """The address in the answer serves it to anybody who knows it, for ever."""
    response = as_ada.put("/user/me/picture", {"file": png()}, format="multipart")

    url = response.json()["profilePic"]
    picture = api.get(url, HTTP_ACCEPT="image/avif,image/webp")
    assert response.status_code == 200
    assert (picture.status_code, picture["Content-Type"]) == (200, "image/webp")
    assert picture["Cache-Control"] == "private, max-age=31536000, immutable"
    assert picture["X-Content-Type-Options"] == "nosniff"
    assert Image.open(BytesIO(picture.content)).size == (256, 256)


def test_bad_uploads(as_ada: APIClient) -> None:
    """No file, an empty one, no picture, text in its place, another field, another media type."""
    empty = SimpleUploadedFile("x.png", b"")
    text = SimpleUploadedFile("x.png", b"hello")
    cases: list[tuple[dict[str, Any], dict[str, list[str]]]] = [
        ({}, {"file": ["required"]}),
        ({"file": empty}, {"file": ["empty"]}),
        ({"file": text}, {"file": ["invalid_image"]}),
        ({"file": "text"}, {"file": ["invalid"]}),
        ({"file": png(), "x": "y"}, {"x": ["unknown_field"]}),
    ]
    for body, expected in cases:
        assert field_codes(as_ada.put("/user/me/picture", body, format="multipart")) == expected
    assert code_of(as_ada.put("/user/me/picture", {}, format="json")) == (415, "unsupported_media_type")
    broken = as_ada.put("/user/me/picture", data=b"x", content_type="multipart/form-data")
    assert code_of(broken) == (400, "malformed_json")


def test_pictures_that_are_not_there(ada: SignedIn, as_ada: APIClient, api: APIClient) -> None:
    """Without the version, with another, of nobody."""
    as_ada.put("/user/me/picture", {"file": png()}, format="multipart")

    for path in (f"/user/{ada.user.pk}/picture", f"/user/{ada.user.pk}/picture?v=x", f"/user/{uuid7()}/picture?v=x",
                 "/user/nonsense/picture?v=%ED%A0%80"):  # fmt: skip
        assert code_of(api.get(path)) == (404, "not_found")


def test_status(published: list[Event], ada: SignedIn, as_ada: APIClient) -> None:
    """The choice is in the answer and handed to realtime."""
    response = as_ada.put("/user/status", {"status": "away"})

    assert (response.status_code, response.json()["status"]) == (200, "away")
    assert published == [StatusChosen(recipients=(), user_id=ada.user.pk, status="away")]


@pytest.mark.parametrize("status", ["busy", "", "ONLINE", 1, True, None, ["away"], "\ud800", "x" * 100_000])
def test_bad_status(as_ada: APIClient, status: Any) -> None:
    """Only the three there are."""
    response = as_ada.put("/user/status", data=_json({"status": status}), content_type="application/json")

    assert set(field_codes(response)) == {"status"}


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def test_search(as_ada: APIClient, sign_up: Callable[..., SignedIn]) -> None:
    """People by the start of their name, without their addresses."""
    grace = sign_up("grace")
    User.objects.filter(pk=grace.user.pk).update(status="away", last_seen=timezone.now())

    body = as_ada.get("/user/search", {"q": "gr"}).json()

    assert [(user["username"], user["status"]) for user in body["users"]] == [("grace", "away")]
    assert "email" not in body["users"][0]


def test_search_limit(as_ada: APIClient, sign_up: Callable[..., SignedIn]) -> None:
    """As many as asked for."""
    for number in range(3):
        sign_up(f"user{number}")

    assert len(as_ada.get("/user/search", {"q": "user", "limit": "2"}).json()["users"]) == 2


@pytest.mark.parametrize("query", ["", "q=a", "q=al&limit=x", "q=%00%00", "limit=3", "q=" + "x" * 65])
def test_bad_search(as_ada: APIClient, query: str) -> None:
    """Field errors."""
    assert field_codes(as_ada.get(f"/user/search?{query}"))


def test_somebody(as_ada: APIClient, sign_up: Callable[..., SignedIn]) -> None:
    """Without address; a presence that was not renewed has lapsed."""
    grace = sign_up("grace")
    User.objects.filter(pk=grace.user.pk).update(status="online", last_seen=timezone.now() - timedelta(minutes=5))

    body = as_ada.get(f"/user/{grace.user.pk}").json()

    assert set(body) == {"id", "username", "profilePic", "status", "lastSeen"}
    assert body["status"] == "offline"


def test_oneself_by_id(ada: SignedIn, as_ada: APIClient) -> None:
    """The same as `/user/me`."""
    assert as_ada.get(f"/user/{ada.user.pk}").json() == as_ada.get("/user/me").json()


def test_nobody(as_ada: APIClient, sign_up: Callable[..., SignedIn]) -> None:
    """Unknown, inactive and malformed ids are the same."""
    idle = sign_up("idle").user.pk
    services.deactivate_user(user_id=idle)

    for user_id in (uuid7(), idle, "nonsense", "0" * 36, "x" * 500, "%00", "%ED%A0%80"):
        assert code_of(as_ada.get(f"/user/{user_id}")) == (404, "user_not_found")


# --- Doors ------------------------------------------------------------------------------------------------------------

PRIVATE = [
    ("post", "/auth/logout"),
    ("post", "/auth/password"),
    ("get", "/auth/sessions"),
    ("delete", "/auth/sessions/x"),
    ("get", "/user/me"),
    ("patch", "/user/me"),
    ("put", "/user/me/picture"),
    ("put", "/user/status"),
    ("get", "/user/search?q=al"),
    ("get", "/user/x"),
]


@pytest.mark.parametrize(("method", "path"), PRIVATE)
@pytest.mark.django_db
def test_private_endpoints_ask_for_a_token(api: APIClient, method: str, path: str) -> None:
    """Before they look at anything else."""
    response = getattr(api, method)(path)

    assert code_of(response) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "/auth/login"), ("delete", "/auth/register"), ("get", "/auth/refresh"), ("put", "/user/me"),
     ("post", "/user/status"), ("delete", "/auth/sessions"), ("get", "/auth/sessions/x"), ("post", "/user/x/picture")],
)  # fmt: skip
def test_other_methods(as_ada: APIClient, method: str, path: str) -> None:
    """Each path says which it has."""
    assert code_of(getattr(as_ada, method)(path)) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/user/me/", "/auth/login/", "/auth/sessions/", "/user/"])
def test_no_path_ends_in_a_slash(as_ada: APIClient, path: str) -> None:
    """Neither an answer nor a redirect."""
    assert code_of(as_ada.get(path))[0] == 404


# --- Rate limits ------------------------------------------------------------------------------------------------------


def assert_limited(response: Any) -> None:
    """Check a 429: code, seconds in the body and in the header."""
    assert code_of(response) == (429, "rate_limited")
    assert response["Retry-After"] == str(response.json()["error"]["retryAfter"])
    assert int(response["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("rule", "method", "path"),
    [
        ("REGISTER", "post", "/auth/register"),
        ("LOGIN", "post", "/auth/login"),
        ("REFRESH", "post", "/auth/refresh"),
    ],
)
@pytest.mark.django_db
def test_limits_by_address(api: APIClient, settings: Any, rule: str, method: str, path: str) -> None:
    """One address is stopped, another is not; bad calls count as well."""
    settings.PARLEY_RATES = {rule: "2/h"}

    for _ in range(2):
        assert code_of(getattr(api, method)(path, {}))[0] == 400

    assert_limited(getattr(api, method)(path, {}))
    assert code_of(getattr(api, method)(path, {}, REMOTE_ADDR="203.0.113.7"))[0] == 400


def test_the_limit_of_an_account(ada: SignedIn, api: APIClient, settings: Any) -> None:
    """Guesses at one account from many addresses, however its name is spelt."""
    settings.PARLEY_RATES = {"LOGIN_ACCOUNT": "2/h"}

    for number, name in enumerate(["ada", "ADA"]):
        body = {"username": name, "password": "wrong"}
        assert code_of(api.post("/auth/login", body, REMOTE_ADDR=f"203.0.113.{number}"))[0] == 401

    assert_limited(api.post("/auth/login", {"username": "Ａda", "password": PASSWORD}, REMOTE_ADDR="203.0.113.9"))
    assert code_of(api.post("/auth/login", {"username": "grace", "password": "wrong"}))[0] == 401


@pytest.mark.parametrize(
    ("rule", "method", "path"),
    [
        ("SEARCH", "get", "/user/search?q=al"),
        ("UPLOAD", "put", "/user/me/picture"),
        ("LOGIN_ACCOUNT", "post", "/auth/password"),
    ],
)
def test_limits_by_user(
    as_ada: APIClient,
    sign_up: Callable[..., SignedIn],
    client_of: Callable[[SignedIn], APIClient],
    settings: Any,
    rule: str,
    method: str,
    path: str,
) -> None:
    """One user is stopped, another is not."""
    settings.PARLEY_RATES = {rule: "1/h"}
    as_grace = client_of(sign_up("grace"))
    format_ = "multipart" if "picture" in path else "json"

    assert getattr(as_ada, method)(path, format=format_).status_code != 429
    assert_limited(getattr(as_ada, method)(path, format=format_))
    assert getattr(as_grace, method)(path, format=format_).status_code != 429
