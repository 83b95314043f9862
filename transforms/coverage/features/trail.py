"""Days: sudden changes of what a key asks and of how much, from its trail.

The trail counts requests by day and coarse topic (`layout.Bins.TRAIL`). An account's own past is a
peer group of one: what it did on its earlier days is what is normal for it. Each function takes n
sketches and returns float64 of shape (n,), NaN where a sketch cannot say.
"""

from __future__ import annotations

import numpy as np

from transforms.coverage import layout
from transforms.coverage.features.arrays import Float, divide, log
from transforms.coverage.features.block import SketchBlock

_SIDE = 8  # requests that either side of a split must have
_AT_ONCE = 1_024  # keys whose days by topic are in memory at a time: some tens of megabytes


def topic_shift(block: SketchBlock) -> Float:
    """How far apart what was asked before and after the day of the greatest change is.

    Over all splits of the days into before and after, the largest unbiased φ² of the table of two
    sides by topics: (χ² − degrees of freedom) / n, with Pearson's χ² of homogeneity. 0 when both
    sides are draws of one distribution, whatever their sizes.
    """
    earlier = np.cumsum(block.daily, axis=1)
    enough = (earlier >= _SIDE) & (earlier[:, -1:] - earlier >= _SIDE)
    # Few keys are there long enough, of sessions hardly any.
    split = np.flatnonzero(enough.any(axis=1))
    out = np.full(len(block), np.nan)
    for start in range(0, len(split), _AT_ONCE):
        some = split[start : start + _AT_ONCE]
        out[some] = _largest_shift(block.trail(some))
    return out


def _largest_shift(days: Float) -> Float:
    """`topic_shift` of keys with at least one split of which both sides have enough requests.

    Args:
      days: requests, of shape (m, 32, 16).
    """
    before = np.cumsum(days, axis=1)[:, :-1]
    whole = days.sum(axis=1)
    after = whole[:, None] - before
    m, n = before.sum(axis=2), after.sum(axis=2)
    # χ² of a table of two rows: n m Σ (a/m − b/n)² / (a + b) over its columns.
    share = before / np.maximum(m, 1)[..., None] - after / np.maximum(n, 1)[..., None]
    asked = np.maximum(whole, 1)[:, None]
    chi2 = m * n * (share**2 / asked).sum(axis=2)
    free = np.maximum((whole > 0).sum(axis=1) - 1, 1)[:, None]
    shift = np.where((m >= _SIDE) & (n >= _SIDE), (chi2 - free) / np.maximum(m + n, 1), -np.inf)
    largest: Float = np.maximum(shift.max(axis=1), 0.0)
    return largest


def surge(block: SketchBlock) -> Float:
    """F24: log of the requests of its busiest day over the mean of the days before.

    Only of keys with a past: with three days or more from the first request to the busiest day.
    """
    requests = block.daily
    busiest = requests.argmax(axis=1)
    rows = np.arange(len(block))
    earlier = np.cumsum(requests, axis=1)[rows, busiest] - requests[rows, busiest]
    known = busiest >= 3
    mean = divide(earlier, busiest, known)
    return log(divide(requests[rows, busiest] + 1, mean + 1, known), known)


def days_to_peak(block: SketchBlock) -> Float:
    """F24: log of one plus the days from the account's opening to its busiest day.

    Low for a new account that goes straight to its maximum.
    """
    busiest = block.daily.argmax(axis=1)
    known = (block.created_ms < layout.NEVER_MS) & (block.events > 0)
    day = block.first_ms // layout.DAY_MS + busiest
    opened = np.where(known, block.created_ms, 0) // layout.DAY_MS
    return np.where(known, np.log1p(np.maximum(day - opened, 0)), np.nan)
