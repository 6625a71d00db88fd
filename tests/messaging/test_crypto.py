"""Tests of sealing and key wrapping: published vectors, and every way in which a stored value can be wrong."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from messaging import crypto
from messaging.crypto import DecryptionError, MasterKeys, UnknownMasterKey, WrappedKey, seal, unseal

KEY = bytes(range(32))
CIPHER = AESGCM(KEY)
PLACE = b"messages.content\0" + b"\x01" * 48

# D. McGrew, J. Viega, "The Galois/Counter Mode of Operation", test case 16 (AES-256).
GCM_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
GCM_NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
GCM_ASSOCIATED_DATA = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_PLAINTEXT = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_CIPHERTEXT = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
)
GCM_TAG = bytes.fromhex("76fc6ece0f4e1768cddf8853bb2d551b")

# RFC 3394, section 4.6: 256 bits of key data under a 256-bit key.
WRAP_KEY = bytes(range(32))
WRAP_DATA = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
WRAPPED = bytes.fromhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")


def flipped(value: bytes, bit: int) -> bytes:
    """Return the value with one bit changed."""
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_published_vector_opens() -> None:
    """Test case 16 of the GCM paper, in our envelope, opens to its plaintext."""
    sealed = b"\x01" + GCM_NONCE + GCM_CIPHERTEXT + GCM_TAG

    assert unseal(AESGCM(GCM_KEY), sealed, GCM_ASSOCIATED_DATA) == GCM_PLAINTEXT


def test_the_envelope_is_version_nonce_ciphertext_and_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing with the vector's nonce gives exactly the vector's ciphertext and tag."""
    monkeypatch.setattr(crypto.os, "urandom", lambda count: GCM_NONCE[:count])

    sealed = seal(AESGCM(GCM_KEY), GCM_PLAINTEXT, GCM_ASSOCIATED_DATA)

    assert sealed == b"\x01" + GCM_NONCE + GCM_CIPHERTEXT + GCM_TAG


@given(plaintext=st.binary(max_size=4096), associated_data=st.binary(max_size=128))
def test_what_is_sealed_opens(plaintext: bytes, associated_data: bytes) -> None:
    """Sealing and opening give the same bytes, `OVERHEAD` apart."""
    sealed = seal(CIPHER, plaintext, associated_data)

    assert len(sealed) == len(plaintext) + crypto.OVERHEAD
    assert unseal(CIPHER, sealed, associated_data) == plaintext


@pytest.mark.parametrize("plaintext", [b"", b"x", "Tee um vier? ☕".encode()], ids=["empty", "short", "text"])
def test_every_flipped_bit_is_found(plaintext: bytes) -> None:
    """No bit of version, nonce, ciphertext or tag can change unnoticed."""
    sealed = seal(CIPHER, plaintext, PLACE)

    for bit in range(8 * len(sealed)):
        with pytest.raises(DecryptionError):
            unseal(CIPHER, flipped(sealed, bit), PLACE)


def test_every_flipped_bit_of_the_associated_data_is_found() -> None:
    """A value opens only in the very place it was sealed for."""
    sealed = seal(CIPHER, b"text", PLACE)

    for bit in range(8 * len(PLACE)):
        with pytest.raises(DecryptionError):
            unseal(CIPHER, sealed, flipped(PLACE, bit))


def test_swapped_associated_data_is_found() -> None:
    """Two values in each other's place do not open."""
    one, other = seal(CIPHER, b"one", b"place 1"), seal(CIPHER, b"other", b"place 2")

    with pytest.raises(DecryptionError):
        unseal(CIPHER, one, b"place 2")
    with pytest.raises(DecryptionError):
        unseal(CIPHER, other, b"place 1")


def test_every_truncation_is_found() -> None:
    """A value cut short anywhere, down to nothing, gives the named error."""
    sealed = seal(CIPHER, b"text", PLACE)

    for length in range(len(sealed)):
        with pytest.raises(DecryptionError):
            unseal(CIPHER, sealed[:length], PLACE)


def test_appended_bytes_are_found() -> None:
    """A value that has grown does not open."""
    with pytest.raises(DecryptionError):
        unseal(CIPHER, seal(CIPHER, b"text", PLACE) + b"\0", PLACE)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_an_unknown_version_is_refused(version: int) -> None:
    """Only version 1 exists; the error says so."""
    sealed = bytes([version]) + seal(CIPHER, b"text", PLACE)[1:]

    with pytest.raises(DecryptionError, match="version"):
        unseal(CIPHER, sealed, PLACE)


def test_another_key_opens_nothing() -> None:
    """The wrong key gives the named error."""
    with pytest.raises(DecryptionError):
        unseal(AESGCM(bytes(32)), seal(CIPHER, b"text", PLACE), PLACE)


def test_every_sealing_takes_a_fresh_nonce() -> None:
    """The same text sealed often never gives the same nonce."""
    nonces = {seal(CIPHER, b"text", PLACE)[1:13] for _ in range(1000)}

    assert len(nonces) == 1000


def test_errors_hold_no_plaintext_and_no_key() -> None:
    """What reaches a log cannot give anything away; the library's own exception is not chained to it."""
    sealed = seal(CIPHER, b"secret words", PLACE)

    with pytest.raises(DecryptionError) as caught:
        unseal(CIPHER, flipped(sealed, 200), PLACE)

    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_data_keys_are_random_and_of_256_bits() -> None:
    """Every chat gets a key of its own."""
    keys = {crypto.generate_data_key() for _ in range(100)}

    assert len(keys) == 100
    assert {len(key) for key in keys} == {32}


def test_wrapping_follows_the_published_vector() -> None:
    """RFC 3394, section 4.6, both ways."""
    master_keys = MasterKeys({"2026": WRAP_KEY})

    assert master_keys.wrap(WRAP_DATA) == WrappedKey("2026", WRAPPED)
    assert master_keys.unwrap(WrappedKey("2026", WRAPPED)) == WRAP_DATA


def test_every_flipped_bit_of_a_wrapped_key_is_found() -> None:
    """A wrapped key has its own integrity check."""
    master_keys = MasterKeys({"2026": WRAP_KEY})

    for bit in range(8 * len(WRAPPED)):
        with pytest.raises(DecryptionError):
            master_keys.unwrap(WrappedKey("2026", flipped(WRAPPED, bit)))


@pytest.mark.parametrize("length", [*range(len(WRAPPED)), len(WRAPPED) + 8])
def test_a_wrapped_key_of_another_length_is_refused(length: int) -> None:
    """Whatever its length, an altered wrapped key gives the named error."""
    with pytest.raises(DecryptionError):
        MasterKeys({"2026": WRAP_KEY}).unwrap(WrappedKey("2026", (WRAPPED + bytes(8))[:length]))


def test_the_first_key_wraps_and_all_unwrap() -> None:
    """After a new key was put in front, what the old one wrapped can still be read."""
    before, after = MasterKeys({"old": bytes(32)}), MasterKeys({"new": KEY, "old": bytes(32)})

    wrapped = before.wrap(WRAP_DATA)

    assert after.unwrap(wrapped) == WRAP_DATA
    assert after.wrap(WRAP_DATA).master_key_id == after.current_id == "new"


def test_rewrapping_keeps_the_data_key() -> None:
    """Rewrapped, the same data key needs the new master key alone."""
    before, both = MasterKeys({"old": bytes(32)}), MasterKeys({"new": KEY, "old": bytes(32)})

    rewrapped = both.rewrap(before.wrap(WRAP_DATA))

    assert MasterKeys({"new": KEY}).unwrap(rewrapped) == WRAP_DATA


def test_an_unknown_master_key_is_named() -> None:
    """The error tells which master key is missing."""
    with pytest.raises(UnknownMasterKey, match="lost"):
        MasterKeys({"2026": KEY}).unwrap(WrappedKey("lost", WRAPPED))


def test_a_key_of_another_name_does_not_unwrap() -> None:
    """A wrapped key filed under the wrong master key gives the named error."""
    with pytest.raises(DecryptionError):
        MasterKeys({"2026": bytes(32)}).unwrap(WrappedKey("2026", WRAPPED))


def test_master_keys_show_their_names_alone() -> None:
    """Nothing of a key reaches a log through its repr; ids iterate in order."""
    master_keys = MasterKeys({"new": KEY, "old": bytes(32)})

    assert repr(master_keys) == "<MasterKeys new, old>"
    assert list(master_keys) == ["new", "old"]
    assert "old" in master_keys
    assert "lost" not in master_keys
