"""Tests of identifiers."""

from __future__ import annotations

from uuid import UUID

import pytest

from chatproject import ids


def test_ids_sort_by_the_time_they_were_made() -> None:
    """Version 7, distinct, and never backwards within a process."""
    made = [ids.uuid7() for _ in range(5000)]

    assert {one.version for one in made} == {7}
    assert all(isinstance(one, UUID) for one in made)
    assert made == sorted(set(made))


def test_a_written_id_is_read() -> None:
    """In its canonical form, of any case and version."""
    one = ids.uuid7()

    assert ids.parse(str(one)) == ids.parse(str(one).upper()) == one


@pytest.mark.parametrize(
    "value",
    [
        *(None, 5, b"x", "", "x" * 36, "☕" * 36),
        *("019a8c442c5e7f3a8d117e6f5a4b3c2d", "{019a8c44-2c5e-7f3a-8d11-7e6f5a4b3c2d}"),
        *("urn:uuid:019a8c44-2c5e-7f3a-8d11-7e6f5a4b3c2d", "019a8c44-2c5e-7f3a-8d11-7e6f5a4b3c2d "),
    ],
)
def test_anything_else_is_none(value: object) -> None:
    """One form only, so that one thing has one address."""
    assert ids.parse(value) is None
