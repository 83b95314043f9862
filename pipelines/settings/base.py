"""What sections of settings are made of."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from pipelines.durations import format_duration, parse_duration

Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
]
"""Milliseconds; in the file written as `30 min`, `6 h` or a number of seconds."""


def read_instant(value: object) -> int:
    """Milliseconds of a date or time; raises ValueError for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"is not a date or time: {value!r}") from None
    elif isinstance(value, date) and not isinstance(value, datetime):  # YAML's own dates
        value = datetime.combine(value, time(), UTC)
    if not isinstance(value, datetime):
        raise ValueError(f"is not a date or time: {value!r}")
    return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)


def _format_instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


Instant = Annotated[
    int, BeforeValidator(read_instant), PlainSerializer(_format_instant, return_type=str)
]
"""Milliseconds since 1970 UTC; in the file a date or an RFC 3339 time."""


def as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Frozen, and strict: an unknown name or a text where a number belongs is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
