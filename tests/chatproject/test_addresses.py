"""Tests of whose address counts, behind proxies and without."""

from __future__ import annotations

import pytest

from chatproject.addresses import client_address

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded_for", "trusted_proxies", "expected"),
    [
        (None, 0, PEER),
        ("203.0.113.7", 0, PEER),  # nobody is trusted: the header is the client's own claim
        (None, 1, PEER),
        ("", 1, PEER),
        ("203.0.113.7", 1, "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", 1, "203.0.113.7"),  # what is further left was claimed
        ("1.1.1.1,203.0.113.7,10.0.0.2", 2, "203.0.113.7"),
        ("203.0.113.7", 2, "203.0.113.7"),
        (" 2001:DB8::7 ", 1, "2001:db8::7"),
        ("unknown", 1, PEER),
        ("1.1.1.1, evil\r\nline", 1, PEER),
        ("203.0.113.7:4711", 1, PEER),
        ("999.1.1.1", 1, PEER),
        (",", 1, PEER),
    ],
)
def test_the_client_s_address(forwarded_for: str | None, trusted_proxies: int, expected: str) -> None:
    """The entry that the outermost trusted proxy wrote; anything that is no address falls back to the peer."""
    found = client_address(peer=PEER, forwarded_for=forwarded_for, trusted_proxies=trusted_proxies)

    assert found == expected


def test_an_unknown_peer() -> None:
    """On a Unix socket there is no address."""
    assert client_address(peer=None, forwarded_for=None, trusted_proxies=0) == ""
