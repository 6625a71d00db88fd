"""Finds the cipher of a chat: its data key, unwrapped and kept in memory for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.conf import settings
from django.db.models import Manager

from messaging.crypto import DecryptionError, MasterKeys, UnknownMasterKey, WrappedKey, generate_data_key

log = structlog.get_logger("parley.keys")

CACHED_CIPHERS = 10_000
CACHE_SECONDS = 300.0
"""How long another process may go on using the key of a chat that was destroyed here."""


class KeyDestroyed(Exception):
    """The chat has no data key any more: what it held is gone for good."""


@lru_cache(maxsize=1)
def _parse(configured: tuple[tuple[str, bytes], ...]) -> MasterKeys:
    return MasterKeys(dict(configured))


def master_keys() -> MasterKeys:
    """Return the configured master keys."""
    return _parse(settings.PARLEY_MASTER_KEYS)


class _CipherCache:
    """Least recently used ciphers, each for at most `CACHE_SECONDS`."""

    def __init__(self) -> None:
        self._entries: OrderedDict[UUID, tuple[float, AESGCM]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, chat_id: UUID) -> AESGCM | None:
        with self._lock:
            entry = self._entries.get(chat_id)
            if entry is None:
                return None
            if entry[0] < time.monotonic():
                del self._entries[chat_id]
                return None
            self._entries.move_to_end(chat_id)
            return entry[1]

    def put(self, chat_id: UUID, cipher: AESGCM) -> None:
        with self._lock:
            self._entries[chat_id] = (time.monotonic() + CACHE_SECONDS, cipher)
            self._entries.move_to_end(chat_id)
            while len(self._entries) > CACHED_CIPHERS:
                self._entries.popitem(last=False)

    def forget(self, chat_id: UUID | None) -> None:
        with self._lock:
            if chat_id is None:
                self._entries.clear()
            else:
                self._entries.pop(chat_id, None)


_cache = _CipherCache()


def _chat_keys() -> Manager[Any]:
    """Return the stored keys. By the model's name: the models import the field type, and that imports this module."""
    return apps.get_model("messaging", "ChatKey")._default_manager


def create(chat_ids: Iterable[UUID]) -> None:
    """Give each new chat its data key, in the open transaction."""
    chat_keys = _chat_keys()
    rows = []
    for chat_id in chat_ids:
        key = master_keys().wrap(generate_data_key())
        rows.append(chat_keys.model(chat_id=chat_id, master_key_id=key.master_key_id, wrapped=key.wrapped))
    chat_keys.bulk_create(rows)


def preload(chat_ids: Iterable[UUID]) -> None:
    """Fetch the ciphers of many chats with one query; `ciphers` without an answer."""
    ciphers(set(chat_ids))


def ciphers(chat_ids: Collection[UUID]) -> dict[UUID, AESGCM]:
    """Return the cipher of each chat, those not in memory with one query.

    A chat whose key is missing or cannot be unwrapped is left out, so that it does not spoil the others; `cipher` tells
    what is wrong with it.
    """
    found = {chat_id: known for chat_id in chat_ids if (known := _cache.get(chat_id)) is not None}
    missing = [chat_id for chat_id in chat_ids if chat_id not in found]
    if not missing:
        return found
    rows = _chat_keys().filter(chat_id__in=missing).values_list("chat_id", "master_key_id", "wrapped")
    for chat_id, master_key_id, wrapped in rows:
        try:
            found[chat_id] = _unwrap(master_key_id, wrapped)
        except (DecryptionError, UnknownMasterKey) as error:
            log.error("keys.unusable", chat_id=str(chat_id), master_key_id=master_key_id, reason=type(error).__name__)
        else:
            _cache.put(chat_id, found[chat_id])
    return found


def cipher(chat_id: UUID) -> AESGCM:
    """Return the chat's cipher.

    Raises `KeyDestroyed`, `UnknownMasterKey` when its master key is not configured, and `DecryptionError` when its
    wrapped key was altered.
    """
    found = _cache.get(chat_id)
    if found is None:
        row = _chat_keys().filter(chat_id=chat_id).values_list("master_key_id", "wrapped").first()
        if row is None:
            raise KeyDestroyed(str(chat_id))
        found = _unwrap(*row)
        _cache.put(chat_id, found)
    return found


def _unwrap(master_key_id: str, wrapped: bytes | memoryview) -> AESGCM:
    return AESGCM(master_keys().unwrap(WrappedKey(master_key_id, bytes(wrapped))))


def forget(chat_id: UUID | None = None) -> None:
    """Drop one chat's cipher from memory, or all of them."""
    _cache.forget(chat_id)
