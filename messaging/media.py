"""Decides what an uploaded file may be called and what it is served as, before it is stored.

A client's name and media type are claims (OWASP File Upload Cheat Sheet): the name becomes a bare, printable one, and
the type is believed only where a browser would do no harm with it.
"""

from __future__ import annotations

import re
import unicodedata

NAME_BYTES = 255
SUFFIX_BYTES = 32
MEDIA_TYPE_LENGTH = 100
UNNAMED = "file"
OCTET_STREAM = "application/octet-stream"
INLINE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser may show in place: pictures whose first bytes were looked at."""
HEAD_BYTES = 16
"""How much of a file `media_type` wants to see."""

_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
)
_SYNTAX = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")  # RFC 6838, section 4.2
_HARMLESS_TREES = ("audio/", "video/", "image/", "font/", "application/vnd.")
_HARMLESS = frozenset(
    {
        "application/gzip",
        "application/json",
        "application/msword",
        "application/pdf",
        "application/rtf",
        "application/x-7z-compressed",
        "application/x-tar",
        "application/zip",
        "text/calendar",
        "text/csv",
        "text/markdown",
        "text/plain",
        "text/vcard",
    }
)
_LINE_ENDS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that make `gpj.exe` read as `exe.jpg` (Unicode TR 36, section 2.4)."""


def media_type(*, head: bytes, claimed: str) -> str:
    """Return what a file is served as: what its first bytes show, a harmless claim, or `application/octet-stream`."""
    for magic, found in _MAGIC:
        if magic.match(head):
            return found
    claim = claimed.strip().lower()
    return claim if _is_harmless(claim) else OCTET_STREAM


def _is_harmless(claim: str) -> bool:
    """Tell whether no browser runs scripts or styles from this type; a picture that is none is not believed either."""
    if len(claim) > MEDIA_TYPE_LENGTH or not _SYNTAX.fullmatch(claim) or claim in INLINE:
        return False
    return claim in _HARMLESS or (claim.startswith(_HARMLESS_TREES) and not claim.endswith("xml"))


def file_name(claimed: str) -> str:
    """Return a bare, printable name of at most 255 bytes of UTF-8, suffix kept; `file` when nothing is left."""
    base = re.split(r"[/\\]", claimed)[-1]
    printable = "".join(
        one for one in base if unicodedata.category(one) not in _LINE_ENDS and one not in _BIDIRECTIONAL
    )
    name = printable.strip()
    if not name.strip("."):
        return UNNAMED
    return _shortened(name)


def _shortened(name: str) -> str:
    """Cut the stem, between two characters, so that the whole fits."""
    stem, dot, suffix = name.rpartition(".")
    tail = (dot + suffix).encode()
    if not stem or len(tail) > SUFFIX_BYTES:
        stem, tail = name, b""
    kept = stem.encode()[: NAME_BYTES - len(tail)].decode(errors="ignore")
    return kept + tail.decode()
