"""Tests of how times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from chatproject.times import rfc3339, rfc3339_or_none


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00.000Z"),
        (datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC), "2026-01-31T12:00:00.999Z"),
        (datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01-30T23:00:00.000Z"),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    """RFC 3339; cut off, so that a time never reads later than it was."""
    assert rfc3339(moment) == rfc3339_or_none(moment) == text


def test_a_time_that_has_not_come() -> None:
    """Null stays null."""
    assert rfc3339_or_none(None) is None
