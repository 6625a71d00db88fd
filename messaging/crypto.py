"""The cryptography of data at rest, free of Django: sealing values and wrapping keys.

A sealed value is `version (1 byte) | nonce (12) | ciphertext | tag (16)`: AES-256-GCM (NIST SP 800-38D) with a fresh
random nonce. The associated data binds it to its place, so that a ciphertext moved to another row or field does not
open. Data keys are wrapped with AES-256 key wrap (RFC 3394).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

VERSION = 1
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
OVERHEAD = 1 + NONCE_BYTES + TAG_BYTES
_PREFIX = bytes([VERSION])


class DecryptionError(Exception):
    """A stored value cannot be trusted: it was altered, moved, cut short, or sealed with another key."""


class UnknownMasterKey(Exception):
    """A data key is wrapped by a master key that is not configured; the message names its id."""


def generate_data_key() -> bytes:
    """Return a random 256-bit key."""
    return os.urandom(KEY_BYTES)


def nonces(count: int) -> Iterator[bytes]:
    """Return fresh random nonces for one `seal` each; together they cost one call into the kernel."""
    random = os.urandom(NONCE_BYTES * count)
    return (random[start : start + NONCE_BYTES] for start in range(0, len(random), NONCE_BYTES))


def seal(cipher: AESGCM, plaintext: bytes, associated_data: bytes, *, nonce: bytes | None = None) -> bytes:
    """Encrypt and authenticate; the answer is `OVERHEAD` bytes longer than the plaintext. A nonce is used once."""
    nonce = nonce or os.urandom(NONCE_BYTES)
    return _PREFIX + nonce + cipher.encrypt(nonce, plaintext, associated_data)


def is_sealed(value: bytes) -> bool:
    """Tell whether this has the form of a sealed value; whether it is genuine is for `unseal` to find."""
    return len(value) >= OVERHEAD and value[0] == VERSION


def unseal(cipher: AESGCM, sealed: bytes, associated_data: bytes) -> bytes:
    """Return the plaintext of `seal`. Raises `DecryptionError`."""
    if not is_sealed(sealed):
        raise DecryptionError("not a sealed value of a known version")
    try:
        return cipher.decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], associated_data)
    except InvalidTag:
        raise DecryptionError("the value failed its integrity check") from None


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it is stored."""

    master_key_id: str
    wrapped: bytes


class MasterKeys:
    """The configured master keys: the first one wraps, all of them unwrap."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys` maps id to 256-bit key, in order."""
        self._keys = dict(keys)
        self.current_id = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"<MasterKeys {', '.join(self._keys)}>"

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def wrap(self, data_key: bytes) -> WrappedKey:
        """Wrap a data key with the first master key."""
        return WrappedKey(self.current_id, aes_key_wrap(self._keys[self.current_id], data_key))

    def unwrap(self, key: WrappedKey) -> bytes:
        """Return the data key. Raises `UnknownMasterKey`, or `DecryptionError` when the wrapped key was altered."""
        if key.master_key_id not in self._keys:
            raise UnknownMasterKey(key.master_key_id)
        try:
            return aes_key_unwrap(self._keys[key.master_key_id], bytes(key.wrapped))
        except (InvalidUnwrap, ValueError):
            raise DecryptionError("the wrapped key failed its integrity check") from None

    def rewrap(self, key: WrappedKey) -> WrappedKey:
        """Wrap the same data key with the first master key."""
        return self.wrap(self.unwrap(key))
