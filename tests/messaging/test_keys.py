"""Tests of the chats' data keys: how they are found, kept in memory, and lost for good."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from messaging import keys
from messaging.crypto import DecryptionError, UnknownMasterKey, seal, unseal
from messaging.keys import KeyDestroyed
from messaging.models import Chat, ChatKey
from tests.messaging.seeds import NEW_KEY, OLD_KEY, chat_of, fresh_id

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the cache sees; a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: now[0])
    return now


def alter(chat: Chat) -> None:
    """Change one bit of a chat's wrapped key."""
    row = ChatKey.objects.get(chat=chat)
    wrapped = bytes(row.wrapped)
    ChatKey.objects.filter(chat=chat).update(wrapped=bytes([wrapped[0] ^ 1]) + wrapped[1:])


def test_every_chat_has_its_own_key() -> None:
    """What one chat's cipher seals, another's does not open."""
    one, other = chat_of(), chat_of()

    sealed = seal(keys.cipher(one.id), b"text", b"")

    assert unseal(keys.cipher(one.id), sealed, b"") == b"text"
    with pytest.raises(DecryptionError):
        unseal(keys.cipher(other.id), sealed, b"")


def test_stored_keys_are_wrapped_by_the_first_master_key(settings: Any) -> None:
    """The row names the master key, and holds nothing that works without it."""
    settings.PARLEY_MASTER_KEYS = (("new", NEW_KEY), ("old", OLD_KEY))
    chat = chat_of()

    row = ChatKey.objects.get(chat=chat)

    assert row.master_key_id == "new"
    assert len(bytes(row.wrapped)) == 40
    with pytest.raises(DecryptionError):
        unseal(AESGCM(bytes(row.wrapped)[:32]), seal(keys.cipher(chat.id), b"text", b""), b"")


def test_preloading_takes_one_query(django_assert_num_queries: Any) -> None:
    """A page of chats costs one query, the second time none; then no cipher needs another."""
    chats = [chat_of() for _ in range(5)]

    with django_assert_num_queries(1):
        keys.preload(chat.id for chat in chats)
    with django_assert_num_queries(0):
        keys.preload(chat.id for chat in chats)
        for chat in chats:
            keys.cipher(chat.id)


def test_one_unusable_key_does_not_spoil_the_others(settings: Any) -> None:
    """A page with an altered key, a missing one and one of an unknown master key loads all the rest."""
    altered, destroyed, unknown, fine = (chat_of() for _ in range(4))
    alter(altered)
    ChatKey.objects.filter(chat=destroyed).delete()
    ChatKey.objects.filter(chat=unknown).update(master_key_id="lost")

    keys.preload(chat.id for chat in (altered, destroyed, unknown, fine))

    assert keys.cipher(fine.id)
    with pytest.raises(DecryptionError):
        keys.cipher(altered.id)
    with pytest.raises(KeyDestroyed):
        keys.cipher(destroyed.id)
    with pytest.raises(UnknownMasterKey, match="lost"):
        keys.cipher(unknown.id)


def test_a_missing_chat_has_no_key() -> None:
    """No row, no cipher."""
    with pytest.raises(KeyDestroyed):
        keys.cipher(fresh_id())


def test_a_destroyed_key_is_gone_once_it_is_forgotten() -> None:
    """Erasing the row and dropping the cipher leaves nothing to decrypt with."""
    chat = chat_of()
    keys.cipher(chat.id)
    ChatKey.objects.filter(chat=chat).delete()

    keys.forget(chat.id)

    with pytest.raises(KeyDestroyed):
        keys.cipher(chat.id)


def test_a_key_destroyed_elsewhere_lives_on_for_five_minutes_at_most(clock: list[float]) -> None:
    """The cache is bounded in time, and use does not prolong it."""
    chat = chat_of()
    keys.cipher(chat.id)
    ChatKey.objects.filter(chat=chat).delete()

    clock[0] += keys.CACHE_SECONDS - 1
    keys.cipher(chat.id)
    clock[0] += 2

    with pytest.raises(KeyDestroyed):
        keys.cipher(chat.id)


def test_the_cache_keeps_what_was_used_last(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    """Beyond its size the least recently used cipher goes."""
    monkeypatch.setattr(keys, "CACHED_CIPHERS", 2)
    first, second, third = (chat_of() for _ in range(3))
    keys.forget()

    for chat in (first, second, first, third):
        keys.cipher(chat.id)

    with django_assert_num_queries(0):
        keys.cipher(first.id)
        keys.cipher(third.id)
    with django_assert_num_queries(1):
        keys.cipher(second.id)


def test_changed_master_keys_take_effect(settings: Any) -> None:
    """A key wrapped by a master key that was removed cannot be had any more."""
    settings.PARLEY_MASTER_KEYS = (("old", OLD_KEY),)
    chat = chat_of()
    settings.PARLEY_MASTER_KEYS = (("new", NEW_KEY),)
    keys.forget()

    with pytest.raises(UnknownMasterKey, match="old"):
        keys.cipher(chat.id)


def test_a_cipher_serves_many_threads() -> None:
    """Threads that share a chat's cipher seal and open without disturbing each other."""
    cipher = keys.cipher(chat_of().id)

    def round_trip(number: int) -> bool:
        text = str(number).encode() * 100
        return unseal(cipher, seal(cipher, text, b"place"), b"place") == text

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(round_trip, range(2000)))
