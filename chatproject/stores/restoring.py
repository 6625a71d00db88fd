"""Brings a backup back: looks at all of it before anything is put in place, and throws nothing away."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from chatproject.disks import sync_directory
from chatproject.stores.backups import (
    CHUNK,
    DATABASE,
    FORMAT,
    MANIFEST,
    MEDIA,
    DigestReader,
    Manifest,
    database_path,
)
from chatproject.stores.places import StoreProblem
from messaging import keys
from messaging.crypto import DecryptionError, UnknownMasterKey, WrappedKey

UNTOUCHED = "; nothing was touched"
STAGING = ".restore-"


def restore(archive: Path, *, replace: bool = False) -> tuple[Manifest, list[Path]]:
    """Put the archive's database and files in place; return its manifest, and where what was there before is now.

    With `replace` what is there is moved into a directory beside. Raises `StoreProblem`, and then everything is as it
    was. Files are unpacked beside their place and renamed, so database and media may be on two file systems.
    """
    database, media = database_path(), Path(settings.MEDIA_ROOT)
    held = [path for path in (database, media) if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if held and not replace:
        raise StoreProblem(
            f"{held[0]} is there already -> say --replace to move it aside, or name another data directory"
        )
    if media.is_mount():
        raise StoreProblem(
            f"{media} is a file system of its own and cannot be exchanged as a whole -> restore into another "
            f"PARLEY_DATA_DIR, and copy its {MEDIA} there{UNTOUCHED}"
        )
    if database.exists():
        _refuse_while_in_use(database)
    with _staging(database.parent, media.parent) as (beside_database, beside_media):
        manifest = _unpack(archive, beside_database, beside_media)
        _examine(beside_database / DATABASE)
        aside = _move_aside(database, media) if held else []
        _put_in_place(beside_database, beside_media, database, media)
    return manifest, aside


@contextmanager
def _staging(*homes: Path) -> Iterator[list[Path]]:
    """Give an empty directory in each of these, or one for both, in which a part lies before it is put in place."""
    made: dict[Path, Path] = {}
    try:
        for home in homes:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            if home.resolve() in made:
                continue
            for left in home.glob(f"{STAGING}*"):  # of a restore that was killed
                _remove(left)
            staging = home / f"{STAGING}{os.getpid()}"
            staging.mkdir(mode=0o700)
            made[home.resolve()] = staging
        yield [made[home.resolve()] for home in homes]
    finally:
        for staging in made.values():
            _remove(staging)


def _unpack(archive: Path, beside_database: Path, beside_media: Path) -> Manifest:
    """Write the members out, each beside its place, and compare their digests with the manifest's."""
    found: dict[str, str] = {}
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(archive, mode="r:") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isfile() else None
                if source is None or not _is_ours(member.name):
                    raise StoreProblem(f"{archive} has a member {member.name!r} that no backup has{UNTOUCHED}")
                if member.name == MANIFEST:
                    manifest = json.load(source)
                    continue
                target = (beside_database if member.name == DATABASE else beside_media) / member.name
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                reader = DigestReader(source)
                with target.open("xb") as file:
                    os.fchmod(file.fileno(), 0o600)
                    while data := reader.read(CHUNK):
                        file.write(data)
                    os.fsync(file.fileno())
                found[member.name] = reader.hexdigest()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise StoreProblem(f"{archive} is no whole backup ({error}) -> take another one{UNTOUCHED}") from None
    except FileNotFoundError:
        raise StoreProblem(f"There is no file {archive} -> correct the path") from None
    if manifest is None or manifest.get("format") != FORMAT:
        raise StoreProblem(f"{archive} is cut short, or no backup of this Parley -> take another one{UNTOUCHED}")
    if wrong := sorted(
        name for name in {*found, *manifest["sha256"]} if found.get(name) != manifest["sha256"].get(name)
    ):
        raise StoreProblem(f"{archive} is damaged: {wrong[0]} is not as it was -> take another one{UNTOUCHED}")
    for directory in (beside_media, *(path for path in beside_media.rglob("*") if path.is_dir())):
        sync_directory(directory)
    return Manifest(**manifest)


def _is_ours(name: str) -> bool:
    return name in (MANIFEST, DATABASE) or (name.startswith(f"{MEDIA}/") and ".." not in Path(name).parts)


def _examine(database: Path) -> None:
    """Check that SQLite finds the database whole, and that the configured master keys open what is in it."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
            rows = connection.execute('SELECT "_id", "masterKeyId", wrapped FROM chat_keys').fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreProblem(f"The database in the archive is damaged ({error}){UNTOUCHED}") from None
    if verdict != "ok":
        raise StoreProblem(f"The database in the archive is damaged ({verdict}){UNTOUCHED}")
    for chat_id, master_key_id, wrapped in rows:
        try:
            keys.master_keys().unwrap(WrappedKey(master_key_id, wrapped))
        except UnknownMasterKey:
            raise StoreProblem(
                f"The backup needs the master key {master_key_id!r} -> put it into PARLEY_MASTER_KEYS{UNTOUCHED}"
            ) from None
        except DecryptionError:
            raise StoreProblem(
                f"The key of chat {chat_id} does not unwrap: PARLEY_MASTER_KEYS gives another key for "
                f"{master_key_id!r} than the backup was made with -> put that one back{UNTOUCHED}"
            ) from None


def _refuse_while_in_use(database: Path) -> None:
    """Raise `StoreProblem` while another process has the database open: it would go on writing into the old file."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            if mode == "delete":
                connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StoreProblem(f"{database} is in use -> stop every process of this service first") from None
            raise
        except sqlite3.DatabaseError:  # a damaged one is what a restore is for
            return


def _move_aside(database: Path, media: Path) -> list[Path]:
    """Move what is there into a directory beside it, and return that: two, where the database is elsewhere."""
    name = f"before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    used: list[Path] = []
    for path in (media, database, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))):
        if path.exists():
            aside = path.parent.resolve() / name
            if aside not in used:
                aside.mkdir(mode=0o700)
                used.append(aside)
            path.rename(aside / path.name)
    return used


def _put_in_place(beside_database: Path, beside_media: Path, database: Path, media: Path) -> None:
    """Rename the files, then the database: a service finds none before all is there."""
    if (beside_media / MEDIA).is_dir():
        if media.is_dir():
            media.rmdir()
        (beside_media / MEDIA).rename(media)
        sync_directory(media.parent)
    (beside_database / DATABASE).rename(database)
    sync_directory(database.parent)


def _remove(directory: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()
