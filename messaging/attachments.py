"""Stores, finds and removes attachments: a row with the encrypted name, and a file with the encrypted bytes.

The file is written and synchronised first and the row committed after it, so a row always has its file. What a killed
process leaves is a file without a row, which the sweep removes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import IO, Any
from uuid import UUID

import structlog
from django.db import IntegrityError
from django.utils import timezone

from chatproject import db
from chatproject.errors import DomainError, InvalidInput, Unavailable
from chatproject.ids import uuid7
from messaging import attachment_files as files
from messaging import keys, media
from messaging.attachment_files import Binding, SealedFile
from messaging.crypto import DecryptionError, UnknownMasterKey
from messaging.fields import Unreadable
from messaging.models import Attachment, Chat, Membership, Message
from messaging.selectors import ChatNotFound, chat_for_member

MAXIMUM_BYTES = 25 * 1024 * 1024
SWEEP_BATCH = 500
UNDER_WAY = timedelta(hours=1)
"""A file without a row is left alone for as long, whatever the sweep is told: its row may be about to be committed."""

log = structlog.get_logger("parley.attachments")


class AttachmentNotFound(DomainError):
    """No such attachment, or none in a chat of this person."""

    code = "attachment_not_found"
    status = 404
    message = "There is no such attachment."


class FileNotStored(Unavailable):
    """The disk is full or away."""

    message = "The file could not be stored."


class FileUnreadable(Unavailable):
    """The attachment's file is missing, was altered, or its chat's key cannot be had."""

    message = "The file cannot be read."


def no_such_upload() -> InvalidInput:
    """Return the error of a message whose attachment its sender has not uploaded into its chat, or too long ago."""
    return InvalidInput.of("attachmentId", "There is no such upload in this chat.")


def attachment_for_member(*, attachment_id: UUID | None, user_id: UUID) -> Attachment:
    """Return an attachment of a chat that the person is in. Raises `AttachmentNotFound`."""
    found = Attachment.objects.filter(id=attachment_id).first() if attachment_id else None
    if found is None or not Membership.objects.filter(chat_id=found.chat_id, user_id=user_id).exists():
        raise AttachmentNotFound
    return found


def attachment_body(attachment: Attachment) -> dict[str, Any]:
    """Return the attachment document of docs/protocol.md; a name that was tampered with is empty, never raised."""
    try:
        name = attachment.name
    except Unreadable as error:
        log.error("attachment.unreadable_name", attachment_id=str(attachment.id), reason=str(error))
        name = ""
    return {
        "id": str(attachment.id),
        "name": name,
        "mediaType": attachment.media_type,
        "size": attachment.size,
        "url": f"/attachment/{attachment.id}",
    }


def store(*, uploader_id: UUID, chat_id: UUID, name: str, media_type: str, file: IO[bytes]) -> Attachment:
    """Encrypt a file of 1 byte to 25 MiB into a chat and return its attachment, to be sent with a message.

    `name` and `media_type` are the client's claims; `file` is at its start and seekable. Raises `ChatNotFound`,
    `InvalidInput` for `file` with the code `empty` or `too_large`, and `FileNotStored`.
    """
    chat_for_member(chat_id=chat_id, user_id=uploader_id)
    head = file.read(media.HEAD_BYTES)
    if not head:
        raise InvalidInput.of("file", "The file is empty.", code="empty")
    file.seek(0)
    attachment = Attachment(
        id=uuid7(),
        chat_id=chat_id,
        uploader_id=uploader_id,
        name=media.file_name(name),
        media_type=media.media_type(head=head, claimed=media_type),
    )
    attachment.size = _write_file(attachment, file)
    try:
        _insert_as_member(attachment)
    except BaseException as error:
        _remove_files([attachment.id])
        if isinstance(error, IntegrityError):  # the uploader's account went before the commit
            raise ChatNotFound from None
        raise
    return attachment


def _write_file(attachment: Attachment, file: IO[bytes]) -> int:
    """Write the file, as a whole or not at all, and return its size."""
    try:
        return files.write(_binding(attachment), file, limit=MAXIMUM_BYTES)
    except files.FileTooLarge:
        raise InvalidInput.of("file", "A file may have 25 MiB.", code="too_large") from None
    except keys.KeyDestroyed:
        raise ChatNotFound from None
    except (OSError, DecryptionError, UnknownMasterKey) as error:
        log.error("attachment.not_stored", chat_id=str(attachment.chat_id), reason=f"{type(error).__name__}: {error}")
        raise FileNotStored from error


@db.transactional()
def _insert_as_member(attachment: Attachment) -> None:
    """Insert the row, if the uploader still is a member: an upload takes its time. Whoever erases the chat waits."""
    _lock_chat(attachment.chat_id)
    chat_for_member(chat_id=attachment.chat_id, user_id=attachment.uploader_id)
    attachment.save(force_insert=True)


def _binding(attachment: Attachment) -> Binding:
    return Binding(chat_id=attachment.chat_id, attachment_id=attachment.id, cipher=keys.cipher(attachment.chat_id))


class Content:
    """Some bytes of an attachment, decrypted chunk by chunk as they are sent; its first chunk is decrypted already."""

    def __init__(self, file: SealedFile, part: range) -> None:
        self._file = file
        self._part = part
        self._indexes = file.chunks(part)
        self._first = file.read(self._indexes[0], part)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes, a chunk at a time, read and decrypted in a thread.

        Raises `DecryptionError` or `OSError` in the place of the first chunk that is not as it was stored.
        """
        try:
            yield self._first
            for index in self._indexes[1:]:
                yield await asyncio.to_thread(self._file.read, index, self._part)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_content(*, attachment: Attachment, part: range) -> Content:
    """Return the bytes `part` of an attachment, a part that is not empty and within its size. Raises `FileUnreadable`.

    Nothing is touched but the chunks that hold the part.
    """
    try:
        file = SealedFile(_binding(attachment), size=attachment.size)
        try:
            return Content(file, part)
        except BaseException:
            file.close()
            raise
    except (OSError, DecryptionError, UnknownMasterKey, keys.KeyDestroyed) as error:
        log.error("attachment.unreadable", attachment_id=str(attachment.id), reason=f"{type(error).__name__}: {error}")
        raise FileUnreadable from error


@db.transactional()
def delete(*, attachment_id: UUID) -> bool:
    """Delete an attachment that no message carries (any more), with its file, and tell whether it is gone.

    A message goes into the attachment's own chat, and takes its number from that chat's row: while this one holds the
    row nobody begins to carry the attachment, and who comes later finds it gone.
    """
    chat_id = Attachment.objects.filter(id=attachment_id).values_list("chat_id", flat=True).first()
    if chat_id is None:
        return True
    _lock_chat(chat_id)
    if Message.objects.filter(attachment_id=attachment_id).exists():
        return False
    Attachment.objects.filter(id=attachment_id).delete()
    db.on_commit(lambda: _remove_files([attachment_id]))
    return True


def _lock_chat(chat_id: UUID) -> None:
    """Keep a chat as it is until the open transaction ends: nothing is stored in it, and it is not erased."""
    db.lock(Chat.objects.filter(id=chat_id), written=False)


def delete_files(chat_id: UUID) -> None:
    """Remove the files of a chat once the open transaction, which erases the chat, has committed."""
    attachment_ids = list(Attachment.objects.filter(chat_id=chat_id).values_list("id", flat=True))
    db.on_commit(lambda: _remove_files(attachment_ids))


def _remove_files(attachment_ids: Sequence[UUID]) -> None:
    """Remove files that no row needs; one that cannot be removed now is left to the sweep."""
    for attachment_id in attachment_ids:
        try:
            files.remove(attachment_id)
        except OSError as error:
            log.warning("attachment.not_removed", attachment_id=str(attachment_id), reason=str(error))


def sweep_unsent(*, older_than: timedelta) -> int:
    """Delete the uploads that no message carries, with their files, and return how many they were."""
    before = timezone.now() - older_than
    swept = 0
    after: UUID | None = None
    while batch := _uploaded_before(before, after):
        sent = set(Message.objects.filter(attachment_id__in=batch).values_list("attachment_id", flat=True))
        swept += sum(delete(attachment_id=one) for one in batch if one not in sent)
        after = batch[-1]
    return swept


def _uploaded_before(moment: datetime, after: UUID | None) -> list[UUID]:
    rows = Attachment.objects.filter(created_at__lt=moment)
    if after is not None:
        rows = rows.filter(id__gt=after)
    return list(rows.order_by("id").values_list("id", flat=True)[:SWEEP_BATCH])


def sweep_files(*, older_than: timedelta) -> int:
    """Remove the files that have no row, left by processes that were killed, and return how many they were.

    Where the database knows no attachment at all, the files stay: it is more likely to be the wrong database. So they
    do while it takes no writes: it may be a copy that does not know them all yet. Raises `Maintenance`.
    """
    db.freezing.check_writable()
    before = timezone.now() - max(older_than, UNDER_WAY)
    swept = files.remove_drafts(before=before)
    if not Attachment.objects.exists():
        return swept
    found = list(files.written_before(before))
    for start in range(0, len(found), SWEEP_BATCH):
        batch = found[start : start + SWEEP_BATCH]
        known = set(Attachment.objects.filter(id__in=batch).values_list("id", flat=True))
        orphans = [one for one in batch if one not in known]
        _remove_files(orphans)
        swept += len(orphans)
    return swept
