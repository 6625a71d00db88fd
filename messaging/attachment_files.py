"""Keeps the bytes of attachments: the one place that touches their files, in which nothing is readable.

A file is a row of sealed chunks (`messaging.crypto`), each of 64 KiB of plaintext but the last. Its associated data
binds a chunk to its chat, its attachment, its place and whether it is the last one, so that moving, swapping, dropping
or adding chunks is found out, and any part can be read alone (the STREAM construction: Hoang, Reyhanitabar, Rogaway
and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from chatproject.disks import sync_directory
from messaging.crypto import OVERHEAD, DecryptionError, seal, unseal

CHUNK = 64 * 1024
SEALED_CHUNK = CHUNK + OVERHEAD
DRAFT_SUFFIX = ".part"


class FileTooLarge(Exception):
    """The file is longer than the limit it was to be written under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What the chunks of one file are sealed with and bound to."""

    chat_id: UUID
    attachment_id: UUID
    cipher: AESGCM

    def seal(self, chunk: bytes, *, index: int, last: bool) -> bytes:
        """Encrypt the chunk at this place."""
        return seal(self.cipher, chunk, self._associated_data(index, last))

    def unseal(self, sealed: bytes, *, index: int, last: bool) -> bytes:
        """Return what `seal` was given. Raises `DecryptionError`."""
        return unseal(self.cipher, sealed, self._associated_data(index, last))

    def _associated_data(self, index: int, last: bool) -> bytes:
        ids = self.chat_id.bytes + self.attachment_id.bytes
        return b"attachments.file\0" + ids + index.to_bytes(8, "big") + bytes([last])


def path_of(attachment_id: UUID) -> Path:
    """Return where a file lies: spread over 256 directories by the random end of its id."""
    return _root() / attachment_id.hex[-2:] / str(attachment_id)


def write(binding: Binding, source: IO[bytes], *, limit: int) -> int:
    """Seal everything `source` gives into the attachment's file and return its plain size in bytes.

    When this returns, the whole file is on the disk under its name; when it raises, nothing is left of it. Raises
    `FileTooLarge`, or `OSError` when the disk is full or away.
    """
    path = path_of(binding.attachment_id)
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with draft.open("xb") as target:
            size = _write_chunks(binding, source, target, limit)
            target.flush()
            os.fsync(target.fileno())
        draft.replace(path)
        sync_directory(path.parent)
        sync_directory(path.parent.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    return size


def _write_chunks(binding: Binding, source: IO[bytes], target: BinaryIO, limit: int) -> int:
    size = index = 0
    chunk = _read_chunk(source)
    while True:
        size += len(chunk)
        if size > limit:
            raise FileTooLarge
        following = _read_chunk(source)
        target.write(binding.seal(chunk, index=index, last=not following))
        if not following:
            return size
        chunk, index = following, index + 1


def _read_chunk(source: IO[bytes]) -> bytes:
    """Read a whole chunk, also from a source that gives less than it is asked for; less means the end."""
    chunk = source.read(CHUNK)
    while 0 < len(chunk) < CHUNK and (more := source.read(CHUNK - len(chunk))):
        chunk += more
    return chunk


class SealedFile:
    """An attachment's file, opened to read any part of it."""

    def __init__(self, binding: Binding, *, size: int) -> None:
        """`size` is the plain size in bytes. Raises `OSError`, or `DecryptionError` when the file's length is wrong."""
        self._binding = binding
        self._size = size
        self._last = (size - 1) // CHUNK
        self._file = path_of(binding.attachment_id).open("rb")
        if os.fstat(self._file.fileno()).st_size != size + (self._last + 1) * OVERHEAD:
            self._file.close()
            raise DecryptionError("the file is cut short, or longer than it was")

    def chunks(self, part: range) -> range:
        """Return the indexes of the chunks that hold these bytes."""
        return range(part.start // CHUNK, (part.stop - 1) // CHUNK + 1)

    def read(self, index: int, part: range) -> bytes:
        """Decrypt one chunk and return what it holds of `part`. Raises `OSError` or `DecryptionError`."""
        first = index * CHUNK
        self._file.seek(index * SEALED_CHUNK)
        chunk = self._binding.unseal(self._file.read(SEALED_CHUNK), index=index, last=index == self._last)
        if len(chunk) != min(CHUNK, self._size - first):
            raise DecryptionError("a chunk is shorter or longer than its place")
        return chunk[max(0, part.start - first) : part.stop - first]

    def close(self) -> None:
        """Close the file; twice is as good as once."""
        self._file.close()


def remove(attachment_id: UUID) -> None:
    """Remove a file, if it is there. Raises `OSError`."""
    path_of(attachment_id).unlink(missing_ok=True)


def written_before(moment: datetime) -> Iterator[UUID]:
    """Yield the attachment ids of the files last written before the moment."""
    for path in _older(moment):
        if path.suffix != DRAFT_SUFFIX:
            yield UUID(path.name)


def remove_drafts(*, before: datetime) -> int:
    """Remove what writers that were killed have left, and return how many files that were. Raises `OSError`."""
    drafts = [path for path in _older(before) if path.suffix == DRAFT_SUFFIX]
    for path in drafts:
        path.unlink(missing_ok=True)
    return len(drafts)


def _older(moment: datetime) -> Iterator[Path]:
    for path in _root().glob("??/*"):
        if path.stat().st_mtime < moment.timestamp():
            yield path


def _root() -> Path:
    return Path(settings.MEDIA_ROOT) / "attachments"
