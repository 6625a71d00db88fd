"""Saves the embedded default while it serves: the database by SQLite's own backup, and every file, as one tar.

The order makes the two fit. A file is written before its row, and removed after it: files that are archived before the
database, and those that came until after it, are at least all that its rows need. What else is archived is removed by
`sweep_attachments`. Secrets and master keys are never in it: without them a backup is worth nothing to a thief.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from chatproject import db
from chatproject.disks import sync_directory
from chatproject.stores.places import StoreProblem
from messaging.attachment_files import DRAFT_SUFFIX

DATABASE, MEDIA, MANIFEST = "parley.sqlite3", "media", "manifest.json"
FORMAT = 1
PAGES_AT_ONCE = 2000
CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says about itself; it is its last member."""

    format: int
    made_at: str
    """When the database was as it is in the archive (RFC 3339, UTC)."""
    users: int
    chats: int
    messages: int
    attachments: int
    missing: list[str]
    """Attachments of which the database has a row and the archive no file: deleted while the backup ran, or before."""
    master_keys: list[str]
    """The ids of the master keys that are needed to read it."""
    sha256: dict[str, str]
    """The digest of each member."""


def database_path() -> Path:
    """Return where the embedded database lies. Raises `StoreProblem` for another kind of store."""
    if db.vendor() != "sqlite":
        raise StoreProblem(
            f"This service keeps its data in {db.vendor()}, not in the embedded SQLite -> use that database's own "
            'tools: docs/operations.md, "Backup and restore"'
        )
    return Path(connections[DEFAULT_DB_ALIAS].settings_dict["NAME"])


def back_up(archive: Path, *, progress: Callable[[int], object] = lambda size: None) -> Manifest:
    """Write the archive, readable to its owner alone, and return its manifest; `progress` gets sizes in bytes.

    Nothing waits for it, and at its name there is either nothing or a whole archive. Raises `StoreProblem`, `OSError`.
    """
    source = database_path()
    if not source.exists():
        raise StoreProblem(f"There is no database {source} -> correct PARLEY_DATA_DIR or DATABASE_URL")
    if archive.exists():
        raise StoreProblem(f"{archive} is there already -> name a new file; nothing was overwritten")
    if not archive.parent.is_dir():
        raise StoreProblem(f"There is no directory {archive.parent} -> make it, or name another")
    draft = archive.with_name(archive.name + DRAFT_SUFFIX)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
                manifest = _Archive(tar, progress).fill(source, archive.parent)
            target.flush()
            os.fsync(target.fileno())
        draft.replace(archive)
        sync_directory(archive.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return manifest


class _Archive:
    """A tar on its way."""

    def __init__(self, tar: tarfile.TarFile, progress: Callable[[int], object]) -> None:
        self._tar, self._progress = tar, progress
        self._digests: dict[str, str] = {}

    def fill(self, source: Path, directory: Path) -> Manifest:
        self._add_media()
        with tempfile.TemporaryDirectory(prefix=".parley-backup-", dir=directory) as temporary:
            copy = Path(temporary) / DATABASE
            made_at = datetime.now(UTC)
            copy_database(source, copy)
            self._add(copy, DATABASE)
            self._add_media()
            manifest = self._manifest(copy, made_at)
        text = json.dumps(asdict(manifest), indent=1).encode()
        member = tarfile.TarInfo(MANIFEST)
        member.size, member.mode, member.mtime = len(text), 0o600, int(made_at.timestamp())
        self._tar.addfile(member, io.BytesIO(text))
        return manifest

    def _add_media(self) -> None:
        """Add the files that are not in it yet."""
        root = Path(settings.MEDIA_ROOT)
        for path in _files(root):
            name = f"{MEDIA}/{path.relative_to(root).as_posix()}"
            if name not in self._digests:
                self._add(path, name)

    def _add(self, path: Path, name: str) -> None:
        try:
            with path.open("rb") as file:
                member = self._tar.gettarinfo(arcname=name, fileobj=file)
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mode = 0o600
                reader = DigestReader(file)
                self._tar.addfile(member, reader)
        except FileNotFoundError:  # deleted since the directory was read; nobody needs it any more
            return
        self._digests[name] = reader.hexdigest()
        self._progress(member.size)

    def _manifest(self, copy: Path, made_at: datetime) -> Manifest:
        with closing(sqlite3.connect(copy)) as connection:
            counts = {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  our own names
                for table in ("users", "chats", "messages", "attachments")
            }
            missing = [name for name in attachment_names(connection) if f"{MEDIA}/{name}" not in self._digests]
            used = connection.execute('SELECT DISTINCT "masterKeyId" FROM chat_keys ORDER BY 1').fetchall()
        return Manifest(
            format=FORMAT,
            made_at=made_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            missing=missing,
            master_keys=[row[0] for row in used],
            sha256=self._digests,
            **counts,
        )


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database that is in use, as it is at one moment, without holding its writers up.

    The open read transaction keeps that moment: without it each write would make the backup begin anew.
    """
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reading.backup(writing, pages=PAGES_AT_ONCE)
        writing.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    target.chmod(0o600)


def attachment_names(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield where below `media/` the file of each attachment lies, as `messaging.attachment_files.path_of`."""
    for (key,) in connection.execute('SELECT "_id" FROM attachments'):
        yield f"attachments/{key[-2:]}/{UUID(key)}"


def _files(root: Path) -> Iterator[Path]:
    """Yield the files below, but those that are being written."""
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        if path.is_file() and path.suffix != DRAFT_SUFFIX:
            yield path


class DigestReader:
    """A file that keeps the digest of what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        """Return the digest of all that was read."""
        return self._digest.hexdigest()
