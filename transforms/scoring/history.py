"""An account's history in parts of a day: profiles by window, and what it did before and after.

Sketches merge, so one sketch for each account and day is enough to make the profile of any longer
window, and to divide the history in two: the earlier part is then the past of the later one, as the
whole history will be of what comes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from transforms.coverage.layout import DAY_MS
from transforms.coverage.sketch import CoverageSketch, decode, merge


class Part(NamedTuple):
    """What one account did in one part of the history.

    Attributes:
      account: its id.
      start_ms: where the part begins.
      events: requests in it.
      data: the encoded sketch.
    """

    account: str
    start_ms: int
    events: int
    data: bytes


class TwoParts(NamedTuple):
    """An account before and after the middle of the history."""

    account: str
    earlier: CoverageSketch
    later: CoverageSketch


def part_ms(window_ms: int, longest_ms: int) -> int:
    """Length of a part: a day, or the whole window where days do not fill one.

    Args:
      window_ms: length of a profile's window.
      longest_ms: length of the blocks that end a session; a session lies in one part.
    """
    part = math.lcm(DAY_MS, longest_ms)
    return part if window_ms % part == 0 else window_ms


def middle_ms(parts: Iterable[Part]) -> int | None:
    """The beginning of a part that divides the requests most evenly; None with a single part."""
    events: dict[int, int] = {}
    for part in parts:
        events[part.start_ms] = events.get(part.start_ms, 0) + part.events
    starts = sorted(events)
    if len(starts) < 2:
        return None
    before = np.cumsum([events[start] for start in starts])[:-1]
    return starts[1 + int(np.abs(2 * before - sum(events.values())).argmin())]


def profiles(parts: Sequence[Part], window_ms: int) -> list[CoverageSketch]:
    """One sketch for each window that the account was seen in, oldest first."""
    windows: dict[int, list[CoverageSketch]] = {}
    for part in sorted(parts, key=lambda p: p.start_ms):
        windows.setdefault(part.start_ms // window_ms, []).append(decode(part.data))
    return [merge(sketches) for sketches in windows.values()]


def accounts_at_once(accounts: Iterable[Sequence[Part]], window_ms: int) -> int:
    """Most accounts that any window has.

    Args:
      accounts: the parts of each.
      window_ms: length of a window.
    """
    windows: Counter[int] = Counter()
    for parts in accounts:
        windows.update({part.start_ms // window_ms for part in parts})
    return max(windows.values(), default=0)


def two_parts(parts: Sequence[Part], middle: int, least_events: int) -> TwoParts | None:
    """The account before and after `middle`; None when either side has too few requests."""
    before = [part for part in parts if part.start_ms < middle]
    after = [part for part in parts if part.start_ms >= middle]
    if min(sum(p.events for p in side) for side in (before, after)) < least_events:
        return None
    earlier, later = (merge([decode(p.data) for p in side]) for side in (before, after))
    return TwoParts(parts[0].account, earlier, later)


def whole(parts: Sequence[Part]) -> CoverageSketch:
    """All that the account did."""
    return merge([decode(part.data) for part in parts])
