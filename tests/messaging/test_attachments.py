"""Tests of attachments: sealed files on a real disk, the rows that name them, and what is left when something fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.db.models.signals import post_save, pre_delete, pre_save
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from chatproject import db
from chatproject.errors import InvalidInput, Unavailable
from chatproject.ids import uuid7
from messaging import attachment_files as files
from messaging import attachments, keys, services
from messaging.attachment_files import CHUNK, SEALED_CHUNK
from messaging.attachments import AttachmentNotFound, FileNotStored, FileUnreadable
from messaging.crypto import OVERHEAD, DecryptionError
from messaging.drafts import Draft
from messaging.fields import Sealed
from messaging.models import Attachment, Chat, ChatKey, Membership, Message, MessageType
from messaging.selectors import ChatNotFound
from messaging.services import Outcome, Stored, storing
from tests.chatproject.races import Meanwhile, in_threads, meanwhile
from tests.messaging.conftest import Announced, Person, row_of, say

pytestmark = pytest.mark.django_db

SIZES = [1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7]
LONG = bytes(number * number % 251 for number in range(3 * CHUNK + 1234))


def stored(who: Person, chat: Chat, content: bytes = LONG, **more: Any) -> Attachment:
    """Store an upload."""
    upload = {"name": "tea.bin", "media_type": "application/zip", **more}
    return attachments.store(uploader_id=who.id, chat_id=chat.id, file=BytesIO(content), **upload)


def read(attachment: Attachment, part: range | None = None) -> bytes:
    """Read an attachment, or a part of it, as the response does."""
    content = attachments.open_content(attachment=attachment, part=part or range(attachment.size))

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in content])

    return asyncio.run(collect())


def all_files() -> list[Path]:
    """Return every file below the attachments' directory."""
    return [path for path in files._root().rglob("*") if path.is_file()]


def age(attachment: Attachment, *, days: int) -> None:
    """Make an attachment and its file older than they are."""
    Attachment.objects.filter(id=attachment.id).update(created_at=timezone.now() - timedelta(days=days))
    age_file(files.path_of(attachment.id), days=days)


def age_file(path: Path, *, days: int) -> None:
    """Make a file older than it is."""
    moment = time.time() - days * 86400
    os.utime(path, (moment, moment))


def roll_back(action: Callable[[], object]) -> None:
    """Run something in a transaction that fails after it."""
    with contextlib.suppress(RuntimeError), db.atomic():
        action()
        raise RuntimeError


@pytest.mark.parametrize("size", SIZES)
def test_a_file_comes_back(ada: Person, group: Chat, size: int) -> None:
    """Of any length, with the row that describes it."""
    content = LONG[:size]

    attachment = stored(ada, group, content)

    assert read(attachment) == content
    assert attachments.attachment_body(Attachment.objects.get(id=attachment.id)) == {
        "id": str(attachment.id),
        "name": "tea.bin",
        "mediaType": "application/zip",
        "size": size,
        "url": f"/attachment/{attachment.id}",
    }


def test_nothing_readable_is_on_the_disk(ada: Person, group: Chat) -> None:
    """The file holds no plaintext and no name, lies under its id, and is its owner's alone."""
    phrase = b"meet me at the old mill at four"
    attachment = stored(ada, group, phrase * 5000, name="the old mill.txt")

    (path,) = all_files()

    assert path == files._root() / attachment.id.hex[-2:] / str(attachment.id)
    assert phrase[:6] not in path.read_bytes()
    assert b"old mill" not in path.read_bytes()
    assert path.stat().st_size == 5000 * len(phrase) + OVERHEAD * 3
    assert path.parent.stat().st_mode & 0o077 == 0


def test_the_same_file_twice_has_nothing_in_common(ada: Person, group: Chat) -> None:
    """Equal chunks, within a file and across files, have different ciphertexts."""
    one, other = (files.path_of(stored(ada, group, bytes(2 * CHUNK)).id).read_bytes() for _ in range(2))

    chunks = [data[place : place + SEALED_CHUNK] for data in (one, other) for place in (0, SEALED_CHUNK)]

    assert len({chunk[13:200] for chunk in chunks}) == 4


def test_a_source_may_give_less_than_it_is_asked_for(ada: Person, group: Chat) -> None:
    """Short reads do not make short chunks."""

    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1000))

    attachment = attachments.store(uploader_id=ada.id, chat_id=group.id, name="a", media_type="", file=Slow(LONG))

    assert read(attachment) == LONG


@given(bounds=st.tuples(st.integers(0, len(LONG) - 1), st.integers(1, len(LONG))))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_part_is_the_slice_of_the_original(ada: Person, group: Chat, bounds: tuple[int, int]) -> None:
    """Whatever chunks it begins and ends in."""
    attachment = Attachment.objects.first() or stored(ada, group)
    part = range(min(bounds[0], bounds[1] - 1), max(bounds[0] + 1, bounds[1]))

    assert read(attachment, part) == LONG[part.start : part.stop]


def test_only_the_chunks_of_the_part_are_decrypted(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part across two chunks costs two."""
    attachment = stored(ada, group)
    opened: list[int] = []
    real = files.Binding.unseal

    def counting(self: files.Binding, sealed: bytes, *, index: int, last: bool) -> bytes:
        opened.append(index)
        return real(self, sealed, index=index, last=last)

    monkeypatch.setattr(files.Binding, "unseal", counting)

    assert read(attachment, range(CHUNK - 1, CHUNK + 1)) == LONG[CHUNK - 1 : CHUNK + 1]
    assert opened == [0, 1]


@pytest.mark.parametrize("chunk", [0, 1, 3])
@pytest.mark.parametrize("place", [0, 1, 12, 13, 500, -1])
def test_a_changed_byte_ends_the_file_before_its_chunk(ada: Person, group: Chat, chunk: int, place: int) -> None:
    """Everything before it is right, nothing of the chunk itself goes out; other parts stay readable."""
    attachment = stored(ada, group)
    path = files.path_of(attachment.id)
    data = bytearray(path.read_bytes())
    end = min(len(data), (chunk + 1) * SEALED_CHUNK)
    data[chunk * SEALED_CHUNK + place if place >= 0 else end - 1] ^= 1
    path.write_bytes(data)
    sent = bytearray()

    async def send() -> None:
        async for piece in attachments.open_content(attachment=attachment, part=range(attachment.size)):
            sent.extend(piece)

    with pytest.raises((DecryptionError, FileUnreadable)) as caught:
        asyncio.run(send())

    assert isinstance(caught.value, FileUnreadable) == (chunk == 0)
    assert bytes(sent) == LONG[: chunk * CHUNK]
    assert read(attachment, range(2 * CHUNK, 2 * CHUNK + 5)) == LONG[2 * CHUNK : 2 * CHUNK + 5]


def chunks_of(path: Path) -> list[bytes]:
    """Return a file's sealed chunks."""
    data = path.read_bytes()
    return [data[start : start + SEALED_CHUNK] for start in range(0, len(data), SEALED_CHUNK)]


def test_reordered_chunks_are_found(ada: Person, group: Chat) -> None:
    """Two chunks in each other's place do not open."""
    attachment = stored(ada, group)
    path = files.path_of(attachment.id)
    chunks = chunks_of(path)
    chunks[1], chunks[2] = chunks[2], chunks[1]
    path.write_bytes(b"".join(chunks))

    with pytest.raises(DecryptionError):
        read(attachment)


@pytest.mark.parametrize("kept", [0, 1, SEALED_CHUNK - 1, SEALED_CHUNK, 3 * SEALED_CHUNK, -1])
def test_a_file_cut_short_is_found_at_once(ada: Person, group: Chat, kept: int) -> None:
    """Before a single byte goes out, whatever part is asked for."""
    attachment = stored(ada, group)
    path = files.path_of(attachment.id)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(FileUnreadable):
        read(attachment, range(1))


def test_a_file_that_has_grown_is_found(ada: Person, group: Chat) -> None:
    """Also after a last chunk that is full."""
    attachment = stored(ada, group, bytes(CHUNK))
    path = files.path_of(attachment.id)
    path.write_bytes(path.read_bytes() + b"\0")

    with pytest.raises(FileUnreadable):
        read(attachment)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_a_file_and_its_row_cut_short_together_are_found(ada: Person, group: Chat, chunks: int) -> None:
    """Whoever can write to file and database alike still cannot make an inner chunk the last one."""
    attachment = stored(ada, group)
    path = files.path_of(attachment.id)
    path.write_bytes(b"".join(chunks_of(path)[:chunks]))
    Attachment.objects.filter(id=attachment.id).update(size=chunks * CHUNK)
    attachment.refresh_from_db()

    with pytest.raises((DecryptionError, FileUnreadable)):
        read(attachment)


def test_files_in_each_others_place_are_found(ada: Person, group: Chat) -> None:
    """Two files of one chat, of one length, swapped."""
    one, other = stored(ada, group), stored(ada, group)
    paths = files.path_of(one.id), files.path_of(other.id)
    data = [path.read_bytes() for path in paths]
    paths[0].write_bytes(data[1])
    paths[1].write_bytes(data[0])

    for attachment in (one, other):
        with pytest.raises(FileUnreadable):
            read(attachment)


def test_a_file_moved_to_another_chat_is_found(ada: Person, group: Chat, direct: Chat) -> None:
    """Even where both chats had the same key."""
    key = ChatKey.objects.get(chat=group)
    ChatKey.objects.filter(chat=direct).update(wrapped=key.wrapped)
    keys.forget()
    attachment = stored(ada, group)
    Attachment.objects.filter(id=attachment.id).update(chat=direct)
    attachment.refresh_from_db(fields=["chat"])

    with pytest.raises(FileUnreadable):
        read(attachment)


def test_a_missing_file_is_unavailable(ada: Person, group: Chat) -> None:
    """The row alone gives a named failure, 503."""
    attachment = stored(ada, group)
    files.path_of(attachment.id).unlink()

    with pytest.raises(FileUnreadable) as caught:
        read(attachment)

    assert (caught.value.code, caught.value.status) == ("unavailable", 503)


def test_a_destroyed_key_makes_the_file_unreadable(ada: Person, group: Chat) -> None:
    """Crypto-shredding takes the files with it."""
    attachment = stored(ada, group)
    ChatKey.objects.filter(chat=group).delete()
    keys.forget()

    with pytest.raises(FileUnreadable):
        read(attachment)


def test_an_unreadable_name_is_empty(ada: Person, group: Chat) -> None:
    """The rest of the document is intact."""
    attachment = stored(ada, group)
    Attachment.objects.filter(id=attachment.id).update(name=Sealed(b"\x01" + bytes(40)))

    body = attachments.attachment_body(Attachment.objects.get(id=attachment.id))

    assert (body["name"], body["size"]) == ("", len(LONG))


def test_members_alone_find_an_attachment(ada: Person, grace: Person, mallory: Person, group: Chat) -> None:
    """For everybody else it does not exist."""
    attachment = stored(ada, group)

    assert attachments.attachment_for_member(attachment_id=attachment.id, user_id=grace.id) == attachment
    for attachment_id, user in ((attachment.id, mallory), (uuid7(), ada), (None, ada)):
        with pytest.raises(AttachmentNotFound):
            attachments.attachment_for_member(attachment_id=attachment_id, user_id=user.id)


def test_members_alone_store(mallory: Person, ada: Person, group: Chat) -> None:
    """A foreign chat and a missing one give the same answer, and nothing is written."""
    with pytest.raises(ChatNotFound):
        stored(mallory, group)
    with pytest.raises(ChatNotFound):
        attachments.store(uploader_id=ada.id, chat_id=uuid7(), name="", media_type="", file=BytesIO(b"x"))
    assert all_files() == []


def test_an_empty_file_is_refused(ada: Person, group: Chat) -> None:
    """There is nothing to send."""
    with pytest.raises(InvalidInput) as caught:
        stored(ada, group, b"")

    assert caught.value.fields["file"][0]["code"] == "empty"


@pytest.mark.parametrize(("over", "fits"), [(0, True), (1, False)])
def test_the_limit_is_exact(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch, over: int, fits: bool) -> None:
    """A byte more is refused while it is read, and nothing is left of it."""
    monkeypatch.setattr(attachments, "MAXIMUM_BYTES", 2 * CHUNK)

    if fits:
        assert stored(ada, group, bytes(2 * CHUNK + over)).size == 2 * CHUNK
        return
    with pytest.raises(InvalidInput) as caught:
        stored(ada, group, bytes(2 * CHUNK + over))
    assert caught.value.fields["file"][0]["code"] == "too_large"
    assert (all_files(), Attachment.objects.count()) == ([], 0)


def test_the_limit_is_25_mib() -> None:
    """As the protocol says."""
    assert attachments.MAXIMUM_BYTES == 25 * 1024 * 1024


@pytest.mark.parametrize("failing", ["write", "fsync", "replace", "mkdir"])
def test_a_full_disk_leaves_nothing(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Whichever call fails: 503, no row, no file, no draft."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place: Any = {"write": (files.Binding, "seal"), "fsync": (files.os, "fsync")}.get(failing, (Path, failing))
    monkeypatch.setattr(*place, full)

    with pytest.raises(FileNotStored) as caught:
        stored(ada, group)

    assert (caught.value.code, caught.value.status) == ("unavailable", 503)
    assert isinstance(caught.value, Unavailable)
    monkeypatch.undo()
    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_the_file_is_on_the_disk_before_the_row(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, synchronised and renamed, then committed."""
    steps: list[str] = []
    fsync, replace, save = os.fsync, Path.replace, Attachment.save

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            steps.append(name)
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(files.os, "fsync", noted("fsync", fsync))
    monkeypatch.setattr(Path, "replace", noted("rename", replace))
    monkeypatch.setattr(Attachment, "save", noted("row", save))

    stored(ada, group)

    assert steps == ["fsync", "rename", "fsync", "fsync", "row"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("failure", [DatabaseError("lost"), KeyboardInterrupt()], ids=["database", "interrupt"])
def test_a_failed_commit_removes_the_file(
    ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """No row, no file."""

    def fail(*_: object, **__: object) -> None:
        assert len(all_files()) == 1
        raise failure

    monkeypatch.setattr(Attachment, "save", fail)

    with pytest.raises(type(failure)):
        stored(ada, group)

    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_somebody_removed_during_the_upload_leaves_nothing(
    ada: Person, grace: Person, group: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Membership is checked again where the row is inserted."""
    write = files.write

    def slow(*args: Any, **kwargs: Any) -> int:
        size = write(*args, **kwargs)
        Membership.objects.filter(chat=group, user_id=grace.id).delete()
        return size

    monkeypatch.setattr(files, "write", slow)

    with pytest.raises(ChatNotFound):
        stored(grace, group)

    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_deleting_removes_row_and_file_after_the_commit(ada: Person, group: Chat) -> None:
    """A rolled back deletion keeps both."""
    attachment = stored(ada, group)

    roll_back(lambda: attachments.delete(attachment_id=attachment.id))
    assert read(attachment) == LONG

    assert attachments.delete(attachment_id=attachment.id)
    assert (all_files(), Attachment.objects.count()) == ([], 0)
    assert attachments.delete(attachment_id=attachment.id)


@pytest.mark.django_db(transaction=True)
def test_a_deleted_message_takes_its_attachment_along(ada: Person, group: Chat) -> None:
    """Unless another message carries it too."""
    attachment = stored(ada, group)
    carried = {"type": MessageType.FILE, "attachment_id": attachment.id}
    one, other = say(ada, group, "", **carried), say(ada, group, "", **carried)

    services.delete_message(chat_id=group.id, message_id=one.id, user_id=ada.id)
    assert read(attachment) == LONG
    services.delete_message(chat_id=group.id, message_id=other.id, user_id=ada.id)

    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_an_erased_chat_takes_its_files_along(ada: Person, group: Chat, direct: Chat) -> None:
    """Those of other chats stay."""
    sent, unsent, foreign = stored(ada, group), stored(ada, group), stored(ada, direct)
    say(ada, group, "", type=MessageType.FILE, attachment_id=sent.id)

    services.delete_chat(chat_id=group.id, user_id=ada.id)

    assert all_files() == [files.path_of(foreign.id)]
    assert list(Attachment.objects.values_list("id", flat=True)) == [foreign.id]
    assert unsent.id != foreign.id


@pytest.mark.django_db(transaction=True)
def test_a_chat_that_is_not_erased_after_all_keeps_its_files(ada: Person, group: Chat) -> None:
    """The files go only after the commit."""
    attachment = stored(ada, group)

    roll_back(lambda: attachments.delete_files(group.id))

    assert read(attachment) == LONG


@pytest.mark.django_db(transaction=True)
def test_a_file_that_cannot_be_removed_is_left_to_the_sweep(
    ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion stands; the next sweep removes what is left."""
    kept, deleted = stored(ada, group), stored(ada, group)
    say(ada, group, "", type=MessageType.FILE, attachment_id=kept.id)

    def broken(attachment_id: UUID) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(files, "remove", broken)
    assert attachments.delete(attachment_id=deleted.id)
    monkeypatch.undo()
    age_file(files.path_of(deleted.id), days=2)

    assert attachments.sweep_files(older_than=timedelta(days=1)) == 1
    assert all_files() == [files.path_of(kept.id)]


@pytest.mark.django_db(transaction=True)
def test_the_sweep_removes_old_uploads_that_were_never_sent(
    ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent ones stay, and so do those that may still be sent; it works through any number, batch by batch."""
    monkeypatch.setattr(attachments, "SWEEP_BATCH", 2)
    sent, young, *old = (stored(ada, group, b"x") for _ in range(7))
    say(ada, group, "", type=MessageType.FILE, attachment_id=sent.id)
    for attachment in (sent, *old):
        age(attachment, days=2)

    assert attachments.sweep_unsent(older_than=timedelta(days=1)) == len(old)

    assert set(Attachment.objects.values_list("id", flat=True)) == {sent.id, young.id}
    assert set(all_files()) == {files.path_of(sent.id), files.path_of(young.id)}


def test_the_sweep_removes_old_files_without_a_row(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process left: whole files and drafts; younger ones may be under way."""
    monkeypatch.setattr(attachments, "SWEEP_BATCH", 2)
    known, *orphans, young = (stored(ada, group, b"x") for _ in range(6))
    Attachment.objects.exclude(id=known.id).delete()
    draft = files.path_of(uuid7())
    draft = draft.with_name(draft.name + files.DRAFT_SUFFIX)
    draft.parent.mkdir(exist_ok=True)
    draft.write_bytes(b"half")
    for path in [draft, *(files.path_of(one.id) for one in (known, *orphans))]:
        age_file(path, days=2)

    assert attachments.sweep_files(older_than=timedelta(days=1)) == len(orphans) + 1

    assert set(all_files()) == {files.path_of(known.id), files.path_of(young.id)}


def test_the_sweep_spares_the_files_of_another_database(ada: Person, group: Chat) -> None:
    """Where no attachment is known at all, no file is removed for having no row."""
    attachment = stored(ada, group)
    age(attachment, days=2)
    Attachment.objects.all().delete()

    assert attachments.sweep_files(older_than=timedelta(days=1)) == 0
    assert len(all_files()) == 1


def test_the_sweep_of_an_empty_installation() -> None:
    """Nothing there, nothing to do."""
    assert attachments.sweep_unsent(older_than=timedelta(0)) == 0
    assert attachments.sweep_files(older_than=timedelta(0)) == 0


@pytest.mark.django_db(transaction=True)
def test_the_sweep_command(ada: Person, group: Chat, capsys: pytest.CaptureFixture[str]) -> None:
    """It leaves a day's uploads unless told otherwise, and says what it did."""
    attachment = stored(ada, group)

    call_command("sweep_attachments")
    assert capsys.readouterr().out.startswith("Removed 0 uploads that were never sent and 0 files")
    age(attachment, days=2)
    call_command("sweep_attachments", hours=30)

    assert capsys.readouterr().out.startswith("Removed 1 uploads that were never sent and 0 files")
    assert all_files() == []


# --- At the same time -------------------------------------------------------------------------------------------------


def sending(who: Person, chat: Chat, attachment: Attachment) -> Callable[[], list[Outcome]]:
    """Return a function that stores a batch of two messages, the first with the attachment."""
    carrying = Draft(sender_id=who.id, chat_id=chat.id, content="", type=MessageType.FILE, attachment_id=attachment.id)
    return lambda: services.store([carrying, Draft(sender_id=who.id, chat_id=chat.id, content="Tea at four?")])


def sweeping() -> int:
    """Sweep whatever nobody has sent."""
    return attachments.sweep_unsent(older_than=timedelta(0))


@pytest.mark.django_db(transaction=True)
def test_a_send_that_meets_the_sweep_is_refused(
    published: Announced, ada: Person, grace: Person, alan: Person, group: Chat
) -> None:
    """It has found the upload unsent and is about to delete it: the message is not acked, the rest of its batch is."""
    attachment = stored(ada, group)
    published.clear()

    with meanwhile(sending(ada, group, attachment), at=pre_delete, of=Attachment) as send:
        assert sweeping() == 1
        refused, good = send.result()

    assert isinstance(refused, InvalidInput), refused
    assert refused.fields["attachmentId"][0]["message"] == "There is no such upload in this chat."
    assert row_of(good).attachment_id is None
    assert Message.objects.exclude(type=MessageType.SYSTEM).count() == 1
    assert published.told() == [("message:receive", {ada.id, grace.id, alan.id})]
    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_the_sweep_that_meets_a_send_spares_its_file(ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is stored, but not committed yet."""
    attachment = stored(ada, group)
    sweep = before_the_commit_of_a_send(monkeypatch, lambda: attachments.delete(attachment_id=attachment.id))

    carrying, good = sending(ada, group, attachment)()

    assert sweep.result() is False
    sweep.end()
    assert row_of(carrying).attachment_id == attachment.id
    assert isinstance(good, Stored)
    assert read(attachment) == LONG
    assert sweeping() == 0


def before_the_commit_of_a_send(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> Meanwhile:
    """Do the deed once the next batch of messages is inserted."""
    one, publish = Meanwhile(deed), storing.publish

    def publish_after(*events: Any) -> None:
        one()
        publish(*events)

    monkeypatch.setattr(storing, "publish", publish_after)
    return one


@pytest.mark.django_db(transaction=True)
def test_a_send_that_meets_the_end_of_the_last_message_is_refused(ada: Person, group: Chat) -> None:
    """A deleted message is taking the attachment along that another one wants to carry."""
    attachment = stored(ada, group)
    first = say(ada, group, "", type=MessageType.FILE, attachment_id=attachment.id)

    with meanwhile(sending(ada, group, attachment), at=pre_delete, of=Attachment) as send:
        services.delete_message(chat_id=group.id, message_id=first.id, user_id=ada.id)
        refused, good = send.result()

    assert isinstance(refused, InvalidInput), refused
    assert isinstance(good, Stored)
    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_message_that_meets_a_send_spares_its_file(
    ada: Person, group: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another message is just about to carry the same attachment."""
    attachment = stored(ada, group)
    first = say(ada, group, "", type=MessageType.FILE, attachment_id=attachment.id)
    whose = {"chat_id": group.id, "message_id": first.id, "user_id": ada.id}
    deletion = before_the_commit_of_a_send(monkeypatch, lambda: services.delete_message(**whose))

    carrying, _ = sending(ada, group, attachment)()

    assert deletion.result().attachment_id is None
    deletion.end()
    assert row_of(carrying).attachment_id == attachment.id
    assert read(attachment) == LONG


@pytest.mark.django_db(transaction=True)
def test_an_upload_that_meets_the_end_of_its_chat_leaves_nothing(ada: Person, group: Chat) -> None:
    """It finds the chat gone. On MongoDB it is through first, and the end of the chat begins anew."""
    with meanwhile(lambda: stored(ada, group), at=pre_delete, of=Chat) as upload:
        services.delete_chat(chat_id=group.id, user_id=ada.id)
        with contextlib.nullcontext() if db.vendor() == "mongodb" else pytest.raises(ChatNotFound):
            upload.result()

    assert not Chat.objects.filter(id=group.id).exists()
    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_chat_that_meets_an_upload_takes_it_along(ada: Person, group: Chat) -> None:
    """The row is there, but not committed yet."""
    with meanwhile(lambda: services.delete_chat(chat_id=group.id, user_id=ada.id), at=post_save, of=Attachment) as end:
        stored(ada, group)
        end.result()

    assert not Chat.objects.filter(id=group.id).exists()
    assert (all_files(), Attachment.objects.count()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_an_upload_of_an_account_that_goes_meanwhile(ada: Person, group: Chat) -> None:
    """The database refuses the row at the commit, and the file goes; MongoDB refuses nothing."""

    def remove_account(**_: Any) -> None:
        db.delete(User, [ada.id])

    pre_save.connect(remove_account, sender=Attachment)
    try:
        with pytest.raises(ChatNotFound) if db.vendor() != "mongodb" else contextlib.nullcontext():
            stored(ada, group)
    finally:
        pre_save.disconnect(remove_account, sender=Attachment)

    assert len(all_files()) == Attachment.objects.count() == (db.vendor() == "mongodb")


@pytest.mark.django_db(transaction=True)
def test_a_sweep_of_everything_spares_an_upload_under_way(ada: Person, group: Chat) -> None:
    """Its file is there before its row is committed."""
    stored(ada, group)

    with meanwhile(lambda: attachments.sweep_files(older_than=timedelta(0)), at=pre_save, of=Attachment) as sweep:
        attachment = stored(ada, group)
        assert sweep.result() == 0

    assert read(attachment) == LONG


@pytest.mark.django_db(transaction=True)
def test_whoever_is_first_the_ack_and_the_file_agree(ada: Person, group: Chat) -> None:
    """A send and a deletion at the same moment, many times: what is acked is there, what is deleted is refused."""
    for _ in range(12):
        attachment = stored(ada, group, b"x")

        (carrying, good), gone = in_threads(
            [sending(ada, group, attachment), lambda one=attachment: attachments.delete(attachment_id=one.id)]
        )

        acked = isinstance(carrying, Stored)
        assert isinstance(good, Stored)
        assert acked != gone
        assert acked == Message.objects.filter(attachment_id=attachment.id).exists()
        assert acked == Attachment.objects.filter(id=attachment.id).exists()
        assert acked == files.path_of(attachment.id).exists()
