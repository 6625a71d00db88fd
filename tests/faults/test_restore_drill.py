"""The restore drill: a backup of a server under load, brought back elsewhere, holds all that was acked before it."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.faults.devices import until
from tests.faults.test_store_copy import Writer, _everything_is_there, fails, fill, manage, refusals
from tests.live.clients import Account, register
from tests.live.server import ROOT, Daphne
from tests.stores.postgres import Postgres

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(200)]

FILE = b"a file that is sent along" * 5000


async def attach(server: Daphne, account: Account, chat_id: str) -> str:
    """Send a file and return its id."""
    async with httpx.AsyncClient(base_url=server.url, headers=account.headers, timeout=20) as client:
        upload = await client.post("/attachment", data={"chatId": chat_id}, files={"file": FILE})
        attachment_id = upload.json()["id"]
        message = {"chatId": chat_id, "type": "file", "attachmentId": attachment_id, "content": ""}
        sent = await client.post("/chat/message", json=message)
    assert sent.status_code == 201, sent.text
    return str(attachment_id)


@dataclass
class Saved:
    """An installation at rest and its backup: two people, `messages` in their chat, one of them with a file."""

    data_dir: Path
    archive: Path
    ada: Account
    bob: Account
    chat_id: str
    attachment_id: str
    messages: int

    def copy(self, daphne: DaphneFactory, data_dir: Path, **options: Any) -> Daphne:
        """Give a test the installation as its own, with the same secrets; not started yet."""
        shutil.copytree(self.data_dir, data_dir)
        return daphne(data_dir=data_dir, started=False, migrate=False, **options)


@pytest.fixture(scope="module")
def saved(module_daphne: DaphneFactory, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """One for all: what restores find in it is the same for each."""

    async def fill_it() -> tuple[Account, Account, str, str]:
        ada, bob = await register(server, "ada"), await register(server, "bob")
        chat_id = await fill(server, ada, bob, 100)
        return ada, bob, chat_id, await attach(server, ada, chat_id)

    server = module_daphne()
    archive = tmp_path_factory.mktemp("backups") / "one.tar"
    filled = asyncio.run(fill_it())
    server.manage("backup", str(archive))
    server.stop()
    return Saved(server.data_dir, archive, *filled, messages=102)


def names_in(data_dir: Path) -> set[str]:
    """Return what is in a data directory, but for the log that SQLite keeps beside a database."""
    return {path.name for path in data_dir.iterdir()} - {"parley.sqlite3-wal", "parley.sqlite3-shm"}


async def test_restore_drill(daphne: DaphneFactory, saved: Saved, tmp_path: Path) -> None:
    """Back up under load, write more, stop, restore into a new data directory, start, look."""
    server = saved.copy(daphne, tmp_path / "data")
    server.start()
    ada, bob, chat_id = saved.ada, saved.bob, saved.chat_id
    attachment_ids = [saved.attachment_id, await attach(server, ada, chat_id)]
    archive = tmp_path / "backup.tar"
    writer = Writer(ada, chat_id)
    writer.start(server)
    await until(lambda: len(writer.acked) > 50, seconds=20, what="nobody writes")

    acked = list(writer.acked)
    said = await manage(server, "backup", str(archive))
    held = len(writer.acked)
    await until(lambda: len(writer.acked) > held, seconds=20, what="nobody writes any more")
    await writer.stop()
    assert len(writer.acked) > len(acked) > 0
    server.stop()
    assert "Not in it: the secrets" in said
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    restored = daphne(data_dir=tmp_path / "restored", started=False, migrate=False)
    restored.environment = {**server.environment, "PARLEY_DATA_DIR": str(restored.data_dir)}
    await manage(restored, "restore", str(archive))
    await manage(restored, "migrate", "--verbosity", "0")
    restored.start()

    await _everything_is_there(restored, ada, chat_id, acked)
    async with httpx.AsyncClient(base_url=restored.url, headers=bob.headers, timeout=20) as client:
        files = [await client.get(f"/attachment/{one}") for one in attachment_ids]
    assert [one.content for one in files] == [FILE] * 2


async def test_a_restore_touches_nothing_before_it_has_looked(
    daphne: DaphneFactory, saved: Saved, tmp_path: Path
) -> None:
    """In use, not empty, damaged, cut short, other keys: one line each, and everything is as it was."""
    server, archive = saved.copy(daphne, tmp_path / "data"), str(saved.archive)
    damaged, short = tmp_path / "damaged.tar", tmp_path / "short.tar"
    whole = saved.archive.read_bytes()
    with tarfile.open(archive) as tar:
        member = next(one for one in tar if one.name.startswith("media/"))
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["attachments"] == 1
    place = member.offset_data + 100
    damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    short.write_bytes(whole[: len(whole) // 2])

    server.start()
    second, not_empty, in_use = refusals(
        server, ("backup", archive), ("restore", archive), ("restore", archive, "--replace")
    )
    assert "is there already" in second
    assert "is there already" in not_empty
    assert "is in use" in in_use
    server.stop()
    found = refusals(
        server, *(("restore", str(one), "--replace") for one in (damaged, short, tmp_path / "nothing.tar"))
    )
    expected = (f"{member.name} is not as it was", "no whole backup", "There is no file")
    assert [problem in said for said, problem in zip(found, expected, strict=True)] == [True] * 3, found
    own_keys = server.environment
    server.environment = {**own_keys, "PARLEY_MASTER_KEYS": "other:" + "A" * 43 + "="}
    assert "needs the master key" in fails(server, "restore", archive, "--replace")
    server.environment = own_keys
    assert names_in(server.data_dir) == {"media", "parley.sqlite3", "secrets.env"}

    said = await manage(server, "restore", archive, "--replace")
    assert "What was there before is in" in said
    server.start()
    assert await _everything_is_there(server, saved.ada, saved.chat_id, []) == saved.messages


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the test's own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        assert Path(directory).stat().st_dev != tmp_path.stat().st_dev
        yield Path(directory)


async def test_a_database_on_another_disk(
    daphne: DaphneFactory, saved: Saved, tmp_path: Path, other_disk: Path
) -> None:
    """Database and files are exchanged each on its own file system, and what was there is beside each."""
    server = saved.copy(daphne, tmp_path / "data", DATABASE_URL=f"sqlite:///{other_disk}/chat.db")
    shutil.move(server.data_dir / "parley.sqlite3", other_disk / "chat.db")

    said = await manage(server, "restore", str(saved.archive), "--replace")
    server.start()

    assert await _everything_is_there(server, saved.ada, saved.chat_id, []) == saved.messages
    homes = [server.data_dir, other_disk]
    aside = [one for home in homes for one in home.glob("before-restore-*")]
    assert [min(path.name for path in one.iterdir()) for one in aside] == ["media", "chat.db"]
    assert all(str(one) in said for one in aside)
    assert not [one for home in homes for one in home.glob(".restore-*")]


LIMIT_KILOBYTES = 200
"""More than the one attachment, less than the database."""


def fails_for_space(server: Daphne, *arguments: str) -> str:
    """Run a command whose files cannot grow beyond the limit, and return the one line in which it says so."""
    done = subprocess.run(
        ["bash", "-c", f'ulimit -f {LIMIT_KILOBYTES}; exec "$@"', "-", sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    return done.stderr.strip().splitlines()[-1]


async def test_a_full_disk_leaves_nothing_half_made(daphne: DaphneFactory, saved: Saved, tmp_path: Path) -> None:
    """A backup leaves no file, a restore no directory, and the service goes on with what it had."""
    server = saved.copy(daphne, tmp_path / "data")
    backups = tmp_path / "backups"
    backups.mkdir()
    before = names_in(server.data_dir)

    said = [fails_for_space(server, "backup", str(backups / "two.tar"))]
    assert not list(backups.iterdir())
    said.append(fails_for_space(server, "restore", str(saved.archive), "--replace"))

    assert all("make room" in one for one in said), said
    assert names_in(server.data_dir) == before
    server.start()
    assert await _everything_is_there(server, saved.ada, saved.chat_id, []) == saved.messages


def kill_while_it_unpacks(server: Daphne, archive: Path) -> None:
    """Begin a restore, and kill it as soon as there is something on the way."""
    restoring = subprocess.Popen(
        [sys.executable, "manage.py", "restore", str(archive), "--replace"],
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.DEVNULL,
    )
    while not list(server.data_dir.glob(".restore-*")) and restoring.poll() is None:
        time.sleep(0.0005)
    restoring.kill()
    assert restoring.wait() == -signal.SIGKILL


KILLED_IN_THE_MIDST = """
import os, signal
from pathlib import Path
from chatproject.stores import restoring
restoring._put_in_place = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
restoring.restore(Path({archive!r}), replace=True)
"""


def kill_between_the_renames(server: Daphne, archive: Path) -> None:
    """Restore, and kill it when what was there is aside and nothing is in its place."""
    command = [sys.executable, "manage.py", "shell", "-c", KILLED_IN_THE_MIDST.format(archive=str(archive))]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, check=False)
    assert done.returncode == -signal.SIGKILL


async def test_a_restore_that_is_killed(daphne: DaphneFactory, saved: Saved, tmp_path: Path) -> None:
    """While it unpacks, the service has what it had; the next restore clears up and succeeds."""
    server = saved.copy(daphne, tmp_path / "data")

    kill_while_it_unpacks(server, saved.archive)
    assert list(server.data_dir.glob(".restore-*"))

    server.start()
    assert await _everything_is_there(server, saved.ada, saved.chat_id, []) == saved.messages
    server.stop()
    await manage(server, "restore", str(saved.archive), "--replace")
    assert not list(server.data_dir.glob(".restore-*"))
    server.start()
    assert await _everything_is_there(server, saved.ada, saved.chat_id, []) == saved.messages


async def test_a_restore_that_is_killed_between_two_renames(
    daphne: DaphneFactory, saved: Saved, tmp_path: Path
) -> None:
    """The data directory is empty then, and all that was in it can be moved back."""
    server = saved.copy(daphne, tmp_path / "data")

    kill_between_the_renames(server, saved.archive)
    assert not (server.data_dir / "parley.sqlite3").exists()
    (aside,) = server.data_dir.glob("before-restore-*")
    for path in aside.iterdir():
        path.rename(server.data_dir / path.name)

    server.start()
    assert await _everything_is_there(server, saved.ada, saved.chat_id, []) == saved.messages


def documented(*programs: str) -> list[str]:
    """Return the lines of docs/operations.md that call these programs, without their comments."""
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    found = [
        line.partition("  #")[0].rstrip() for line in lines if line.startswith(tuple(f"{one} -" for one in programs))
    ]
    assert [line.split()[0] for line in found] == list(programs)
    return found


async def test_restore_drill_with_postgresql(daphne: DaphneFactory, own_postgres: Postgres, tmp_path: Path) -> None:
    """The commands of docs/operations.md, in their order: dump under load, restore into a new database, start, look."""
    server = daphne(DATABASE_URL=own_postgres.url)
    restored_url = urlsplit(own_postgres.url)._replace(path="/restored").geturl()
    programs = Path(own_postgres.command[0]).parent
    environment = {
        **server.environment,
        "PATH": f"{programs}:{server.environment['PATH']}",
        "RESTORED_URL": restored_url,
    }

    def run(line: str) -> None:
        subprocess.run(["bash", "-c", line.replace("/backup/", f"{tmp_path}/")], env=environment, check=True)

    dump, create, restore = documented("pg_dump", "psql", "pg_restore")
    ada, bob = await register(server, "ada"), await register(server, "bob")
    chat_id = await fill(server, ada, bob, 100)
    writer = Writer(ada, chat_id)
    writer.start(server)
    await until(lambda: len(writer.acked) > 50, seconds=20, what="nobody writes")

    acked = list(writer.acked)
    await asyncio.to_thread(run, dump)
    held = len(writer.acked)
    await until(lambda: len(writer.acked) > held, seconds=20, what="nobody writes any more")
    await writer.stop()
    assert len(writer.acked) > len(acked) > 0
    server.stop()
    await asyncio.to_thread(run, create)
    await asyncio.to_thread(run, restore)
    restored = daphne(DATABASE_URL=restored_url)

    held = await _everything_is_there(restored, ada, chat_id, acked)
    assert 101 + len(acked) <= held < 101 + len(writer.acked)
