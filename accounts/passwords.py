"""Brings passwords into the one form that is hashed, whichever door they come through."""

from __future__ import annotations

import unicodedata

MAXIMUM_LENGTH = 1024
"""Characters taken from a client: long enough for any passphrase, short enough not to be a burden to hash."""


def prepare(password: str) -> str:
    """Return the password as the OpaqueString profile writes it (RFC 8265, section 4.2).

    Every space character becomes U+0020 and the text is composed (NFC), so that the same password typed on another
    system, which may compose accents differently, is the same password (NIST SP 800-63B, section 3.1.1.2).
    """
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", spaced)
