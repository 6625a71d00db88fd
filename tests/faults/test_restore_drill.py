"""The restore drill: a backup of a server under load, brought back elsewhere, holds all that was acked before it."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.faults.test_store_copy import Writer, _everything_is_there, fails, fill, manage
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


async def test_restore_drill(daphne: DaphneFactory, tmp_path: Path) -> None:
    """Back up under load, write more, stop, restore into a new data directory, start, look."""
    server = daphne()
    ada, bob = await register(server, "ada"), await register(server, "bob")
    chat_id = await fill(server, ada, bob, 200)
    attachment_ids = [await attach(server, ada, chat_id) for _ in range(3)]
    archive = tmp_path / "backup.tar"
    writer = Writer(ada, chat_id)
    writer.start(server)
    await asyncio.sleep(1)

    acked = list(writer.acked)
    said = await manage(server, "backup", str(archive))
    await asyncio.sleep(0.5)
    await writer.stop()
    assert len(writer.acked) > len(acked) > 0
    server.stop()
    assert "Not in it: the secrets" in said
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    restored = daphne(data_dir=tmp_path / "restored", started=False)
    restored.environment = {**server.environment, "PARLEY_DATA_DIR": str(restored.data_dir)}
    (restored.data_dir / "parley.sqlite3").unlink()
    await manage(restored, "restore", str(archive))
    await manage(restored, "migrate", "--verbosity", "0")
    restored.start()

    await _everything_is_there(restored, ada, chat_id, acked)
    async with httpx.AsyncClient(base_url=restored.url, headers=bob.headers, timeout=20) as client:
        files = [await client.get(f"/attachment/{one}") for one in attachment_ids]
    assert [one.content for one in files] == [FILE] * 3


async def test_a_restore_touches_nothing_before_it_has_looked(daphne: DaphneFactory, tmp_path: Path) -> None:
    """In use, not empty, damaged, cut short, other keys: one line each, and everything is as it was."""
    server = daphne()
    ada, bob = await register(server, "ada"), await register(server, "bob")
    chat_id = await fill(server, ada, bob, 50)
    await attach(server, ada, chat_id)
    archive, damaged, short = (tmp_path / name for name in ("backup.tar", "damaged.tar", "short.tar"))
    await manage(server, "backup", str(archive))
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        member = next(one for one in tar if one.name.startswith("media/"))
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["attachments"] == 1
    place = member.offset_data + 100
    damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    short.write_bytes(whole[: len(whole) // 2])

    assert "is there already" in fails(server, "backup", str(archive))
    assert "is there already" in fails(server, "restore", str(archive))
    assert "is in use" in fails(server, "restore", str(archive), "--replace")
    server.stop()
    assert f"{member.name} is not as it was" in fails(server, "restore", str(damaged), "--replace")
    assert "no whole backup" in fails(server, "restore", str(short), "--replace")
    assert "There is no file" in fails(server, "restore", str(tmp_path / "nothing.tar"), "--replace")
    own_keys = server.environment
    server.environment = {**own_keys, "PARLEY_MASTER_KEYS": "other:" + "A" * 43 + "="}
    assert "needs the master key" in fails(server, "restore", str(archive), "--replace")
    server.environment = own_keys
    left = {path.name for path in server.data_dir.iterdir()}
    assert left - {"parley.sqlite3-wal", "parley.sqlite3-shm"} == {"media", "parley.sqlite3", "secrets.env"}

    said = await manage(server, "restore", str(archive), "--replace")
    assert "What was there before is in" in said
    server.start()
    await _everything_is_there(server, ada, chat_id, [])


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the test's own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        assert Path(directory).stat().st_dev != tmp_path.stat().st_dev
        yield Path(directory)


async def test_a_database_on_another_disk(daphne: DaphneFactory, tmp_path: Path, other_disk: Path) -> None:
    """Database and files are exchanged each on its own file system, and what was there is beside each."""
    server = daphne(DATABASE_URL=f"sqlite:///{other_disk}/chat.db")
    archive = tmp_path / "backup.tar"
    ada, chat_id = await _with_a_backup(server, archive)
    server.stop()

    said = await manage(server, "restore", str(archive), "--replace")
    server.start()

    assert await _everything_is_there(server, ada, chat_id, []) == 102
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


async def _with_a_backup(server: Daphne, archive: Path) -> tuple[Account, str]:
    """Fill a server, back it up and stop it; return somebody and the chat."""
    ada, bob = await register(server, "ada"), await register(server, "bob")
    chat_id = await fill(server, ada, bob, 100)
    await attach(server, ada, chat_id)
    await manage(server, "backup", str(archive))
    return ada, chat_id


async def test_a_full_disk_leaves_nothing_half_made(daphne: DaphneFactory, tmp_path: Path) -> None:
    """A backup leaves no file, a restore no directory, and the service goes on with what it had."""
    server = daphne()
    archive, second = tmp_path / "backups" / "one.tar", tmp_path / "backups" / "two.tar"
    archive.parent.mkdir()
    ada, chat_id = await _with_a_backup(server, archive)
    before = {path.name for path in server.data_dir.iterdir()}

    said = [await asyncio.to_thread(fails_for_space, server, "backup", str(second))]
    assert list(archive.parent.iterdir()) == [archive]
    server.stop()
    said.append(await asyncio.to_thread(fails_for_space, server, "restore", str(archive), "--replace"))

    assert all("make room" in one for one in said), said
    assert {path.name for path in server.data_dir.iterdir()} <= before
    server.start()
    assert await _everything_is_there(server, ada, chat_id, []) == 102


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


async def test_a_restore_that_is_killed(daphne: DaphneFactory, tmp_path: Path) -> None:
    """While it unpacks, the service has what it had; the next restore clears up and succeeds."""
    server = daphne()
    archive = tmp_path / "one.tar"
    ada, chat_id = await _with_a_backup(server, archive)
    server.stop()

    await asyncio.to_thread(kill_while_it_unpacks, server, archive)
    assert list(server.data_dir.glob(".restore-*"))

    server.start()
    assert await _everything_is_there(server, ada, chat_id, []) == 102
    server.stop()
    await manage(server, "restore", str(archive), "--replace")
    assert not list(server.data_dir.glob(".restore-*"))
    server.start()
    assert await _everything_is_there(server, ada, chat_id, []) == 102


async def test_a_restore_that_is_killed_between_two_renames(daphne: DaphneFactory, tmp_path: Path) -> None:
    """The data directory is empty then, and all that was in it can be moved back."""
    server = daphne()
    archive = tmp_path / "one.tar"
    ada, chat_id = await _with_a_backup(server, archive)
    server.stop()

    await asyncio.to_thread(kill_between_the_renames, server, archive)
    assert not (server.data_dir / "parley.sqlite3").exists()
    (aside,) = server.data_dir.glob("before-restore-*")
    for path in aside.iterdir():
        path.rename(server.data_dir / path.name)

    server.start()
    assert await _everything_is_there(server, ada, chat_id, []) == 102


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
    chat_id = await fill(server, ada, bob, 200)
    writer = Writer(ada, chat_id)
    writer.start(server)
    await asyncio.sleep(1)

    acked = list(writer.acked)
    await asyncio.to_thread(run, dump)
    await asyncio.sleep(0.5)
    await writer.stop()
    assert len(writer.acked) > len(acked) > 0
    server.stop()
    await asyncio.to_thread(run, create)
    await asyncio.to_thread(run, restore)
    restored = daphne(DATABASE_URL=restored_url)

    held = await _everything_is_there(restored, ada, chat_id, acked)
    assert 201 + len(acked) <= held < 201 + len(writer.acked)
