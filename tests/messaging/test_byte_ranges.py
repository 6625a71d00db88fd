"""Tests of the `Range` header, by the examples and rules of RFC 9110, section 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import byte_ranges
from messaging.byte_ranges import RangeNotSatisfiable

SIZE = 10_000


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-499", range(500)),
        ("bytes=500-999", range(500, 1000)),
        ("bytes=-500", range(9500, 10_000)),
        ("bytes=9500-", range(9500, 10_000)),
        ("bytes=0-0", range(1)),
        ("bytes=-1", range(9999, 10_000)),
        ("bytes=9999-9999", range(9999, 10_000)),
        ("bytes=0-", range(SIZE)),
        ("bytes=0-99999999", range(SIZE)),
        ("bytes=-99999999", range(SIZE)),
        ("Bytes= 0-1 ", range(2)),
    ],
)
def test_one_range(header: str, part: range) -> None:
    """First to last, both included; an open end; the last n; ends beyond the file are cut."""
    assert byte_ranges.requested(header, size=SIZE) == part


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=999999999-"])
def test_a_range_outside_of_the_file(header: str) -> None:
    """Nothing of the file is in it."""
    with pytest.raises(RangeNotSatisfiable):
        byte_ranges.requested(header, size=SIZE)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=--1",
        "bytes=1--2",
        "bytes=1-2-3",
        "bytes=٠-٩",
        "lines=0-5",
        "bytes 0-5",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_what_is_not_one_range_is_ignored(header: str | None) -> None:
    """The whole file is the answer."""
    assert byte_ranges.requested(header, size=SIZE) is None


@given(header=st.text(alphabet="bytes=-0123456789, ", max_size=20), size=st.integers(1, 100))
def test_no_header_is_too_strange(header: str, size: int) -> None:
    """The answer is None, a refusal, or a part that is not empty and within the file."""
    try:
        part = byte_ranges.requested(f"bytes={header}", size=size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part.start < part.stop <= size
