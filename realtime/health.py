"""Looks whether the parts that a message passes are there: `/readyz` asks every second, `manage.py doctor` once.

Each probe raises when its part does not work, and is bounded in time: a part that hangs is a part that is not there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from channels.layers import get_channel_layer
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from chatproject import db
from chatproject.db import pool
from messaging import keys
from messaging.crypto import DecryptionError, UnknownMasterKey, WrappedKey
from messaging.models import ChatKey

T = TypeVar("T")

SECONDS = 2.0
"""How long a part may take to answer `/readyz`."""
RESEND_SECONDS = 0.25
GIVE_BACK_SECONDS = 1.0


class NotReady(Exception):
    """A part does not do its work; the message says which, in words that may be shown to anybody."""


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run a probe in a thread of its own, with connections of its own.

    A daemon thread, so that a part that hangs for ever holds nothing up, not even the end of the process.
    """
    future: Future[T] = Future()

    def run() -> None:
        pool.leave()
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  whoever waits gets it
            future.set_exception(error)
        finally:
            connections.close_all()

    threading.Thread(target=run, name="parley-probe", daemon=True).start()
    return future


def database() -> None:
    """Ask the database something. Raises its `DatabaseError`, or `NotReady` when it does no transactions."""
    MigrationRecorder(connections[DEFAULT_DB_ALIAS]).has_table()
    if not db.has_transactions():
        raise NotReady("no transactions")


@lru_cache(maxsize=1)
def _migrations() -> frozenset[tuple[str, str]]:
    """Return the migrations that this program brings."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def missing_migrations() -> list[str]:
    """Return the migrations that the database lacks, as `app.name`."""
    applied = MigrationRecorder(connections[DEFAULT_DB_ALIAS]).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in _migrations() - set(applied))


def unknown_migrations() -> list[str]:
    """Return the migrations of ours that the database has and this program does not know, as `app.name`."""
    known = _migrations()
    apps = {app for app, _ in known}
    applied = set(MigrationRecorder(connections[DEFAULT_DB_ALIAS]).applied_migrations())
    return sorted(f"{app}.{name}" for app, name in applied - known if app in apps)


def migrations() -> None:
    """Raise `NotReady` when the database has an older schema."""
    if missing_migrations():
        raise NotReady("unapplied migrations")


def used_master_keys() -> list[tuple[str, WrappedKey]]:
    """Return the ids of the master keys that wrap data keys, each with one data key that it wraps.

    One index look-up for each id, however many chats there are.
    """
    found: list[tuple[str, WrappedKey]] = []
    last = ""
    while True:
        following = ChatKey.objects.filter(master_key_id__gt=last).order_by("master_key_id")
        row = following.values_list("master_key_id", "wrapped").first()
        if row is None:
            return found
        last = row[0]
        found.append((last, WrappedKey(last, bytes(row[1]))))


def master_keys() -> None:
    """Raise `NotReady` unless each master key in use is configured and opens what it has wrapped."""
    for _, sample in used_master_keys():
        try:
            keys.master_keys().unwrap(sample)
        except UnknownMasterKey:
            raise NotReady("a master key in use is not configured") from None
        except DecryptionError:
            raise NotReady("a master key does not open the keys that it wrapped") from None


async def channel_layer() -> None:
    """Send a message to this process through the channel layer, on the running loop. Raises what the layer raises."""
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    receiver = asyncio.ensure_future(layer.receive(channel))
    try:
        # Subscription and message travel on connections of their own, so the first message may be too early.
        while not receiver.done():
            await layer.send(channel, {"type": "probe"})
            await asyncio.wait([receiver], timeout=RESEND_SECONDS)
        receiver.result()
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(_give_back(layer, channel, receiver), timeout=GIVE_BACK_SECONDS)


async def _give_back(layer: Any, channel: str, receiver: asyncio.Future[Any]) -> None:
    """End the channel, which the layers do when a `receive` is cancelled."""
    if receiver.done():
        receiver = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
    receiver.cancel()
    await asyncio.gather(receiver, return_exceptions=True)
