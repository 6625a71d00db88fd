"""Checks of the machine: the data directory, the clocks, and the built web client."""

from __future__ import annotations

import errno
import functools
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from chatproject import redis_clients
from chatproject.env import ENV
from chatproject.redis_url import RedisServer
from realtime.diagnosis.findings import Finding, fail, ok, warn

LITTLE_SPACE = 1024**3
NO_SPACE = 100 * 1024**2
LARGEST_SKEW = 2.0
"""Seconds by which two clocks may differ: access tokens hold for minutes, presence for a minute."""
WATCHED = 0.2
LARGEST_STEP = 0.05


def data_directory() -> Iterator[Finding]:
    """Write a file into the data directory, and see who may read it and how much room there is."""
    part, path = "data directory", ENV.data_dir
    if not path.is_dir():
        yield fail(part, f"{path} is not there", "create it, owned by Parley's user, mode 700")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as file:
            file.write(b"doctor")
            file.flush()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room: SQLite and attachments need it" if full else "give it to Parley's user, mode 700"
        yield fail(part, f"{path} cannot be written: {error.strerror}", remedy)
        return
    free = shutil.disk_usage(path).free
    if free < NO_SPACE:
        yield fail(part, f"{path} has {free // 1024**2} MiB left", "make room: SQLite and attachments need it")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield warn(part, f"others may look into {path} (mode {mode:03o})", f"run: chmod 700 {path}")
    elif free < LITTLE_SPACE:
        yield warn(part, f"{path} has {free // 1024**2} MiB left", "make room soon")
    else:
        yield ok(part, f"{path} can be written, mode {mode:03o}, {free // 1024**3} GiB free")


def own_clock() -> Iterator[Finding]:
    """See whether this machine's clock is being set while we look."""
    part = "clock"
    if _is_stepped():
        yield warn(part, "it is being set while we look", "let NTP slew it, not step it")
    else:
        yield ok(part, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, running steadily")


def database_clock() -> Iterator[Finding]:
    """Compare this machine's clock with the database's."""
    yield from _compare("database clock", _database_time)


def redis_clock() -> Iterator[Finding]:
    """Compare this machine's clock with Redis'."""
    for server in ENV.redis:
        yield from _compare("redis clock", functools.partial(_redis_time, server))


def _compare(part: str, ask: Callable[[], float | None]) -> Iterator[Finding]:
    before = time.time()
    theirs = ask()
    if theirs is None:
        return
    ahead = theirs - (before + time.time()) / 2
    if abs(ahead) > LARGEST_SKEW:
        yield fail(part, f"it differs from ours by {ahead:+.1f} s", "let both machines keep time by NTP")
    else:
        yield ok(part, f"it differs from ours by {ahead * 1000:+.0f} ms")


def _database_time() -> float | None:
    """Return the database's clock in seconds of Unix time; an embedded database has none of its own."""
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            return float(cursor.fetchone()[0])
    if connection.vendor == "mongodb":
        connection.ensure_connection()
        moment: datetime = connection.database.client.admin.command("hello")["localTime"]
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    return None


def _redis_time(server: RedisServer) -> float:
    """Return the server's clock in seconds of Unix time, in a Cluster that of the node which is furthest from ours."""
    with redis_clients.client(server) as client:
        told = redis_clients.ask_each(client, server, "TIME")
    times = [float(seconds) + float(microseconds) / 1_000_000 for seconds, microseconds in told]
    return max(times, key=lambda one: abs(one - time.time()))


def _is_stepped() -> bool:
    """Tell whether the wall clock moves otherwise than the monotonic one."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(WATCHED)
    return abs((time.time() - wall) - (time.monotonic() - steady)) > LARGEST_STEP


def web_client() -> Iterator[Finding]:
    """See whether the web client was built."""
    part = "web client"
    if (settings.WEB_CLIENT / "index.html").is_file():
        yield ok(part, "built")
    else:
        yield warn(part, "not built: / answers 404", "run: cd web && npm ci && npm run build")
