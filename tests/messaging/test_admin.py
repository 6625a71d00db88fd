"""Tests of the administration's pages of chats, and of reading content."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models.signals import post_save
from django.test import Client
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from accounts.models import User
from chatproject.ids import uuid7
from messaging import services
from messaging.admin import MessageAdmin
from messaging.models import Attachment, Chat, ContentAccess, Membership, Message
from messaging.selectors import MessageNotFound
from messaging.services.audit import ContentUnreadable, ReadingNotAllowed, read_content
from tests.chatproject.races import meanwhile
from tests.messaging.conftest import PASSWORD, Announced, Person, say

SECRET = "meet at the old mill"
TITLE = "Conspiracy"
KINDS = ["chat", "membership", "message", "attachment", "contentaccess"]


def page(client: Client, path: str) -> str:
    """Return a page's text."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def listed(client: Client, path: str) -> list[str]:
    """Return the ids in a list."""
    return re.findall(r'<th class="field-id"><a href="[^"]+">([^<]+)</a>', page(client, path))


def ids(*rows: Any) -> list[str]:
    """Return the rows' ids as text."""
    return [str(row.pk) for row in rows]


@pytest.fixture
def administrator(request: pytest.FixtureRequest) -> User:
    """Somebody who sees every page, and may not read content."""
    request.getfixturevalue("transactional_db" if "published" in request.fixturenames else "db")
    user = User.objects.create_user("warden", "warden@example.org", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="messaging", codename__contains="view"))
    return user


@pytest.fixture
def reader(administrator: User) -> User:
    """The same, with the permission to read content."""
    administrator.user_permissions.add(Permission.objects.get(codename="read_content"))
    return administrator


@pytest.fixture
def admin(administrator: User) -> Iterator[Client]:
    """The administrator's client, which has to bring the CSRF token as a browser does."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator)
    return client


@pytest.fixture
def message(ada: Person, grace: Person) -> Message:
    """A message in a group with a title and a file with a name."""
    chat, _ = services.create_chat(creator_id=ada.id, participant_ids=[grace.id], title=TITLE)
    file = Attachment(chat=chat, uploader=ada.user, name="plan.pdf", media_type="application/pdf", size=5)
    file.save()
    return say(ada, chat, SECRET, attachment_id=file.pk, type="file")


def press(client: Client, message: Message) -> Any:
    """Press the button of a message's page."""
    client.get("/admin/messaging/message/")
    token = client.cookies["csrftoken"].value if "csrftoken" in client.cookies else ""
    return client.post(f"/admin/messaging/message/{message.pk}/content/", {"csrfmiddlewaretoken": token})


# --- Lists and pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_shows_what_is_said(admin: Client, reader: User, message: Message, kind: str) -> None:
    """Neither a list nor a page holds content, a title or the name of a file, nor their ciphertext's query."""
    ContentAccess.objects.create(administrator=reader, message_id=message.pk, chat_id=message.chat_id)
    path = f"/admin/messaging/{kind}/"
    model = {"chat": Chat, "membership": Membership, "message": Message, "attachment": Attachment}.get(
        kind, ContentAccess
    )

    row = model.objects.latest("pk")

    with CaptureQueriesContext(connection) as queries:
        text = page(admin, path) + page(admin, f"{path}{row.pk}/change/")

    for secret in (SECRET, TITLE, "plan.pdf"):
        assert secret not in text
    for column in ('"messages"."content"', '"chats"."title"', '"attachments"."name"'):
        assert not [query["sql"] for query in queries.captured_queries if column in query["sql"]]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_by_hand(admin: Client, administrator: User, message: Message, kind: str) -> None:
    """Rows are neither added, changed nor deleted, not even by a superuser."""
    User.objects.filter(pk=administrator.pk).update(is_superuser=True)
    ContentAccess.objects.create(administrator=administrator, message_id=message.pk, chat_id=message.chat_id)
    model = {"chat": Chat, "membership": Membership, "message": Message, "attachment": Attachment}.get(
        kind, ContentAccess
    )
    row, count = model.objects.latest("pk"), model.objects.count()
    path = f"/admin/messaging/{kind}/"
    assert 'name="_save"' not in page(admin, f"{path}{row.pk}/change/")
    form = {"csrfmiddlewaretoken": admin.get(path).cookies.get("csrftoken", admin.cookies.get("csrftoken")).value}

    answers = [
        admin.post(f"{path}add/", form),
        admin.post(f"{path}{row.pk}/change/", form | {"counter": "9", "seq": "9"}),
        admin.post(f"{path}{row.pk}/delete/", form | {"post": "yes"}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert model.objects.count() == count


def test_keys_have_no_page(admin: Client, message: Message) -> None:
    """Nobody looks at or replaces a chat's key."""
    assert admin.get("/admin/messaging/chatkey/").status_code == 404


def test_rows_are_found_by_what_they_belong_to(
    admin: Client, message: Message, ada: Person, grace: Person, mallory: Person
) -> None:
    """By their id, their chat's, or a person's name in any case, address or id."""
    path = "/admin/messaging/message/"
    answer = say(grace, message.chat, "yes")
    created = Message.objects.get(chat=message.chat, seq=1)

    assert listed(admin, f"{path}?q={message.pk}") == ids(message)
    assert listed(admin, f"{path}?q={message.chat_id}") == ids(answer, message, created)
    assert listed(admin, f"{path}?q=GRACE") == listed(admin, f"{path}?q={grace.id}") == ids(answer)
    assert listed(admin, f"{path}?q=ada@example.org") == ids(message, created)
    assert listed(admin, f"{path}?q=mallory") == listed(admin, f"{path}?q=nobody") == []
    assert listed(admin, f"{path}?q={uuid7()}") == []
    assert listed(admin, "/admin/messaging/chat/?q=grace") == ids(message.chat)
    assert len(listed(admin, f"/admin/messaging/membership/?q={message.chat_id}")) == 2
    assert len(listed(admin, "/admin/messaging/attachment/?q=ada")) == 1


def test_messages_are_filtered_by_when_they_were_made(admin: Client, message: Message) -> None:
    """The primary key tells the time, so no other index is needed."""
    path = "/admin/messaging/message/"
    long_ago = UUID("00000000-0000-7000-8000-000000000001")
    Message.objects.create(id=long_ago, chat=message.chat, sender=message.sender, content="old", seq=900, rev=900)

    assert len(listed(admin, path)) == 3
    assert len(listed(admin, f"{path}?made=hour")) == 2


def test_no_list_reads_the_whole_table(admin: Client, message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list and each search find their rows through an index, also as the plan of SQLite says."""
    monkeypatch.setattr(MessageAdmin, "list_per_page", 1)  # a page of many, as in a large table
    path = "/admin/messaging/message/"
    queries = ["", f"?q={message.pk}", f"?q={message.chat_id}", "?q=ada", "?made=day", f"?q={message.chat_id}&made=day"]
    for query in queries:
        with CaptureQueriesContext(connection) as captured:
            page(admin, f"{path}{query}")

        looked = [one["sql"] for one in captured.captured_queries if 'FROM "messages"' in one["sql"]]
        assert looked, query
        for sql in looked:
            steps = [row[3] for row in connection.cursor().execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
            reading = [step for step in steps if re.match(r"(SCAN|SEARCH) messages", step)]
            assert reading, steps
            # Without a condition the index is read in its order, and only as far as the limit.
            in_order = not query and "LIMIT" in sql
            assert all("SEARCH" in step or (in_order and "INDEX" in step) for step in reading), steps


def test_large_tables_are_not_counted(admin: Client, message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count stops at its cap, which the page says."""
    monkeypatch.setattr("chatproject.admin_pages.COUNTED", 1)

    assert "a search leads to the others" in page(admin, "/admin/messaging/message/")


# --- Reading content --------------------------------------------------------------------------------------------------


def test_reading_is_recorded_first(admin: Client, reader: User, message: Message, published: Announced) -> None:
    """The button shows the content, leaves a record and a line in the log without it, and tells nobody."""
    published.clear()
    with capture_logs() as lines:
        answer = press(admin, message)

    assert (answer.status_code, SECRET in answer.content.decode()) == (200, True)
    assert "no-store" in answer.headers["Cache-Control"]
    record = ContentAccess.objects.get()
    assert (record.administrator, record.message_id, record.chat_id) == (reader, message.pk, message.chat_id)
    [line] = [line for line in lines if line["event"] == "content.read"]
    assert (line["administrator_id"], line["message_id"]) == (str(reader.pk), str(message.pk))
    assert SECRET not in repr(lines)
    assert published.events == []


def test_the_button_is_for_those_who_may(admin: Client, administrator: User, message: Message) -> None:
    """Who lacks the permission sees no button, and pressing it all the same gives 403 and no record."""
    path = f"/admin/messaging/message/{message.pk}/change/"
    assert "Read content" not in page(admin, path)

    answer = press(admin, message)

    assert answer.status_code == 403
    assert not ContentAccess.objects.exists()
    administrator.user_permissions.add(Permission.objects.get(codename="read_content"))
    assert "Read content" in page(admin, path)


def test_reading_takes_a_form(admin: Client, reader: User, message: Message) -> None:
    """A link cannot do it, nor a form of another site."""
    path = f"/admin/messaging/message/{message.pk}/content/"

    answers = [admin.get(path), admin.post(path), Client().post(path)]

    assert [answer.status_code for answer in answers] == [405, 403, 302]
    assert not ContentAccess.objects.exists()


def test_content_is_shown_as_text(admin: Client, reader: User, message: Message, ada: Person) -> None:
    """Markup in a message stays text."""
    answer = press(admin, say(ada, message.chat, "<script>alert(1)</script>"))

    assert "&lt;script&gt;alert(1)" in answer.content.decode()


def test_altered_content_is_recorded_and_not_shown(admin: Client, reader: User, message: Message) -> None:
    """The page says that it cannot be decrypted; the attempt is recorded all the same."""
    other = Message.objects.exclude(pk=message.pk).first()
    assert other is not None
    Message.objects.filter(pk=message.pk).update(content=other.__dict__["content"])

    answer = press(admin, message)

    assert "cannot be decrypted" in answer.content.decode()
    assert ContentAccess.objects.filter(message_id=message.pk).exists()


def test_the_service_checks_for_itself(reader: User, message: Message, ada: Person) -> None:
    """Whoever calls it: without the permission nothing is read, and what is not there cannot be."""
    with pytest.raises(ReadingNotAllowed):
        read_content(administrator_id=ada.id, message_id=message.pk)
    with pytest.raises(ReadingNotAllowed):
        read_content(administrator_id=uuid7(), message_id=message.pk)
    with pytest.raises(MessageNotFound):
        read_content(administrator_id=reader.pk, message_id=uuid7())
    assert not ContentAccess.objects.exists()

    assert read_content(administrator_id=reader.pk, message_id=message.pk) == SECRET
    Message.objects.filter(pk=message.pk).update(sender_id=reader.pk)
    with pytest.raises(ContentUnreadable):
        read_content(administrator_id=reader.pk, message_id=message.pk)
    assert ContentAccess.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_content_that_is_read_while_its_chat_ends(reader: User, ada: Person, group: Chat) -> None:
    """The record outlives the chat, and still says what was read."""
    secret = say(ada, group, SECRET)

    def erase() -> None:
        services.delete_chat(chat_id=group.id, user_id=ada.id)

    with meanwhile(erase, at=post_save, of=ContentAccess) as end:
        with contextlib.suppress(ContentUnreadable):  # the key may be gone by the time it is needed
            read_content(administrator_id=reader.pk, message_id=secret.pk)
        end.result()

    assert not Chat.objects.filter(id=group.id).exists()
    assert ContentAccess.objects.values_list("message_id", "chat_id").get() == (secret.pk, group.id)


def test_the_records_are_shown(admin: Client, reader: User, message: Message) -> None:
    """Everybody who may see the list sees who read what."""
    press(admin, message)

    assert listed(admin, "/admin/messaging/contentaccess/") == ids(ContentAccess.objects.get())
    assert len(listed(admin, "/admin/messaging/contentaccess/?q=warden")) == 1
    assert len(listed(admin, f"/admin/messaging/contentaccess/?q={message.pk}")) == 1
    assert listed(admin, "/admin/messaging/contentaccess/?q=ada") == []
