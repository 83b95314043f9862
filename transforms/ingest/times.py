"""Times of a column at once: RFC 3339 texts or integer milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

_SHAPE = b"0000-00-00T00:00:00.000Z"
_SHORT = len("0000-00-00T00:00:00Z")
_DIGIT = np.flatnonzero(np.frombuffer(_SHAPE, np.uint8) == ord("0"))
_MARK = np.flatnonzero(np.frombuffer(_SHAPE, np.uint8) != ord("0"))
_MARKS = np.frombuffer(_SHAPE, np.uint8)[_MARK]
_FIELDS = (4, 2, 2, 2, 2, 2, 3)  # digits of year, month, day, hour, minute, second, milliseconds
_LARGEST_MS = 1 << 53


def parse_times(values: Sequence[str | int | None]) -> tuple[Int64, NDArray[np.bool_]]:
    """Milliseconds UTC of n times.

    Texts of the common shapes, in UTC with or without milliseconds, are read all at once; any other
    goes through `datetime`. A text without an offset is taken as UTC.

    Args:
      values: RFC 3339 texts, milliseconds, or None for no time.

    Returns:
      int64 of shape (n,), 0 for no time and for what is no time; and bool of shape (n,), False for
      the latter.
    """
    out, readable = np.zeros(len(values), np.int64), np.ones(len(values), bool)
    usual: list[int] = []
    shaped: list[str] = []
    unusual: list[int] = []
    for i, value in enumerate(values):
        if value is None:
            continue
        if isinstance(value, str) and len(value) == len(_SHAPE) and value.isascii():
            usual.append(i)
            shaped.append(value)
        elif isinstance(value, str) and len(value) == _SHORT and value.isascii():
            usual.append(i)
            shaped.append(value[:-1] + ".000" + value[-1])
        else:
            unusual.append(i)
    if usual:
        at = np.array(usual)
        out[at], read = _parse_shaped(shaped)
        unusual += at[~read].tolist()
    for i in unusual:
        try:
            out[i] = _parse_one(values[i])
        except (ValueError, OverflowError):
            out[i], readable[i] = 0, False
    return out, readable


def _parse_shaped(texts: list[str]) -> tuple[Int64, NDArray[np.bool_]]:
    """Reads texts of 24 ASCII characters; False for those that are no time of our shape."""
    chars = np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(-1, len(_SHAPE))
    digits = chars[:, _DIGIT] - np.uint8(ord("0"))
    read = (chars[:, _MARK] == _MARKS).all(axis=1) & (digits <= 9).all(axis=1)
    digits[~read] = 0
    ends = np.cumsum(_FIELDS)
    year, month, day, hour, minute, second, millisecond = (
        sum(digits[:, i].astype(np.int64) * 10 ** (end - 1 - i) for i in range(end - size, end))
        for size, end in zip(_FIELDS, ends.tolist(), strict=True)
    )
    read &= (year >= 1) & (month >= 1) & (month <= 12)
    months = np.where(read, (year - 1970) * 12 + month - 1, 0)
    first, following = _days_before(months), _days_before(months + 1)
    read &= (day >= 1) & (day <= following - first) & (hour < 24) & (minute < 60) & (second < 60)
    minutes = ((first + day - 1) * 24 + hour) * 60 + minute
    return (minutes * 60 + second) * 1000 + millisecond, read


def _days_before(months: Int64) -> Int64:
    """Days from 1970 to the first of a month, which is counted from January 1970."""
    days: Int64 = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    return days


def _parse_one(value: str | int | None) -> int:
    """Milliseconds UTC.

    Raises:
      ValueError, OverflowError: when it is no time, or none that can be held.
    """
    if isinstance(value, int):
        if abs(value) > _LARGEST_MS:
            raise OverflowError
        return value
    moment = datetime.fromisoformat(value or "")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
