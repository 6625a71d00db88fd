"""The restore drill: a backup of a server under load, brought back elsewhere, holds all that was acked before it."""

from __future__ import annotations

import asyncio
import json
import stat
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.conftest import DaphneFactory
from tests.faults.test_store_copy import Writer, _everything_is_there, fails, fill, manage
from tests.live.clients import Account, register
from tests.live.server import Daphne

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
