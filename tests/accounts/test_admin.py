"""Tests of the administration's pages of people and sessions."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from accounts import services
from accounts.events import SessionEnded
from accounts.models import EndReason, Session, User
from accounts.services import SignedIn
from chatproject.events import Event
from chatproject.limits import Rule
from tests.accounts.conftest import PASSWORD
from tests.live.server import Daphne

USERS = "/admin/accounts/user/"
SESSIONS = "/admin/accounts/session/"
MAKE_ROOT = f"""
from accounts.models import User
User.objects.create_superuser("root", "root@example.org", "{PASSWORD}")
"""
PERMISSIONS = {"view_user", "add_user", "change_user", "view_session", "change_session"}


def signed_in(name: str, password: str = PASSWORD) -> Client:
    """Return a client that has signed in to the administration."""
    client = Client()
    answer = client.post("/admin/login/?next=/admin/", {"username": name, "password": password})
    assert (answer.status_code, answer.headers.get("Location")) == (302, "/admin/"), answer.content
    return client


def page(client: Client, path: str) -> str:
    """Return a page's text."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def act(client: Client, path: str, action: str, *rows: Any) -> None:
    """Choose an action for some rows of a list."""
    answer = client.post(path, {"action": action, "_selected_action": [str(row.pk) for row in rows]})
    assert answer.status_code == 302, answer.content


def listed(client: Client, path: str) -> list[str]:
    """Return the text of the linked column of a list."""
    return re.findall(r'<th class="field-\w+"><a href="[^"]+">([^<]+)</a>', page(client, path))


@pytest.fixture
def root(request: pytest.FixtureRequest) -> User:
    """A superuser."""
    request.getfixturevalue("transactional_db" if "published" in request.fixturenames else "db")
    return User.objects.create_superuser("Root", "root@example.org", PASSWORD)


@pytest.fixture
def as_root(root: User) -> Client:
    """The superuser's client."""
    return signed_in("root")


@pytest.fixture
def clerk(root: User) -> User:
    """An administrator of people who is no superuser."""
    user = User.objects.create_user("clerk", "clerk@example.org", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=PERMISSIONS))
    return user


@pytest.mark.parametrize("name", ["Root", "root", "ROOT"])
def test_an_administrator_signs_in_by_name_in_any_case(root: User, name: str) -> None:
    """The administration takes the same names as the API."""
    assert "Parley administration" in page(signed_in(name), "/admin/")


def test_only_staff_gets_in(ada: SignedIn) -> None:
    """A right password of somebody else opens nothing."""
    answer = Client().post("/admin/login/", {"username": "ada", "password": PASSWORD})

    assert answer.status_code == 200
    assert b"staff account" in answer.content


def test_guessing_is_limited(root: User, settings: Any) -> None:
    """Tries at the administration's door count as those at the API's: then even the right password is refused."""
    settings.PARLEY_RATES = {Rule.LOGIN_ACCOUNT.name: "3/h"}
    client = Client()
    for _ in range(3):
        client.post("/admin/login/", {"username": "ROOT", "password": "wrong"})

    answer = client.post("/admin/login/", {"username": "root", "password": PASSWORD})

    assert answer.status_code == 200
    assert b"Too many requests" in answer.content


def test_a_user_is_created_as_the_api_would(as_root: Client, published: list[Event]) -> None:
    """Name and address are normalised, the password is hashed in its prepared form, and nobody is signed in."""
    answer = as_root.post(
        f"{USERS}add/",
        {"username": "Ａda", "email": " Ada@Example.ORG ", "usable_password": "true"}
        | dict.fromkeys(("password1", "password2"), "cafe\u0301 au\u00a0lait"),
    )

    user = User.objects.get(username_key="ada")
    assert answer.headers["Location"] == f"{USERS}{user.pk}/change/"
    assert (user.username, user.email) == ("Ada", "ada@example.org")
    assert services.sign_in(username="ADA", password="café au lait").user == user
    assert published == []


def test_a_user_without_a_password_cannot_sign_in(as_root: Client) -> None:
    """The administration can make an account whose password comes later."""
    as_root.post(f"{USERS}add/", {"username": "ada", "email": "ada@example.org", "usable_password": "false"})

    assert not User.objects.get(username="ada").has_usable_password()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"username": "ROOT"}, "This username is taken."),
        ({"username": "-x"}, "Use 3 to 32 letters"),
        ({"email": "ROOT@example.org"}, "This e-mail address is taken."),
        (dict.fromkeys(("password1", "password2"), "password"), "too common"),
        (dict.fromkeys(("password1", "password2"), "adalovelace"), "too similar"),
    ],
)
def test_a_wrong_user_is_refused(as_root: Client, changed: dict[str, str], problem: str) -> None:
    """The rules are the API's, and the form says which one was broken."""
    form = {"username": "adalovelace", "email": "ada@example.org", "usable_password": "true"}

    answer = as_root.post(f"{USERS}add/", form | dict.fromkeys(("password1", "password2"), PASSWORD) | changed)

    assert problem in answer.content.decode()
    assert User.objects.count() == 1


def test_changing_a_user_writes_what_was_changed_alone(as_root: Client, ada: SignedIn) -> None:
    """What moved on while the page was open stays: the form does not bring a deactivated user back."""
    stale = {"username": "Ada.L", "email": "ada@example.org", "is_staff": "on"}
    shown = page(as_root, f"{USERS}{ada.user.pk}/change/")
    services.deactivate_user(user_id=ada.user.pk)

    answer = as_root.post(f"{USERS}{ada.user.pk}/change/", stale)

    user = User.objects.get(pk=ada.user.pk)
    assert 'name="is_active"' not in shown
    assert answer.status_code == 302
    assert (user.username, user.username_key, user.is_staff, user.is_active) == ("Ada.L", "ada.l", True, False)


def test_a_new_password_ends_the_sessions(as_root: Client, ada: SignedIn, published: list[Event]) -> None:
    """It goes through the service, so sockets close and the old password is void."""
    form = dict.fromkeys(("password1", "password2"), "a different phrase") | {"set-password": "1"}

    as_root.post(f"{USERS}{ada.user.pk}/password/", form | {"usable_password": "true"})

    session = Session.objects.get(user=ada.user)
    assert session.end_reason == EndReason.PASSWORD_CHANGED
    assert published == [
        SessionEnded(recipients=(ada.user.pk,), session_id=session.pk, reason=EndReason.PASSWORD_CHANGED)
    ]
    assert services.sign_in(username="ada", password="a different phrase").user == ada.user


def test_a_password_can_be_withdrawn(as_root: Client, ada: SignedIn, published: list[Event]) -> None:
    """Without one nobody can sign in, and who is signed in is signed out."""
    as_root.post(f"{USERS}{ada.user.pk}/password/", {"usable_password": "false", "unset-password": "1"})

    assert not User.objects.get(pk=ada.user.pk).has_usable_password()
    assert [type(event) for event in published] == [SessionEnded]


def test_deactivating_ends_sessions_and_is_noted(as_root: Client, ada: SignedIn, published: list[Event]) -> None:
    """The action goes through the service, which announces the end of each session."""
    act(as_root, USERS, "deactivate", ada.user)

    session = Session.objects.get(user=ada.user)
    assert not User.objects.get(pk=ada.user.pk).is_active
    assert published == [SessionEnded(recipients=(ada.user.pk,), session_id=session.pk, reason="deactivated")]
    assert LogEntry.objects.get(object_id=str(ada.user.pk)).change_message == "Deactivated."


def test_reactivating_lets_somebody_sign_in_again(as_root: Client, ada: SignedIn, published: list[Event]) -> None:
    """The old sessions stay ended; nobody is told."""
    act(as_root, USERS, "deactivate", ada.user)
    published.clear()

    act(as_root, USERS, "reactivate", ada.user)

    assert services.sign_in(username="ada", password=PASSWORD).user == ada.user
    assert Session.objects.filter(user=ada.user, ended_at=None).count() == 1
    assert published == []


def test_revoking_sessions(as_root: Client, sign_up: Callable[..., SignedIn], published: list[Event]) -> None:
    """All of a user's sessions end, or single ones; nobody else's do."""
    ada, grace = sign_up("ada"), sign_up("grace")
    services.sign_in(username="grace", password=PASSWORD)
    first, second = Session.objects.filter(user=grace.user).order_by("pk")

    act(as_root, SESSIONS, "revoke", second)
    act(as_root, USERS, "revoke_sessions", grace.user)

    assert published == [
        SessionEnded(recipients=(grace.user.pk,), session_id=one.pk, reason="revoked") for one in (second, first)
    ]
    assert Session.objects.get(user=ada.user).ended_at is None


def test_nobody_deactivates_themselves(as_root: Client, root: User) -> None:
    """The last administrator cannot lock the door behind themselves."""
    act(as_root, USERS, "deactivate", root)

    assert User.objects.get(pk=root.pk).is_active


def test_only_superusers_give_rights(clerk: User, ada: SignedIn) -> None:
    """Whoever may change users cannot make superusers of them, nor of themselves."""
    form = {"username": "ada", "email": "ada@example.org", "is_staff": "on", "is_superuser": "on"}

    answer = signed_in("clerk").post(f"{USERS}{ada.user.pk}/change/", form)

    user = User.objects.get(pk=ada.user.pk)
    assert answer.status_code == 302
    assert (user.is_staff, user.is_superuser) == (False, False)


def test_only_superusers_change_superusers(clerk: User, root: User, published: list[Event]) -> None:
    """A clerk can neither set a superuser's password nor rename, deactivate or sign them out."""
    client = signed_in("clerk")
    services.sign_in(username="root", password=PASSWORD)

    refused = [
        client.post(f"{USERS}{root.pk}/password/", dict.fromkeys(("password1", "password2"), "a different phrase")),
        client.post(f"{USERS}{root.pk}/change/", {"username": "fool", "email": "root@example.org"}),
    ]
    act(client, USERS, "deactivate", root)
    act(client, USERS, "revoke_sessions", root)

    assert [answer.status_code for answer in refused] == [403, 403]
    assert User.objects.get(pk=root.pk).is_active
    assert User.objects.get(pk=root.pk).check_password(PASSWORD)
    assert published == []


@pytest.mark.parametrize("path", [USERS, SESSIONS])
def test_nothing_is_deleted_here(as_root: Client, ada: SignedIn, path: str) -> None:
    """Deleting would go round the services, so not even superusers can."""
    row = ada.user if path == USERS else Session.objects.get(user=ada.user)

    answer = as_root.post(f"{path}{row.pk}/delete/", {"post": "yes"})

    assert answer.status_code == 403
    assert "delete_selected" not in page(as_root, path)
    assert type(row).objects.filter(pk=row.pk).exists()


def test_sessions_are_read_only_and_show_no_secret(as_root: Client, ada: SignedIn) -> None:
    """There is no form, and no trace of the refresh token."""
    session = Session.objects.get(user=ada.user)

    shown = page(as_root, f"{SESSIONS}{session.pk}/change/")
    refused = as_root.post(f"{SESSIONS}{session.pk}/change/", {"expires_at_0": "2040-01-01"})

    assert 'name="_save"' not in shown
    assert "refresh" not in shown.lower().replace("refreshed", "")
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("term", "found"),
    [("al", ["alan", "Alonzo"]), ("AL", ["alan", "Alonzo"]), ("Alan@example.org", ["alan"]), ("lan", []), ("@", [])],
)
def test_people_are_found(as_root: Client, sign_up: Callable[..., SignedIn], term: str, found: list[str]) -> None:
    """By the beginning of a name in any case, or by a whole address."""
    for name in ("alan", "Alonzo", "grace"):
        sign_up(name)

    assert listed(as_root, f"{USERS}?q={term}") == found


def test_a_name_is_looked_up_in_its_index(as_root: Client, ada: SignedIn) -> None:
    """Neither the list nor its search reads the whole table."""
    for path in (USERS, f"{USERS}?q=ad", f"{USERS}?q=ada@example.org", f"{USERS}?q={ada.user.pk}"):
        with CaptureQueriesContext(connection) as queries:
            page(as_root, path)

        looked = [query["sql"] for query in queries.captured_queries if 'FROM "users"' in query["sql"]]
        assert looked, path
        for sql in looked:
            plan = [row[3] for row in connection.cursor().execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
            assert not [step for step in plan if step == "SCAN users"], (path, plan)
            assert not [step for step in plan if "TEMP B-TREE" in step], (path, plan)


def test_any_other_look_up_is_refused(as_root: Client) -> None:
    """The query string cannot ask for columns, such as hashes, one character at a time."""
    for query in ("password__startswith=b", "last_seen__gte=2020-01-01", "sessions__ip_address=127.0.0.1"):
        assert as_root.get(f"{USERS}?{query}").status_code == 400


def test_the_filters_work(as_root: Client, ada: SignedIn) -> None:
    """By what one asks most often: who is new, who is staff, who is shut out."""
    services.deactivate_user(user_id=ada.user.pk)

    assert listed(as_root, f"{USERS}?is_active__exact=0") == ["ada"]
    assert listed(as_root, f"{USERS}?is_staff__exact=1") == ["Root"]
    assert listed(as_root, f"{USERS}?made=hour") == ["ada", "Root"]


async def collect(socket: ClientConnection, frames: list[Any]) -> None:
    """Take frames until the socket is closed."""
    while True:
        frames.append(json.loads(await socket.recv()))


@pytest.mark.live
async def test_deactivating_closes_the_open_socket(daphne: Callable[..., Daphne]) -> None:
    """In a real server: `session:end`, close 4401 within 5 s, and the access token is void."""
    server = await asyncio.to_thread(daphne)
    await asyncio.to_thread(server.manage, "shell", "-c", MAKE_ROOT)
    async with httpx.AsyncClient(base_url=server.url) as client:
        ada = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
        signed = (await client.post("/auth/register", json=ada)).json()
        bearer = {"Authorization": f"Bearer {signed['accessToken']}"}
        assert (await client.get("/user/me", headers=bearer)).status_code == 200
        await client.get("/admin/login/")
        form = {"username": "root", "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        assert (await client.post("/admin/login/?next=/admin/", data=form)).status_code == 302

        async with connect(server.ws_url, additional_headers=bearer) as socket:
            assert json.loads(await socket.recv())["event"] == "hello"
            started = time.monotonic()
            form = {
                "action": "deactivate",
                "_selected_action": signed["user"]["id"],
                "csrfmiddlewaretoken": client.cookies["csrftoken"],
            }
            assert (await client.post(USERS, data=form)).status_code == 302
            frames: list[Any] = []
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(collect(socket, frames), 5)

        assert frames[-1] == {"event": "session:end", "data": {"reason": "deactivated"}}
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        assert time.monotonic() - started < 5
        refused = await client.get("/user/me", headers=bearer)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "session_ended")
