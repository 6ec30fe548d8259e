"""What a Retry-After header asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from semantik_pipeline.errors import seconds_of


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("-3", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_seconds_and_dates_that_are_over(said: str | None, seconds: float | None) -> None:
    assert seconds_of(said) == seconds


def test_a_date_to_come() -> None:
    said = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (seconds_of(said) or 0) <= 60
