"""Tests of the Authorization header."""

from __future__ import annotations

from datetime import timedelta

import pytest
import structlog
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient, APIRequestFactory

from accounts import services
from accounts.authentication import SessionTokenAuthentication
from accounts.services import SignedIn


def test_a_good_header(ada: SignedIn) -> None:
    """User and principal are set, and the log lines carry the user's id."""
    request = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"bearer {ada.tokens.access_token}")

    with structlog.contextvars.bound_contextvars():
        result = SessionTokenAuthentication().authenticate(request)  # type: ignore[arg-type]
        bound = structlog.contextvars.get_contextvars()

    assert result is not None
    assert (result[0], result[1].user_id) == (ada.user, ada.user.pk)
    assert bound["user_id"] == str(ada.user.pk)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "not_authenticated"),
        ("", "not_authenticated"),
        ("Basic YWRhOmFkYQ==", "not_authenticated"),
        ("Bearer", "invalid_token"),
        ("Bearer ", "invalid_token"),
        ("Bearer a b", "invalid_token"),
        ("Bearer nonsense", "invalid_token"),
        ("Bearer \xe9", "invalid_token"),
        ("Bearer " + "x" * 10_000, "invalid_token"),
    ],
)
@pytest.mark.django_db
def test_bad_headers(api: APIClient, header: str | None, code: str) -> None:
    """Each gets a 401 with its code and the challenge."""
    if header is not None:
        api.credentials(HTTP_AUTHORIZATION=header)

    response = api.get("/user/me")

    assert (response.status_code, response.json()["error"]["code"]) == (401, code)
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_an_expired_token(as_ada: APIClient) -> None:
    """Its own code tells the client to refresh."""
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        response = as_ada.get("/user/me")

    assert (response.status_code, response.json()["error"]["code"]) == (401, "token_expired")


def test_a_token_of_an_ended_session(ada: SignedIn, as_ada: APIClient) -> None:
    """Its own code tells the client to sign in."""
    services.deactivate_user(user_id=ada.user.pk)

    response = as_ada.get("/user/me")

    assert (response.status_code, response.json()["error"]["code"]) == (401, "session_ended")
