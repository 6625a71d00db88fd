"""A service moves to another store: the copy is killed, people go on writing, and nothing that was acked is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import DaphneFactory
from tests.faults.devices import until
from tests.live.clients import PASSWORD, Account, Talker, register
from tests.live.server import ROOT, Daphne
from tests.stores.mongodb import MongoWire
from tests.stores.postgres import Postgres

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

MESSAGES = 300
BATCH = "20"


class Writer:
    """Writes into a chat without an end, and repeats what was refused for maintenance or went nowhere."""

    def __init__(self, account: Account, chat_id: str) -> None:
        self.account, self.chat_id = account, chat_id
        self.acked: list[str] = []
        self.refusals: list[dict[str, Any]] = []
        self.server: Daphne | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, server: Daphne) -> None:
        """Begin, or go on with another server."""
        self.server = server
        self.task = asyncio.create_task(self._write(server))

    async def stop(self) -> None:
        """End."""
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def _write(self, server: Daphne) -> None:
        async with Talker(server, self.account) as talker:
            while True:
                content = f"word {len(self.acked)}"
                answer = await talker.call("message:send", {"chatId": self.chat_id, "content": content})
                if "error" in answer:
                    self.refusals.append(answer["error"])
                    await asyncio.sleep(0.1)
                    continue
                self.acked.append(answer["data"]["message"]["id"])
                await asyncio.sleep(0.005)


async def fill(server: Daphne, account: Account, other: Account, count: int) -> str:
    """Write many messages and return their chat."""
    async with Talker(server, account) as talker:
        chat_id = (await talker.say("first", receiverId=other.id))["chatId"]
        for start in range(0, count, 50):
            calls = [talker.say(f"message {start + number}", chatId=chat_id) for number in range(50)]
            await asyncio.gather(*calls)
    return str(chat_id)


async def manage(server: Daphne, *arguments: str) -> str:
    """Run a command beside the server."""
    return await asyncio.to_thread(server.manage, *arguments)


def fails(server: Daphne, *arguments: str) -> str:
    """Run a command that is to fail, and return the one line in which it says why."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr, done.stderr
    return last


_REFUSED = """
import json
from django.core.management import CommandError, call_command
for command in {commands!r}:
    try:
        call_command(*command)
    except CommandError as error:
        print(json.dumps(str(error)))
    else:
        print("null")
"""


def refusals(server: Daphne, *commands: tuple[str, ...]) -> list[str]:
    """Run commands that are to fail, all in one process, and return the one line in which each says why."""
    lines = server.manage("shell", "--no-imports", "-c", _REFUSED.format(commands=commands)).splitlines()
    said = [json.loads(line) for line in lines if line.startswith(('"', "null"))]
    assert len(said) == len(commands), lines
    assert all(one and "\n" not in one for one in said), said
    return said


_FROZEN_AND_COPIED = """
from django.core.management import call_command
from chatproject.stores import maintenance
maintenance.end()
maintenance.begin(wait=lambda seconds, why: None)
call_command("store_copy", "--to", {url!r})
call_command("staff_rights", "dump")
"""


def take_over(server: Daphne, url: str) -> str:
    """Take a store into service, into maintenance at once, as nobody writes, and copy it; return what that says."""
    return server.manage("shell", "--no-imports", "-c", _FROZEN_AND_COPIED.format(url=url))


def kill_halfway(server: Daphne, target: str) -> int:
    """Begin a copy into PostgreSQL, kill it in the midst of the messages, and return how many are there."""
    copying = subprocess.Popen(
        [sys.executable, "manage.py", "store_copy", "--to", target, "--batch-size", BATCH],
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with psycopg.connect(target, autocommit=True) as connection:

        def held() -> int:
            row = connection.execute("SELECT count(*) FROM messages").fetchone()
            assert row is not None
            return int(row[0])

        while not held() and copying.poll() is None:
            time.sleep(0.001)
        copying.send_signal(signal.SIGKILL)
        copying.wait()
        return held()


async def test_a_service_moves_while_people_write(
    daphne: DaphneFactory, own_postgres: Postgres, tmp_path: Path
) -> None:
    """Killed, resumed, run again in maintenance, verified: then the new store serves, with every acked message."""
    old = daphne()
    new = daphne(DATABASE_URL=own_postgres.url, started=False)
    ada, bob = await register(old, "ada"), await register(old, "bob")
    chat_id = await fill(old, ada, bob, MESSAGES)
    writer = Writer(ada, chat_id)

    writer.start(old)
    held = await asyncio.to_thread(kill_halfway, old, own_postgres.url)
    assert 0 < held < MESSAGES
    assert "unfinished copy" in await asyncio.to_thread(fails, new, "maintenance", "off")
    resumed = await manage(old, "store_copy", "--to", own_postgres.url, "--batch-size", BATCH)
    assert "maintenance on, then run this again" in resumed
    assert not writer.refusals

    await manage(old, "maintenance", "on")
    await asyncio.sleep(0.5)
    frozen_at = len(writer.acked)
    await _doors_in_maintenance(old, ada, chat_id)
    final = await manage(old, "store_copy", "--to", own_postgres.url)
    await writer.stop()
    assert len(writer.acked) == frozen_at
    assert {one["code"] for one in writer.refusals} == {"maintenance"}
    assert {one["retryAfter"] for one in writer.refusals} == {5}
    assert "DIFFER" not in final
    assert "maintenance off" in final

    new.start()
    assert "takes writes again" in await manage(new, "maintenance", "off")
    give_up = ("maintenance", "off", "--give-up-copy", own_postgres.url)
    assert "was taken into service" in await asyncio.to_thread(fails, old, *give_up)
    writer.start(new)
    await until(lambda: len(writer.acked) > frozen_at, seconds=20, what="the new store takes no writes")
    await writer.stop()
    await _everything_is_there(new, ada, chat_id, writer.acked)
    assert "Traceback" not in old.log


async def _doors_in_maintenance(server: Daphne, account: Account, chat_id: str) -> None:
    """What writes is answered with 503, when to come back, and no harm; what reads as ever."""
    everybody = {"username": "latecomer", "email": "latecomer@example.org", "password": PASSWORD}
    async with httpx.AsyncClient(base_url=server.url, headers=account.headers, timeout=20) as client:
        refused = [
            await client.post("/auth/register", json=everybody),
            await client.post("/auth/refresh", json={"refreshToken": account.refresh_token}),
            await client.post("/chat/message", json={"chatId": chat_id, "content": "x"}),
            await client.post(f"/chat/{chat_id}/read", json={"seq": 3}),
            await client.post("/attachment", data={"chatId": chat_id}, files={"file": b"x"}),
            await client.put("/user/status", json={"status": "away"}),
        ]
        read = [await client.get(path) for path in ("/chat", f"/chat/{chat_id}", "/user/me", "/readyz")]
    assert [(one.status_code, one.json()["error"]["code"]) for one in refused] == [(503, "maintenance")] * 6
    assert {one.headers["Retry-After"] for one in refused} == {"5"}
    assert [answer.status_code for answer in read] == [200] * 4
    assert not [path for path in (server.data_dir / "media").rglob("*") if path.is_file()]


async def _everything_is_there(server: Daphne, account: Account, chat_id: str, acked: list[str]) -> int:
    """Read the whole chat: every acked message once, and no gap in the numbers; return how many there are."""
    found: list[dict[str, Any]] = []
    after = 0
    async with httpx.AsyncClient(base_url=server.url, headers=account.headers, timeout=20) as client:
        while page := (await client.get(f"/chat/{chat_id}", params={"after": after})).json()["messages"]:
            found += page
            after = page[-1]["rev"]
    assert {one["id"] for one in found} >= set(acked)
    assert [one["seq"] for one in found] == list(range(1, len(found) + 1))
    assert not [one for one in found if one["unreadable"]]
    return len(found)


async def test_there_and_back_by_mongodb(daphne: DaphneFactory, own_mongodb: MongoWire, tmp_path: Path) -> None:
    """SQLite to MongoDB and from there to a new SQLite: the same messages, and administrators keep their rights."""
    first, second = daphne(), daphne(DATABASE_URL=own_mongodb.url, started=False)
    third = daphne(data_dir=tmp_path / "third", started=False)
    third.environment = {**first.environment, "PARLEY_DATA_DIR": str(third.data_dir)}
    ada, bob = await register(first, "ada"), await register(first, "bob")
    chat_id = await fill(first, ada, bob, 50)
    await manage(first, "shell", "-c", _GIVE_RIGHTS.format(user=ada.id))
    first.stop()

    there = await asyncio.to_thread(take_over, first, own_mongodb.url)
    back = await asyncio.to_thread(take_over, second, f"sqlite:///{third.data_dir}/parley.sqlite3")
    await manage(third, "maintenance", "off")

    for said in (there, back):
        assert "milliseconds" in said
        assert "equal  groups, rights and log" in said
        assert "DIFFER" not in said
    third.start()
    assert await _everything_is_there(third, ada, chat_id, []) == 51
    rights = (await manage(third, "staff_rights", "dump")).splitlines()
    assert rights == there.splitlines()[-2:]
    assert [line.count("messaging.message.read_content") for line in rights] == [1, 0]


_GIVE_RIGHTS = """
from django.contrib.auth.models import Group, Permission
from accounts.models import User
group = Group.objects.create(name="readers")
group.permissions.add(Permission.objects.get(codename="read_content"))
user = User.objects.get(pk="{user}")
user.is_staff = True
user.save()
user.groups.add(group)
"""


def test_what_is_wrong_is_said_in_one_line(daphne: DaphneFactory, own_postgres: Postgres, tmp_path: Path) -> None:
    """A wrong URL, a store that is down, no schema, wrong credentials, a file that is not there, twice the same."""
    server = daphne(started=False)
    at_once = "serverSelectionTimeoutMS=200"
    down = "postgres://parley@127.0.0.1:1/parley"
    missing = f"sqlite:///{tmp_path}/nowhere.sqlite3"
    (tmp_path / "text.sqlite3").write_text("this is no database, but long enough to look like a file of one" * 20)
    expected = {
        "mysql://host/name": "mysql is not sqlite, mongodb or postgres",
        down: "start the database, or correct host and port in --to",
        f"mongodb://127.0.0.1:1/parley?{at_once}": "start the database, or correct host and port in --to",
        own_postgres.url: "no tables yet -> run: DATABASE_URL=<the URL of --to> manage.py migrate",
        own_postgres.url.replace("parley@", "nobody:secret@"): "correct the user and password in --to",
        own_postgres.url.replace("/postgres", "/nothing"): "create the database, or correct its name in --to",
        missing: "there is no file",
        f"sqlite:///{tmp_path}/text.sqlite3": "restore a backup",
        f"sqlite:///{server.data_dir}/parley.sqlite3": "are the same store",
    }

    found = refusals(server, *(("store_copy", "--to", url) for url in expected))

    for said, problem in zip(found, expected.values(), strict=True):
        assert problem in said
        assert "secret" not in said
    assert found[0] in fails(server, "store_copy", "--to", next(iter(expected)))
    assert not Path(missing.removeprefix("sqlite:///")).exists()


def test_an_older_schema_is_not_copied(daphne: DaphneFactory, tmp_path: Path) -> None:
    """Neither from nor to it: the line names the first migration that is missing, and what to run."""
    current, older = daphne(started=False), daphne(data_dir=tmp_path / "older", started=False)
    older.manage("migrate", "messaging", "0003", "--verbosity", "0")
    url = f"sqlite:///{older.data_dir}/parley.sqlite3"
    problem = "has an older schema, without messaging.0004_lean_indexes -> run: DATABASE_URL=<the URL of "
    own = f"sqlite:///{current.data_dir}/parley.sqlite3"

    to, from_ = refusals(current, ("store_copy", "--to", url), ("store_copy", "--from", url, "--to", own))

    assert f"{problem}--to> manage.py migrate" in to
    assert f"{problem}--from> manage.py migrate" in from_
