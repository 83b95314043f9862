"""Lengths of time as people write them: `30 min`, `6h`, `1 h 30 min`, or a number of seconds."""

from __future__ import annotations

import re

_UNITS_MS = {
    "ms": 1,
    "s": 1_000,
    "sec": 1_000,
    "second": 1_000,
    "min": 60_000,
    "m": 60_000,
    "minute": 60_000,
    "h": 3_600_000,
    "hour": 3_600_000,
    "d": 86_400_000,
    "day": 86_400_000,
    "week": 604_800_000,
}
_SHOWN = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1))
_MOST_S = 1000 * 366 * 86_400
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
HOW = "write it like '30 min', '6 h', '1 h 30 min', '90 s', '28 d', or as a number of seconds"


def parse_duration(value: object) -> int:
    """Reads a length of time.

    Args:
      value: text with units, or a number of seconds.

    Returns:
      Milliseconds, not negative.

    Raises:
      ValueError: saying what is wrong with the value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"is not a length of time: {value!r}")
    if isinstance(value, str):
        return _parse_text(value)
    if not 0 <= value <= _MOST_S:  # nor is NaN
        raise ValueError(f"cannot be {value:g}")
    return round(value * 1000)


def _parse_text(text: str) -> int:
    bare = text.strip()
    try:
        seconds = float(bare)
    except ValueError:
        pass
    else:
        return parse_duration(seconds)
    total, position = 0.0, 0
    while position < len(bare):
        part = _PART.match(bare, position)
        if part is None:
            raise ValueError(f"is not a length of time: {text!r}")
        unit = part[2].lower()
        scale = _UNITS_MS.get(unit) or _UNITS_MS.get(unit.removesuffix("s"))
        if scale is None:
            raise ValueError(f"has an unknown unit of time {part[2]!r}")
        total += float(part[1]) * scale
        position = part.end()
    if not position:
        raise ValueError("is empty")
    if total > 1000 * _MOST_S:
        raise ValueError("is longer than a thousand years")
    return round(total)


def format_duration(ms: int) -> str:
    """The shortest exact way to write a length of time: 5400000 is `1 h 30 min`."""
    parts = []
    for unit, scale in _SHOWN:
        count, ms = divmod(ms, scale)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
