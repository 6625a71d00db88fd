"""Tests of the paths of chats and messages: what each answers to whom, and in which shape it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.urls import resolve
from rest_framework.test import APIClient

from accounts import sessions
from accounts.models import EndReason
from accounts.tokens import AccessToken
from chatproject.ids import uuid7
from messaging.models import Chat, Membership, Message
from tests.messaging.conftest import NOWHERE, JSONClient, Person, say

PATHS = {
    "/chat": {"get", "post"},
    "/chat/message": {"post"},
    f"/chat/{NOWHERE}": {"get", "patch", "delete"},
    f"/chat/{NOWHERE}/read": {"post"},
    f"/chat/{NOWHERE}/member": {"post"},
    f"/chat/{NOWHERE}/member/{NOWHERE}": {"patch", "delete"},
    f"/chat/{NOWHERE}/message/{NOWHERE}": {"patch", "delete"},
}
METHODS = ("get", "post", "put", "patch", "delete")
ENDPOINTS = [(method, path) for path, methods in PATHS.items() for method in sorted(methods)]


def error_of(response: Any) -> dict[str, Any]:
    """Return the error, after checking its one shape and that header and body name the same request."""
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) - {"retryAfter"} == {"code", "message", "fields", "requestId"}
    assert error["requestId"] == response.headers["X-Request-ID"]
    assert response.headers["Content-Type"] == "application/json"
    return dict(error)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_nobody_is_let_in_without_a_token(db: None, method: str, path: str) -> None:
    """401 with the challenge of RFC 6750."""
    response = getattr(JSONClient(), method)(path)

    assert response.status_code == 401
    assert error_of(response)["code"] == "not_authenticated"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for path in PATHS for method in METHODS if method not in PATHS[path]]
)
def test_other_methods_are_refused(ada: Person, method: str, path: str) -> None:
    """405 in the one shape, naming those that are there."""
    response = getattr(ada.api, method)(path)

    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"
    assert {name.lower() for name in response.headers["Allow"].split(", ")} >= PATHS[path]


@pytest.mark.parametrize("path", [f"{path}/" for path in PATHS] + ["/chats", f"/chat/{NOWHERE}/members", "/chat//read"])
def test_other_paths_lead_nowhere(ada: Person, path: str) -> None:
    """No path ends in a slash, and none is redirected."""
    response = ada.api.get(path)

    assert response.status_code == 404
    assert error_of(response)["code"] == "not_found"


def test_sending_is_not_taken_for_a_chat(ada: Person) -> None:
    """`/chat/message` goes before `/chat/{chatId}`."""
    assert resolve("/chat/message").func is not resolve(f"/chat/{NOWHERE}").func


# --- Tokens -----------------------------------------------------------------------------------------------------------


def with_token(token: str) -> APIClient:
    """Return a client with any token."""
    client = JSONClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def send(client: APIClient, chat: Chat) -> Any:
    """Try to send into a chat."""
    return client.post("/chat/message", {"chatId": str(chat.id), "content": "Tea?"})


def test_an_expired_token_is_told(ada: Person, direct: Chat) -> None:
    """Its own code, so that clients refresh; nothing is stored."""
    with time_machine.travel(timedelta(minutes=11)):
        response = send(ada.api, direct)

    assert response.status_code == 401
    assert error_of(response)["code"] == "token_expired"
    assert not Message.objects.exists()


@pytest.mark.parametrize("kind", ["other key", "cut", "empty", "nonsense", "no user", "no algorithm", "huge"])
def test_foreign_tokens_are_refused(ada: Person, direct: Chat, kind: str) -> None:
    """Whatever is wrong with it, it is 401 and nothing is stored."""
    foreign = AccessToken()
    foreign["sub"], foreign["sid"] = str(uuid7()), str(uuid7())
    header, claims, _ = ada.token.split(".")
    token = {
        "other key": f"{header}.{claims}.{'A' * 43}",
        "cut": ada.token[:-1],
        "empty": "",
        "nonsense": "a.b.c",
        "no user": str(foreign),
        "no algorithm": f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.",
        "huge": "a" * 100_000,
    }[kind]

    response = send(with_token(token), direct)

    assert response.status_code == 401
    assert error_of(response)["code"] in {"invalid_token", "session_ended"}
    assert not Message.objects.exists()


def test_the_token_of_an_ended_session_is_refused(ada: Person, direct: Chat) -> None:
    """At once, long before it expires."""
    sessions.end_sessions(user_id=ada.id, reason=EndReason.LOGOUT)

    response = send(ada.api, direct)

    assert response.status_code == 401
    assert error_of(response)["code"] == "session_ended"
    assert not Message.objects.exists()


# --- What is not mine is not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chat_id", [str(NOWHERE), "x", "0", "%00", "a" * 36, "None", "..", "019A", "☕", str(NOWHERE).upper()]
)
def test_missing_and_strange_chats_look_the_same(ada: Person, mallory: Person, direct: Chat, chat_id: str) -> None:
    """Every call gives word for word the same for a chat of others, one that is not there, and what is no id."""
    message = say(ada, direct)
    bodies = {
        "get": None,
        "patch": {"title": "Mine"},
        "delete": None,
        "read": {"seq": 1},
        "member": {"userIds": [str(mallory.id)]},
    }

    def answers(place: str) -> list[tuple[int, dict[str, Any]]]:
        responses = [
            mallory.api.get(f"/chat/{place}"),
            mallory.api.get(f"/chat/{place}?after=0"),
            mallory.api.patch(f"/chat/{place}", bodies["patch"]),
            mallory.api.delete(f"/chat/{place}"),
            mallory.api.post(f"/chat/{place}/read", bodies["read"]),
            mallory.api.post(f"/chat/{place}/member", bodies["member"]),
            mallory.api.patch(f"/chat/{place}/member/{ada.id}", {"role": "member"}),
            mallory.api.delete(f"/chat/{place}/member/{ada.id}"),
            mallory.api.delete(f"/chat/{place}/member/{mallory.id}"),
            mallory.api.patch(f"/chat/{place}/message/{message.id}", {"content": "x"}),
            mallory.api.delete(f"/chat/{place}/message/{message.id}"),
        ]
        return [(one.status_code, {**error_of(one), "requestId": None}) for one in responses]

    mine = answers(str(direct.id))

    assert {(status, error["code"]) for status, error in mine} == {(404, "chat_not_found")}
    if chat_id == "..":
        return  # clients resolve it before they send
    assert answers(chat_id) == mine
    assert Membership.objects.count() == 2
    assert Message.objects.get().content == message.content
