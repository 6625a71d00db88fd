"""Tests of what an uploaded file may be called, and what it is served as."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import media

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
JPEG = b"\xff\xd8\xff\xe0" + bytes(12)
GIF = b"GIF89a" + bytes(10)
WEBP = b"RIFF\n\x00\x00\x00WEBPVP8 "


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        ("tea.jpg", "tea.jpg"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("a/b\\c", "c"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("\u2066name\u2069\u200f.txt", "name.txt"),
        ("nul\0l\r\n\x7f\u2028.txt", "null.txt"),
        ("half \ud83d pair", "half  pair"),
        ("  Tee um vier ☕.txt ", "Tee um vier ☕.txt"),
        ("👩‍👩‍👧‍👦.png", "👩‍👩‍👧‍👦.png"),
        (".gitignore", ".gitignore"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        ("/", "file"),
        ("\0", "file"),
    ],
)
def test_names_become_bare_and_printable(claimed: str, name: str) -> None:
    """No path, no control characters, no marks that turn the reading round; never empty."""
    assert media.file_name(claimed) == name


def test_long_names_are_cut_in_their_stem() -> None:
    """Cut between two characters, within 255 bytes, with the suffix kept."""
    name = media.file_name("ü" * 300 + ".jpeg")

    assert name == "ü" * 125 + ".jpeg"
    assert len(name.encode()) == 255


def test_a_suffix_without_end_is_cut_as_well() -> None:
    """What follows the last dot is a suffix only while it is short."""
    assert media.file_name("a." + "b" * 400) == ("a." + "b" * 400)[:255]


@given(claimed=st.text())
def test_every_name_is_safe(claimed: str) -> None:
    """Whatever was claimed, the name fits every rule, and cleaning it again changes nothing but its ends."""
    name = media.file_name(claimed)

    assert 0 < len(name.encode("utf-8")) <= 255
    assert not set("/\\\0\u202e") & set(name)
    assert not {"Cc", "Cs"} & {unicodedata.category(one) for one in name}
    assert name.strip(".")


@pytest.mark.parametrize(
    ("head", "found"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")]
)
@pytest.mark.parametrize("claimed", ["", "text/html", "image/png", "application/pdf"])
def test_pictures_are_known_by_their_first_bytes(head: bytes, found: str, claimed: str) -> None:
    """Whatever the client says."""
    assert media.media_type(head=head, claimed=claimed) == found


@pytest.mark.parametrize(
    "claimed",
    [
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/zip",
        "audio/ogg",
        "image/heic",
        "text/plain",
        "video/mp4",
    ],
)
def test_harmless_claims_are_believed(claimed: str) -> None:
    """Types that no browser runs anything from, in any case."""
    assert media.media_type(head=b"anything", claimed=f" {claimed.upper()} ") == claimed


@pytest.mark.parametrize(
    "claimed",
    [
        "",
        "text",
        "text/",
        "/plain",
        "text/plain; charset=utf-7",
        "text/plain\r\nSet-Cookie: a=b",
        "text/html",
        "text/css",
        "text/javascript",
        "text/xml",
        "application/xhtml+xml",
        "application/javascript",
        "application/vnd.mozilla.xul+xml",
        "image/svg+xml",
        "image/png",
        "image/webp",
        "multipart/mixed",
        "message/rfc822",
        "ümlaut/plain",
        "audio/" + "x" * 100,
    ],
)
def test_other_claims_become_octet_stream(claimed: str) -> None:
    """Active content, pictures that are none, and what is no media type."""
    assert media.media_type(head=b"<script>alert(1)</script>", claimed=claimed) == "application/octet-stream"
