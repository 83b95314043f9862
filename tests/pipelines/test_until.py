"""Until when a decision holds, as people write it."""

from __future__ import annotations

from datetime import datetime

import pytest

from pipelines.decisions import until_of
from schemas.errors import DistilwatchError

NOW = 1_780_315_200_000  # 2026-06-01 12:00 UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-30", "2026-07-01T00:00:00+00:00"),  # that day is still in it
        ("2026-06-30T18:00", "2026-06-30T18:00:00+00:00"),
        ("2026-06-30T18:00+02:00", "2026-06-30T16:00:00+00:00"),
        ("9999-12-31", "9999-12-31T23:59:59.999+00:00"),  # "for ever": no calendar goes further
        ("30 d", "2026-07-01T12:00:00+00:00"),
    ],
)
def test_a_day_a_time_or_a_span(text: str, moment: str) -> None:
    assert until_of(text, NOW) == round(datetime.fromisoformat(moment).timestamp() * 1000)


def test_anything_else_is_told() -> None:
    with pytest.raises(DistilwatchError, match="no time"):
        until_of("soon", NOW)
