"""Tests of the master key's rotation: online, resumable, and never resurrecting a destroyed key."""

from __future__ import annotations

import base64
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from chatproject.env import BASE_DIR
from messaging import keys, rotation
from messaging.crypto import WrappedKey
from messaging.models import Chat, ChatKey, Message
from tests.messaging.seeds import NEW_KEY, OLD_KEY, chat_of, message_in, person, raw
from tests.stores.store import SQLITE_FILE

pytestmark = pytest.mark.django_db

OLD, NEW = ("old", OLD_KEY), ("new", NEW_KEY)
CHATS = 7


@pytest.fixture
def ada() -> User:
    """Somebody who writes."""
    return person("ada")


@pytest.fixture
def messages(ada: User, settings: Any) -> list[Message]:
    """A message in each of seven chats, written while the old master key was alone; then the new one was added."""
    settings.PARLEY_MASTER_KEYS = (OLD,)
    written = [message_in(chat_of(ada), ada, f"text {number}") for number in range(CHATS)]
    settings.PARLEY_MASTER_KEYS = (NEW, OLD)
    keys.forget()
    return written


def read_with(master_keys: tuple[tuple[str, bytes], ...], messages: list[Message], settings: Any) -> list[str | None]:
    """Return what the messages say when these master keys are all there is."""
    settings.PARLEY_MASTER_KEYS = master_keys
    keys.forget()
    return [Message.objects.get(id=message.id).content for message in messages]


def wrapped_by(master_key_id: str) -> int:
    """Return how many data keys this master key wraps."""
    return ChatKey.objects.filter(master_key_id=master_key_id).count()


def test_afterwards_the_new_key_alone_reads_everything(messages: list[Message], settings: Any) -> None:
    """Every data key is rewrapped, in batches, and no message is touched."""
    before = {message.id: raw("messages", "content", message.id) for message in messages}
    sizes: list[int] = []

    rotated = rotation.rotate(batch_size=3, progress=sizes.append)

    assert (rotated.rewrapped, rotated.overtaken, rotated.unknown, rotated.damaged) == (CHATS, 0, {}, [])
    assert sizes == [3, 3, 1]
    assert rotation.wrapped_by() == {"new": CHATS, "old": 0}
    assert read_with((NEW,), messages, settings) == [f"text {number}" for number in range(CHATS)]
    assert {message.id: raw("messages", "content", message.id) for message in messages} == before


def test_a_second_run_has_nothing_to_do(messages: list[Message]) -> None:
    """Rotating again changes no row."""
    rotation.rotate()
    before = list(ChatKey.objects.order_by("chat_id").values_list("chat_id", "wrapped"))

    rotated = rotation.rotate()

    assert rotated.rewrapped == rotation.outstanding() == 0
    assert list(ChatKey.objects.order_by("chat_id").values_list("chat_id", "wrapped")) == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rows", range(CHATS))
def test_killed_in_the_middle_it_goes_on_where_it_was(
    messages: list[Message], settings: Any, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """After a stop at any row everything is readable, whole batches are done, and a second run does the rest."""
    replace = rotation._replace
    done: list[object] = []

    def stopping(one: Any) -> int:
        if len(done) == rows:
            raise KeyboardInterrupt
        done.append(one)
        return replace(one)

    monkeypatch.setattr(rotation, "_replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(batch_size=3)
    monkeypatch.setattr(rotation, "_replace", replace)

    assert wrapped_by("new") == rows // 3 * 3
    assert read_with((NEW, OLD), messages, settings) == [f"text {number}" for number in range(CHATS)]
    assert rotation.rotate(batch_size=3).rewrapped == CHATS - rows // 3 * 3
    assert read_with((NEW,), messages, settings) == [f"text {number}" for number in range(CHATS)]


def test_a_key_destroyed_meanwhile_stays_destroyed(messages: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and writing a chat was erased: its key does not come back."""
    erased = messages[2].chat_id
    store = rotation._store

    def late(rewrapped: Any) -> int:
        Chat.objects.filter(id=erased).delete()
        return store(rewrapped)

    monkeypatch.setattr(rotation, "_store", late)

    rotated = rotation.rotate()

    assert (rotated.rewrapped, rotated.overtaken) == (CHATS - 1, 1)
    assert not ChatKey.objects.filter(chat_id=erased).exists()


@pytest.mark.parametrize("change", ["key", "name"])
def test_a_key_changed_meanwhile_is_left_alone(
    messages: list[Message], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Each row changes only if it still is as it was read."""
    other = {"wrapped": b"\x07" * 40} if change == "key" else {"master_key_id": "newer"}
    rows = ChatKey.objects.filter(chat_id=messages[4].chat_id)
    store = rotation._store

    def late(rewrapped: Any) -> int:
        rows.update(**other)
        return store(rewrapped)

    monkeypatch.setattr(rotation, "_store", late)

    rotated = rotation.rotate()

    assert (rotated.rewrapped, rotated.overtaken) == (CHATS - 1, 1)
    (row,) = rows.values(*other)
    assert {name: bytes(value) if name == "wrapped" else value for name, value in row.items()} == other


def test_keys_of_several_old_master_keys_are_moved(messages: list[Message], ada: User, settings: Any) -> None:
    """Whichever wrapped it, a data key ends under the first master key."""
    settings.PARLEY_MASTER_KEYS = (("older", b"\x33" * 32), OLD)
    older = message_in(chat_of(ada), ada, "older")
    settings.PARLEY_MASTER_KEYS = (NEW, OLD, ("older", b"\x33" * 32))

    rotation.rotate()

    assert rotation.wrapped_by() == {"new": CHATS + 1, "old": 0, "older": 0}
    assert read_with((NEW,), [older], settings) == ["older"]


def test_a_dry_run_writes_nothing(messages: list[Message]) -> None:
    """It counts what it would do."""
    assert rotation.rotate(dry_run=True).rewrapped == CHATS
    assert rotation.wrapped_by() == {"new": 0, "old": CHATS}


def test_unknown_and_damaged_keys_do_not_stop_the_others(messages: list[Message]) -> None:
    """They are counted by their master key, or listed by their chat, and left as they are."""
    ChatKey.objects.filter(chat_id__in=[messages[0].chat_id, messages[1].chat_id]).update(master_key_id="lost")
    ChatKey.objects.filter(chat_id=messages[2].chat_id).update(wrapped=bytes(40))

    rotated = rotation.rotate(batch_size=2)

    assert (rotated.rewrapped, rotated.unknown, rotated.damaged) == (CHATS - 3, {"lost": 2}, [messages[2].chat_id])
    assert rotation.wrapped_by() == {"new": CHATS - 3, "old": 1, "lost": 2}


def test_the_command_tells_when_the_old_key_may_go(messages: list[Message], capsys: pytest.CaptureFixture[str]) -> None:
    """It shows progress on stderr, and on stdout what each master key still wraps."""
    call_command("rotate_master_key", batch_size=3)

    out, err = capsys.readouterr()
    assert f"Rewrapped {CHATS} data keys with the master key 'new'." in out
    assert f"  new: wraps {CHATS} data keys (current)\n" in out
    assert "  old: wraps 0 data keys; may be removed from PARLEY_MASTER_KEYS once every server runs" in out
    assert re.search(rf"{CHATS}/{CHATS} \[.*keys/s\]", err)


def test_the_command_keeps_the_old_key_after_a_dry_run(
    messages: list[Message], capsys: pytest.CaptureFixture[str]
) -> None:
    """While it wraps anything, the old key is to be kept."""
    call_command("rotate_master_key", "--dry-run")

    out = capsys.readouterr().out
    assert f"Would rewrap {CHATS} data keys" in out
    assert f"  old: wraps {CHATS} data keys; keep it in PARLEY_MASTER_KEYS\n" in out
    assert wrapped_by("old") == CHATS


def test_the_command_fails_with_the_names_of_missing_keys(
    messages: list[Message], settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids, never key material."""
    ChatKey.objects.filter(chat_id=messages[0].chat_id).update(wrapped=bytes(40), master_key_id="new2")
    settings.PARLEY_MASTER_KEYS = (NEW, ("new2", b"\x44" * 32))

    with pytest.raises(CommandError) as caught:
        call_command("rotate_master_key")

    out, err = capsys.readouterr()
    assert caught.value.returncode == 1
    assert f"missing from PARLEY_MASTER_KEYS: 'old' ({CHATS - 1})." in str(caught.value)
    assert f"1 data keys were altered and cannot be unwrapped: chats {messages[0].chat_id}." in str(caught.value)
    assert f"  old: wraps {CHATS - 1} data keys and is NOT in PARLEY_MASTER_KEYS" in out
    for key in (OLD_KEY, NEW_KEY, b"\x44" * 32):
        for written in (base64.b64encode(key).decode(), key.hex(), repr(key)):
            assert written not in out + err + str(caught.value)


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_the_command_refuses_an_impossible_batch_size(size: str) -> None:
    """A batch has at least one key."""
    with pytest.raises(CommandError, match="batch-size"):
        call_command("rotate_master_key", f"--batch-size={size}")


def test_the_command_exits_with_one(tmp_path: Path, migrated_database: Path) -> None:
    """As a process: the shell sees a failure as 1."""
    shutil.copyfile(migrated_database, tmp_path / SQLITE_FILE)
    with closing(sqlite3.connect(tmp_path / SQLITE_FILE)) as database, database:
        chat_id, now = "019a000000007000800000000000000a", "2026-01-01 00:00:00"
        database.execute(
            'INSERT INTO chats (_id, kind, counter, "lastSeq", activity, roster, "changedAt", "createdAt") '
            "VALUES (?, 'group', 0, 0, ?, ?, ?, ?)",
            (chat_id, chat_id, chat_id, now, now),
        )
        database.execute(
            'INSERT INTO chat_keys (_id, "masterKeyId", wrapped, "createdAt") VALUES (?, ?, ?, ?)',
            (chat_id, "lost", b"x" * 40, now),
        )
    environment = {"PATH": "/usr/bin:/bin", "PARLEY_ENV": "test", "PARLEY_DATA_DIR": str(tmp_path)}

    failed = subprocess.run(
        [sys.executable, "manage.py", "rotate_master_key"],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert failed.returncode == 1
    assert "'lost' (1)" in failed.stderr


def test_a_rewrapped_row_is_what_the_new_key_wraps(messages: list[Message]) -> None:
    """The data key itself is the same before and after."""
    row = ChatKey.objects.get(chat_id=messages[0].chat_id)
    before = keys.master_keys().unwrap(WrappedKey(row.master_key_id, bytes(row.wrapped)))

    rotation.rotate()

    row.refresh_from_db()
    assert row.master_key_id == "new"
    assert keys.master_keys().unwrap(WrappedKey("new", bytes(row.wrapped))) == before
