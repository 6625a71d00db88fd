"""Tests of the parts that stand in for autobahn's: they do what it does, and the server uses them."""

from __future__ import annotations

from itertools import cycle

from autobahn.nvx._xormasker import create_xor_masker
from autobahn.websocket import protocol
from hypothesis import given
from hypothesis import strategies as st

from realtime import autobahn_costs
from realtime.autobahn_costs import Masker

MASKS = st.binary(min_size=4, max_size=4)


@given(mask=MASKS, pieces=st.lists(st.binary(max_size=300), max_size=6))
def test_pieces_are_masked_as_one(mask: bytes, pieces: list[bytes]) -> None:
    """However a payload is cut up, each byte meets its byte of the mask; the same again gives the payload back."""
    masker, back = Masker(mask), Masker(mask)
    payload = b"".join(pieces)

    masked = b"".join(masker.process(piece) for piece in pieces)

    assert masked == bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
    assert back.process(masked) == payload
    assert masker.pointer() == len(payload)


@given(mask=MASKS, payload=st.binary(min_size=1, max_size=1000))
def test_it_agrees_with_autobahn(mask: bytes, payload: bytes) -> None:
    """Its own masker gives the same bytes."""
    assert Masker(mask).process(payload) == create_xor_masker(mask, len(payload)).process(payload)


def test_a_masker_can_begin_anew() -> None:
    """After a reset the next byte meets the mask's first."""
    masker = Masker(b"\x01\x02\x03\x04")
    first = masker.process(b"abc")

    masker.reset()

    assert masker.process(b"abc") == first


def test_the_parts_are_in_place() -> None:
    """Installing twice is as good as once, and autobahn asks ours."""
    autobahn_costs.install()
    autobahn_costs.install()

    assert isinstance(protocol.create_xor_masker(b"\x00\x01\x02\x03", 200), Masker)
    assert protocol.hltype(test_the_parts_are_in_place) == "test_the_parts_are_in_place"
