"""F22: one account is refused and falls silent, and another begins within the hour.

Accounts begin and end all the time, so one that begins just after another's end says the less the
more there are: the chance is that of another beginning after the end, or another end before the
beginning, within the hour, at the pace of the half days before and after. Where several could
follow one another, only the next one is believed, except of accounts that share something anyway,
too little to be linked by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.activity import Activity
from transforms.coverage.layout import DAY_MS, HOUR_MS

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_NEAR_MS = 12 * HOUR_MS


@dataclass(frozen=True, slots=True)
class HandOverOptions:
    """When an account follows another.

    Attributes:
      weight: of a link that chance cannot explain; 0: no such links.
      within_ms: how soon after the end of the one the other begins.
      silent_ms: so long there is nothing after an end, or before a beginning.
      chance: above it a beginning after an end means nothing; below, the weight falls with it.
    """

    weight: float = 0.4
    within_ms: int = HOUR_MS
    silent_ms: int = DAY_MS
    chance: float = 0.1


def handed_over(
    activities: Sequence[Activity], options: HandOverOptions, sharing: Int | None = None
) -> tuple[Int, Float]:
    """Pairs of accounts of which one took over from the other, and how likely that is by chance.

    An account ends when it was refused with 403 or 429 and nothing came in the rest of the window;
    it begins when nothing came from the start of the window.

    Args:
      activities: of n accounts.
      options: how soon and how sure.
      sharing: int64 of shape (q, 2), pairs that share something else; of these an end and a
        beginning within the hour are enough, whoever else begins then.

    Returns:
      int64 of shape (p, 2), distinct, left < right, and float64 of shape (p,); 0 of those that
      share something.
    """
    none = np.empty((0, 2), np.int64), np.empty(0)
    if options.weight <= 0 or len(activities) < 2:
        return none
    seen = np.array([a.first_ms <= a.last_ms and bool(a.last_ms) for a in activities])
    if not seen.any():
        return none
    first = np.array([a.first_ms for a in activities], np.int64)
    last = np.array([a.last_ms for a in activities], np.int64)
    refused = np.array([a.blocked > 0 for a in activities])
    is_end = seen & refused & (last <= last[seen].max() - options.silent_ms)
    is_begin = seen & (first >= first[seen].min() + options.silent_ms)
    pairs, chance = _rare(first, last, _by_time(last, is_end), _by_time(first, is_begin), options)
    if sharing is not None and len(sharing):
        known = [pairs[:0]]
        for one, other in (sharing.T, sharing.T[::-1]):
            gap = first[other] - last[one]
            soon = is_end[one] & is_begin[other] & (gap >= 0) & (gap <= options.within_ms)
            known.append(sharing[soon])
        # The first of equal pairs stays: those whose chance does not matter.
        chance = np.concatenate([np.zeros(sum(map(len, known))), chance])
        pairs, first_of = np.unique(np.concatenate([*known, pairs]), axis=0, return_index=True)
        chance = chance[first_of]
    return pairs, chance


def _rare(
    first: Int, last: Int, ends: Int, begins: Int, options: HandOverOptions
) -> tuple[Int, Float]:
    """The next to begin after an end, where few end and begin then."""
    if not len(ends) or not len(begins):
        return np.empty((0, 2), np.int64), np.empty(0)
    end_ms, begin_ms = last[ends], first[begins]
    # The first to begin after an end, and the last to end before a beginning: each other's.
    follower = np.searchsorted(begin_ms, end_ms, "left")
    found = np.flatnonzero(follower < len(begins))
    found = found[np.searchsorted(end_ms, begin_ms[follower[found]], "right") - 1 == found]
    gap = begin_ms[follower[found]] - end_ms[found]
    soon = gap <= options.within_ms
    found = found[soon]
    others = _others(begin_ms, end_ms[found]) + _others(end_ms, begin_ms[follower[found]])
    chance = -np.expm1(-others * options.within_ms / (2.0 * _NEAR_MS))
    left, right = ends[found], begins[follower[found]]
    kept = (chance < options.chance) & (left != right)
    return np.sort(np.stack([left[kept], right[kept]], axis=1), axis=1), chance[kept]


def _by_time(times: Int, chosen: NDArray[np.bool_]) -> Int:
    index = np.flatnonzero(chosen)
    ordered: Int = index[np.argsort(times[index], kind="stable")]
    return ordered


def _others(times: Int, at: Int) -> Int:
    """How many times lie around some, the one that is asked about not counted."""
    near = np.searchsorted(times, at + _NEAR_MS, "right") - np.searchsorted(times, at - _NEAR_MS)
    others: Int = np.maximum(near - 1, 0)
    return others
