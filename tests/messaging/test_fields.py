"""Tests of the encrypted field: ciphertext in the column, text at the attribute, and nothing decrypted in vain."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import FieldError, ValidationError
from django.core.management import call_command
from django.db import connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from messaging import fields, keys
from messaging.fields import EncryptedField, Sealed, Unreadable
from messaging.models import Attachment, Chat, ChatKey, Message
from tests.messaging.seeds import NEW_KEY, chat_of, message_in, person, raw

pytestmark = pytest.mark.django_db

SECRET = "Tee um vier? ☕"
TEXTS = [
    "",
    " ",
    "e\u0301 is not é",
    "\u202eright to left",
    "👩‍👩‍👧‍👦 family",
    "नमस्ते",
    "line\r\nbreak\ttab",
    "x" * 16384,
    "\U0010ffff\ufeff",
]


@pytest.fixture
def ada() -> User:
    """Somebody who writes."""
    return person("ada")


@pytest.fixture
def chat(ada: User) -> Chat:
    """A chat with a title."""
    return chat_of(ada, title="Tea round")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every ciphertext that was decrypted."""
    calls: list[bytes] = []

    def counting(cipher: Any, sealed: bytes, associated_data: bytes) -> bytes:
        calls.append(bytes(sealed))
        return real(cipher, sealed, associated_data)

    real = fields.unseal
    monkeypatch.setattr(fields, "unseal", counting)
    return calls


def stored_content(message: Message) -> bytes:
    """Return the content's column as the database has it."""
    value = raw("messages", "content", message.id)
    assert value is not None
    return value


def test_the_column_holds_ciphertext(chat: Chat, ada: User) -> None:
    """Read past the field, content, title and file name are sealed values without a trace of the text."""
    message = message_in(chat, ada, SECRET)
    attachment = Attachment.objects.create(chat=chat, uploader=ada, name="tea.jpg", media_type="image/jpeg", size=1)

    found = {
        SECRET.encode(): stored_content(message),
        b"Tea round": raw("chats", "title", chat.id),
        b"tea.jpg": raw("attachments", "name", attachment.id),
    }

    for text, value in found.items():
        assert value is not None
        assert value[0] == 1
        assert len(value) == len(text) + 29
        assert text not in value
        assert text[:4] not in value


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_byte_for_byte(chat: Chat, ada: User, text: str) -> None:
    """Nothing is trimmed or normalised."""
    message = message_in(chat, ada, text)

    assert Message.objects.get(id=message.id).content == text


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_any_text_comes_back(chat: Chat, ada: User, text: str) -> None:
    """Whatever the characters."""
    message = Message(chat=chat, sender=ada, content=text, seq=1, rev=1)
    field = Message._meta.get_field("content")

    message.content = field.pre_save(message, add=True)

    assert isinstance(message.__dict__["content"], Sealed)
    assert message.content == text


def test_an_empty_text_is_not_null(ada: User) -> None:
    """An empty title is a sealed empty text; no title is NULL."""
    empty, none = chat_of(ada, title=""), chat_of(ada)

    assert Chat.objects.get(id=empty.id).title == ""
    assert Chat.objects.get(id=none.id).title is None
    assert len(raw("chats", "title", empty.id) or b"") == 29
    assert raw("chats", "title", none.id) is None
    assert list(Chat.objects.filter(title__isnull=True).values_list("id", flat=True)) == [none.id]


def test_a_message_without_content_has_empty_content(chat: Chat, ada: User) -> None:
    """The default is empty text, not empty bytes."""
    assert Message().content == ""
    message = Message.objects.create(chat=chat, sender=ada, seq=1, rev=1)
    assert Message.objects.get(id=message.id).content == ""


def test_a_query_decrypts_nothing(chat: Chat, ada: User, opened: list[bytes]) -> None:
    """Listing messages opens none; reading one opens that one, once."""
    for number in range(10):
        message_in(chat, ada, f"text {number}")

    found = list(Message.objects.select_related("chat").order_by("seq"))
    assert [(one.seq, one.sender_id, one.chat.kind) for one in found]
    assert opened == []

    assert found[3].content == found[3].content == "text 3"
    assert len(opened) == 1


def test_values_give_ciphertext(chat: Chat, ada: User, opened: list[bytes]) -> None:
    """`values` and `values_list` have no row to decrypt for."""
    message_in(chat, ada, SECRET)

    (value,) = Message.objects.values_list("content", flat=True)

    assert isinstance(value, Sealed)
    assert opened == []


def test_saving_seals_anew_and_binds_to_the_row(chat: Chat, ada: User) -> None:
    """The same text twice, in two rows or saved again, gives different ciphertexts."""
    one, other = message_in(chat, ada, "yes"), message_in(chat, ada, "yes")
    before = stored_content(one)
    one.save()

    assert len({before, stored_content(one), stored_content(other)}) == 3


@pytest.mark.parametrize("many", [False, True], ids=["save", "bulk_create"])
def test_a_ciphertext_moved_to_another_row_is_unreadable(chat: Chat, ada: User, many: bool) -> None:
    """The row that was tampered with raises; the others of the page stay readable."""
    messages = [Message(chat=chat, sender=ada, content=f"text {n}", seq=n, rev=n) for n in range(3)]
    if many:
        Message.objects.bulk_create(messages)
    else:
        for message in messages:
            message.save()
    Message.objects.filter(id=messages[1].id).update(content=Sealed(stored_content(messages[0])))

    first, second, third = Message.objects.order_by("seq")

    assert (first.content, third.content) == ("text 0", "text 2")
    with pytest.raises(Unreadable, match=str(second.id)):
        _ = second.content


def test_a_ciphertext_moved_to_another_chat_is_unreadable(chat: Chat, ada: User) -> None:
    """Also a whole row moved to another chat does not open, nor does one that another sender is put to."""
    other_chat, eve = chat_of(ada), person("eve")
    moved, renamed, kept = (message_in(chat, ada, text) for text in ("moved", "renamed", "kept"))
    Message.objects.filter(id=moved.id).update(chat=other_chat)
    Message.objects.filter(id=renamed.id).update(sender=eve)

    assert Message.objects.get(id=kept.id).content == "kept"
    for message in (moved, renamed):
        with pytest.raises(Unreadable):
            _ = Message.objects.get(id=message.id).content


def test_a_ciphertext_moved_to_another_chat_with_the_same_key_is_unreadable(chat: Chat, ada: User) -> None:
    """Even where the keys are the same: the associated data names the chat."""
    other_chat = chat_of(ada)
    key = ChatKey.objects.get(chat=chat)
    ChatKey.objects.filter(chat=other_chat).update(wrapped=key.wrapped, master_key_id=key.master_key_id)
    keys.forget()
    message = message_in(chat, ada, SECRET)
    Message.objects.filter(id=message.id).update(chat=other_chat)

    with pytest.raises(Unreadable):
        _ = Message.objects.get(id=message.id).content


def test_a_ciphertext_moved_to_another_field_is_unreadable(chat: Chat, ada: User) -> None:
    """The associated data names table and column: a row's id alone does not open another table's value."""
    attachment = Attachment.objects.create(chat=chat, uploader=ada, name="tea.jpg", media_type="image/jpeg", size=1)
    stored = raw("attachments", "name", attachment.id)
    assert stored is not None
    message = message_in(chat, ada, "text", id=attachment.id)
    Message.objects.filter(id=message.id).update(content=Sealed(stored))

    assert Attachment.objects.get(id=attachment.id).name == "tea.jpg"
    with pytest.raises(Unreadable):
        _ = Message.objects.get(id=message.id).content


@pytest.mark.parametrize("value", [b"", b"\x01", b"plain text in the column", b"\xff" * 64])
def test_rubbish_in_the_column_is_unreadable(chat: Chat, ada: User, value: bytes) -> None:
    """Whatever stands there, the error is the named one."""
    message = message_in(chat, ada, SECRET)
    Message.objects.filter(id=message.id).update(content=Sealed(value))

    with pytest.raises(Unreadable):
        _ = Message.objects.get(id=message.id).content


def test_a_destroyed_key_makes_the_chat_unreadable(chat: Chat, ada: User) -> None:
    """Crypto-shredding: without the key the content is gone, in this chat alone."""
    message, other = message_in(chat, ada, SECRET), message_in(chat_of(ada), ada, "other")
    ChatKey.objects.filter(chat=chat).delete()
    keys.forget(chat.id)

    with pytest.raises(Unreadable, match="KeyDestroyed"):
        _ = Message.objects.get(id=message.id).content
    assert Message.objects.get(id=other.id).content == "other"


def test_a_missing_master_key_makes_the_chat_unreadable(chat: Chat, ada: User, settings: Any) -> None:
    """A configuration that lost a master key is named in the error, and breaks no page."""
    message = message_in(chat, ada, SECRET)
    settings.PARLEY_MASTER_KEYS = (("new", NEW_KEY),)
    keys.forget()

    with pytest.raises(Unreadable, match="UnknownMasterKey: test1"):
        _ = Message.objects.get(id=message.id).content


def test_the_error_does_not_hold_the_text(chat: Chat, ada: User) -> None:
    """What reaches the log names the row alone."""
    message = message_in(chat, ada, SECRET)
    tampered = bytearray(stored_content(message))
    tampered[-1] ^= 1
    Message.objects.filter(id=message.id).update(content=Sealed(tampered))

    with pytest.raises(Unreadable) as caught:
        _ = Message.objects.get(id=message.id).content

    assert SECRET not in repr(caught.value)
    assert str(message.id) in str(caught.value)


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda message: Message.objects.filter(id=message.id).update(content="plain"), id="update"),
        pytest.param(lambda message: Message.objects.bulk_update([message], ["content"]), id="bulk update"),
        pytest.param(lambda message: Message.objects.filter(content=SECRET).exists(), id="filter"),
        pytest.param(lambda message: Message.objects.filter(content__in=[SECRET]).exists(), id="filter by many"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_text_cannot_be_written_or_looked_up_without_its_row(
    chat: Chat, ada: User, attempt: Callable[[Message], object]
) -> None:
    """`update`, `bulk_update` and filters by text are refused rather than done wrongly."""
    message = message_in(chat, ada, SECRET)

    with pytest.raises(FieldError):
        attempt(message)

    assert Message.objects.get(id=message.id).content == SECRET


def test_bytes_are_no_text(chat: Chat, ada: User) -> None:
    """Bytes of unknown origin are not written."""
    with pytest.raises(FieldError):
        message_in(chat, ada, b"bytes")  # type: ignore[arg-type]


def test_a_value_never_read_goes_back_as_it_came(chat: Chat, ada: User, opened: list[bytes]) -> None:
    """Saving another field, or everything, keeps the ciphertext; an unreadable one too."""
    message = message_in(chat, ada, SECRET)
    before = stored_content(message)
    Message.objects.filter(id=message.id).update(content=Sealed(before[:-1]))

    found = Message.objects.get(id=message.id)
    found.rev += 1
    found.save()

    assert stored_content(message) == before[:-1]
    assert opened == []


def test_a_new_text_replaces_the_old_one(chat: Chat, ada: User) -> None:
    """Editing writes the new text, whether or not the old one was read."""
    message = message_in(chat, ada, SECRET)

    found = Message.objects.get(id=message.id)
    found.content = "Tee um fünf"
    found.save(update_fields=["content"])

    assert found.content == "Tee um fünf"
    assert Message.objects.get(id=message.id).content == "Tee um fünf"


@pytest.mark.parametrize("deferred", ["defer", "only"])
def test_a_deferred_value_is_fetched_with_one_query(
    chat: Chat, ada: User, deferred: str, django_assert_num_queries: Any
) -> None:
    """Reading it takes one query; not reading it keeps it through a save."""
    message = message_in(chat, ada, SECRET)
    rows = Message.objects.all()
    rows = rows.defer("content") if deferred == "defer" else rows.only("id", "chat_id", "sender_id", "rev")

    found = rows.get(id=message.id)
    found.rev += 1
    found.save()
    assert "content" in found.get_deferred_fields()
    with django_assert_num_queries(1):
        assert found.content == SECRET
    assert Message.objects.get(id=message.id).content == SECRET


def test_refreshing_reads_what_is_stored(chat: Chat, ada: User) -> None:
    """`refresh_from_db` gives the text as it is now."""
    message = message_in(chat, ada, SECRET)
    changed = Message.objects.get(id=message.id)
    changed.content = "changed"
    changed.save()

    message.refresh_from_db()

    assert message.content == "changed"


def backup() -> str:
    """Return what `dumpdata` writes."""
    out = StringIO()
    call_command("dumpdata", "accounts.User", "messaging", stdout=out)
    return out.getvalue()


def test_a_backup_holds_no_text_and_restores_it(chat: Chat, ada: User, tmp_path: Path, opened: list[bytes]) -> None:
    """`dumpdata` writes ciphertext, decrypting nothing; `loaddata` brings it back, NULL and empty apart."""
    message, empty, untitled = message_in(chat, ada, SECRET), message_in(chat, ada, ""), chat_of(ada)
    data = backup()
    (tmp_path / "backup.json").write_text(data)
    assert opened == []
    assert SECRET not in data
    assert "Tea round" not in data
    assert base64.b64encode(SECRET.encode()).decode()[:12] not in data

    Chat.objects.all().delete()
    User.objects.all().delete()
    keys.forget()
    call_command("loaddata", str(tmp_path / "backup.json"), verbosity=0)

    assert opened == []
    assert Message.objects.get(id=message.id).content == SECRET
    assert Message.objects.get(id=empty.id).content == ""
    assert Chat.objects.get(id=chat.id).title == "Tea round"
    assert Chat.objects.get(id=untitled.id).title is None


def test_an_unreadable_value_can_be_backed_up(chat: Chat, ada: User) -> None:
    """A tampered row does not stop the backup of all the others."""
    message = message_in(chat, ada, SECRET)
    Message.objects.filter(id=message.id).update(content=Sealed(b"\x01" + bytes(40)))

    rows = [row for row in json.loads(backup()) if row["model"] == "messaging.message"]

    assert base64.b64decode(rows[0]["fields"]["content"]) == b"\x01" + bytes(40)


@pytest.mark.parametrize("value", ["plain text", "cGxhaW4gdGV4dCBpbiBiYXNlNjQ=", "é", 7])
def test_plain_text_is_not_taken_from_a_backup(value: object) -> None:
    """A fixture with text, which would be stored as rubbish, is refused."""
    with pytest.raises(ValidationError):
        Message._meta.get_field("content").to_python(value)


def test_the_migrations_are_up_to_date() -> None:
    """The field deconstructs to what the migrations hold."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_the_field_deconstructs_to_itself() -> None:
    """A field made from its deconstruction has the same deconstruction."""
    field = EncryptedField(associated=("chat_id", "id"), key_of="chat_id", null=True)

    _, path, args, kwargs = field.deconstruct()
    again = EncryptedField(*args, **kwargs)

    assert path == "messaging.fields.EncryptedField"
    assert kwargs == {"associated": ("chat_id", "id"), "key_of": "chat_id", "null": True}
    assert again.deconstruct()[1:] == (path, args, kwargs)


@isolate_apps("messaging")
def test_a_field_that_is_not_bound_to_its_row_fails_the_check() -> None:
    """A system check refuses a ciphertext that could be moved between rows."""

    class Loose(models.Model):  # noqa: DJ008
        text = EncryptedField(associated=("chat_id",), key_of="chat_id")

        class Meta:
            app_label = "messaging"

    assert [found.id for found in Loose.check()] == ["messaging.E001"]
    assert Message.check() == []


def test_no_query_carries_the_text(chat: Chat, ada: User) -> None:
    """The statements that write and read a message never hold its text, so no query log does."""
    with CaptureQueriesContext(connection) as queries:
        message = message_in(chat, ada, SECRET)
        assert Message.objects.get(id=message.id).content == SECRET

    assert queries.captured_queries
    assert not any(SECRET in query["sql"] for query in queries.captured_queries)
