"""F21: accounts that are at work in the same minutes more often than chance lets them.

SynchroTrap (Cao et al., CCS 2014) compares accounts by the minutes of their actions. Here the
minutes are a bottom-k sample by hash, the same minutes for everybody, so that what two samples have
in common below the lower of their ends is what the accounts have in common there (Cohen and Kaplan,
PODC 2007).

Likeness says little by itself: office hours, busy accounts and timetables make minutes common, too.
So the chance is computed as neuroscience does it for spikes (Amarasingham et al., "Conditional
modeling and the jitter method of spike resampling", J. Neurophysiol. 2012): what an account asked
within six hours could as well have come some minutes or hours earlier or later in these six hours,
with its pauses. What remains of day, night, zone, holiday or a day's rush is in both sides of the
comparison. Of the six hours that two accounts worked in, those in which they share a minute are
counted, and coincidences at one time of day or one minute of the hour count once: two timetables
that meet once meet for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.activity import Activity
from transforms.coverage import layout
from transforms.coverage.fold import minute_items
from transforms.coverage.layout import Items

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_BLOCK = 360  # minutes in which an account's work may be moved to and fro
_PAUSE = 10  # minutes without a request that part two runs
_DAY, _HOUR = 1_440, 60
_TIMES_OF_DAY, _TIMES_OF_HOUR = _DAY // 15, _HOUR // 5
_LEAST = 3  # coincidences
_DEPTHS = (1, 2, 4, 8)  # minutes that are shared in a block for it to be a meeting
_FEW = 8  # a minute that so few share makes candidates of all of them
_SEVERAL = 32  # and so many, what is shared twice in a row
_NEIGHBOURS = 4
_RUSH = 0.1  # share of the accounts, from which on a minute says nothing
_PRIOR_HOUR, _PRIOR_MINUTE = 5.0, 50.0
_CELLS = 1 << 19  # pairs times blocks that are looked at in one go


@dataclass(frozen=True, slots=True)
class SynchronyOptions:
    """When accounts are synchronous.

    Attributes:
      weight: of the link; 0: no such links.
      popular: a minute of so many accounts (and a tenth of all) says nothing.
      false_pairs: pairs of independent accounts that may be linked in a window, over all pairs.
    """

    weight: float = 0.5
    popular: int = 60
    false_pairs: float = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class _Minutes:
    """Sampled minutes of n accounts.

    Attributes:
      accounts: n.
      first: the first minute, since 1970; others count from there.
      span, blocks: minutes and blocks there are.
      owner, at, rank: int64 of shape (e,), by owner and hash: whose, which minute, and the place of
        its hash among those of all minutes.
      start: int64 of shape (n + 1,), entries of each account.
      reach: int64 of shape (n,), rank up to which an account's sample is complete.
      open: bool of shape (span,), minutes that say something; by time.
      ranks: int64 of shape (span,), rank of each minute.
    """

    accounts: int
    first: int
    span: int
    blocks: int
    owner: Int
    at: Int
    rank: Int
    start: Int
    reach: Int
    open: NDArray[np.bool_]
    ranks: Int


def synchronous_pairs(
    activities: Sequence[Activity], options: SynchronyOptions, sharing: Int | None = None
) -> Int:
    """Pairs of accounts that are synchronous: int64 of shape (p, 2), ascending, left < right.

    Of independent accounts at most `options.false_pairs` pairs are expected. Memory and time are
    linear in the accounts, not in their pairs.

    Args:
      activities: of n accounts.
      options: how sure to be.
      sharing: int64 of shape (q, 2), left < right: pairs that share something else, too little to
        be linked by it. They are few, and so looked at among themselves, with a false pair of their
        own.
    """
    none = np.empty((0, 2), np.int64)
    active = sum(len(a.minutes) >= _LEAST for a in activities)
    if active < 2 or options.weight <= 0:
        return none
    minutes = _minutes(activities, options)
    chance = _Chance(minutes)
    everybody = active * (active - 1) / 2
    found = [none]
    for pairs, tests in ((_candidates(minutes), everybody), (sharing, None)):
        if pairs is not None and len(pairs):
            p_values = chance.p_values(pairs) * (len(pairs) if tests is None else tests)
            found.append(pairs[p_values <= options.false_pairs])
    return np.unique(np.concatenate(found), axis=0)


def _minutes(activities: Sequence[Activity], options: SynchronyOptions) -> _Minutes:
    known = [a for a in activities if len(a.minutes)]
    first = min(a.first_ms for a in known) // layout.MINUTE_MS
    span = max(a.last_ms for a in known) // layout.MINUTE_MS - first + 1
    hashes = minute_items(np.arange(first, first + span))
    by_hash = np.argsort(hashes, kind="stable")
    ordered = hashes[by_hash]
    ranks = np.empty(span, np.int64)
    ranks[by_hash] = np.arange(span)

    sizes = np.array([len(a.minutes) for a in activities])
    owner = np.repeat(np.arange(len(activities)), sizes)
    rank = np.searchsorted(ordered, np.concatenate([a.minutes for a in activities]))
    ends = np.cumsum(sizes)
    reach = np.full(len(activities), span)
    full = sizes >= layout.CAPACITY[Items.MINUTE]
    reach[full] = rank[ends[full] - 1]
    at = by_hash[np.minimum(rank, span - 1)]

    # A sample is told apart by its end: of rare hashes only the idle ones know.
    comparable = len(activities) - np.searchsorted(np.sort(reach), ranks)
    crowd = np.maximum(options.popular, _RUSH * comparable)
    is_open = np.bincount(at, minlength=span) < crowd
    kept = is_open[at]
    owner, at, rank = owner[kept], at[kept], rank[kept]
    start = np.searchsorted(owner, np.arange(len(activities) + 1))
    blocks = int((first + span - 1) // _BLOCK - first // _BLOCK + 1)
    return _Minutes(
        len(activities),
        int(first),
        int(span),
        blocks,
        owner,
        at,
        rank,
        start,
        reach,
        is_open,
        ranks,
    )


# --- candidates -----------------------------------------------------------------------------------


def _candidates(minutes: _Minutes) -> Int:
    """Pairs that share rare minutes, or two that follow one another in both samples, twice.

    Two minutes in a row are a band of locality-sensitive hashing that costs no further hashes:
    accounts with likeness J have J² of them in common, strangers next to none.
    """
    owner, at = minutes.owner, minutes.at
    inner = owner[1:] == owner[:-1]
    twice = (at[:-1] * minutes.span + at[1:])[inner]
    found = np.concatenate(
        [
            _sharing(at, owner, _FEW, 0, minutes.accounts),
            _sharing(twice, owner[:-1][inner], _SEVERAL, _NEIGHBOURS, minutes.accounts),
        ]
    )
    pairs, seen = np.unique(found, return_counts=True)
    pairs = pairs[seen >= _LEAST - 1]
    return np.stack([pairs // minutes.accounts, pairs % minutes.accounts], axis=1)


def _sharing(key: Int, owner: Int, most: int, neighbours: int, n: int) -> Int:
    """Pairs of owners of a key, left · n + right; of more than `most` owners only neighbours."""
    order = np.lexsort((owner, key))
    key, owner = key[order], owner[order]
    starts = np.flatnonzero(np.append(np.ones(min(len(key), 1), bool), key[1:] != key[:-1]))
    sizes = np.diff(np.append(starts, len(key)))
    size = np.repeat(sizes, sizes)
    end = np.repeat(starts + sizes, sizes)
    place = np.arange(len(key))
    found = [np.empty(0, np.int64)]
    for step in range(1, most):
        reached = place + step < end
        reached &= (size <= most) | (step <= neighbours)
        left = place[reached]
        if not len(left):
            break
        found.append(owner[left] * n + owner[left + step])
    return np.concatenate(found)


# --- chance ---------------------------------------------------------------------------------------


class _Chance:
    """How likely it is that two independent accounts share as much as they do."""

    def __init__(self, minutes: _Minutes) -> None:
        self._minutes = minutes
        self._block = (minutes.first + np.arange(minutes.span)) // _BLOCK
        self._block -= self._block[0]
        self._entries = minutes.owner * minutes.span + minutes.at
        self._entries.sort()
        self._runs, self._extent = self._work()
        self._crowding = self._crowded()

    def _work(self) -> tuple[Int, Int]:
        """Runs of each account in each block and the minutes they span, sparse: packed, sorted.

        Returns:
          int64 of shape (r,): account · blocks + block; and of shape (r, 2): runs, minutes.
        """
        minutes = self._minutes
        at = self._entries % minutes.span
        key = self._entries // minutes.span * minutes.blocks + self._block[at]
        fresh = np.append(True, (key[1:] != key[:-1]))[: len(key)]
        begins = fresh.copy()
        begins[1:] |= np.diff(at) > _PAUSE
        step = np.ones(len(key), np.int64)
        step[1:] = np.where(begins[1:], 1, np.diff(at))
        starts = np.flatnonzero(fresh)
        work = np.stack([np.add.reduceat(begins.astype(np.int64), starts),
                         np.add.reduceat(step, starts)], axis=1)  # fmt: skip
        return key[starts], work

    def _crowded(self) -> Float:
        """How much likelier a meeting is because a block's hours are not alike: (blocks,).

        Squares of the shares of hours and of minutes of the hour, over those of equal shares. A
        prior keeps the few accounts of a quiet hour from making it a rush.
        """
        minutes = self._minutes
        clock = minutes.first + minutes.at
        hours = minutes.blocks * _BLOCK // _HOUR
        hour = clock // _HOUR - minutes.first // _BLOCK * (_BLOCK // _HOUR)
        busy = np.unique(minutes.owner * hours + hour) % hours
        accounts = np.bincount(busy, minlength=hours)
        shares = accounts.reshape(minutes.blocks, -1) + _PRIOR_HOUR
        shares /= shares.sum(axis=1, keepdims=True)
        of_hour = np.bincount(clock % _HOUR, minlength=_HOUR) + _PRIOR_MINUTE
        of_hour /= of_hour.sum()
        crowding: Float = (shares**2).sum(axis=1) * (_BLOCK // _HOUR)
        return crowding * float((of_hour**2).sum()) * _HOUR

    def p_values(self, pairs: Int) -> Float:
        """Upper bounds of the chance of each pair, float64 of shape (p,)."""
        size = max(64, _CELLS // self._minutes.blocks)
        parts = [self._p_values(pairs[i : i + size]) for i in range(0, len(pairs), size)]
        return np.concatenate([np.empty(0), *parts])

    def _p_values(self, pairs: Int) -> Float:
        """Of a list that memory holds at once.

        In a block with N sampled minutes, a and b of them of the two accounts, moved independently,
        the expected number of shared minutes is a · b / N; of s and more the chance is at most that
        over s (Markov). Another bound, where samples are complete, is that any two runs meet. Over
        blocks the number of meetings is at most binomial (Hoeffding, Ann. Math. Stat. 1956).
        """
        pair, at = self._shared(pairs)
        several = np.bincount(pair, minlength=len(pairs)) >= _LEAST
        p_values = np.ones(len(pairs))
        if several.any():
            kept = several[pair]
            pair, at = (np.cumsum(several) - 1)[pair[kept]], at[kept]
            p_values[several] = self._tails(pairs[several], pair, at)
        return p_values

    def _tails(self, pairs: Int, pair: Int, at: Int) -> Float:
        blocks = self._minutes.blocks
        cell = pair * blocks + self._block[at]
        deep = np.bincount(cell)[cell]
        trials, dense, runs_meet = self._expected(pairs)
        found = np.ones(len(pairs))
        for depth in _DEPTHS:
            met = self._meetings(pair[deep >= depth], at[deep >= depth], len(pairs))
            chance = np.minimum(1.0, np.minimum(dense / depth, runs_meet)).sum(axis=1)
            found = np.minimum(found, _tail(met, trials, chance) * len(_DEPTHS))
        return found

    def _expected(self, pairs: Int) -> tuple[Int, Float, Float]:
        """Blocks that both of a pair worked in, shape (p,); in each block the minutes they should
        share, and the chance that two runs meet, shape (p, blocks), 0 where one did not work."""
        minutes, count = self._minutes, len(pairs)
        limit = self._limit(pairs)
        sampled, work = [], []
        for side in (0, 1):
            pair, at = self._sample(pairs[:, side], limit)
            block = self._block[at]
            sampled.append(self._table(pair, block, count))
            work.append(self._work_of(pairs[:, side], pair, block, count))
        there = self._there(limit)
        both = (sampled[0] > 0) & (sampled[1] > 0)
        dense = self._crowding * sampled[0] * sampled[1] / np.maximum(there, 1)
        (runs, extent), (others, other_extent) = work
        runs_meet = (runs * other_extent + others * extent - runs * others) / _BLOCK
        runs_meet = self._crowding * runs_meet * both
        runs_meet[limit < minutes.span] = np.inf  # a sample does not tell how long a run is
        return both.sum(axis=1), dense, runs_meet

    def _limit(self, pairs: Int) -> Int:
        """Rank up to which both samples of each pair are complete."""
        reach = self._minutes.reach
        limit: Int = np.minimum(reach[pairs[:, 0]], reach[pairs[:, 1]])
        return limit

    def _sample(self, accounts: Int, limit: Int) -> tuple[Int, Int]:
        """Sampled minutes of accounts up to a rank: index of the account in the list, minute."""
        minutes = self._minutes
        start = minutes.start[accounts]
        sizes = minutes.start[accounts + 1] - start
        pair = np.repeat(np.arange(len(accounts)), sizes)
        entry = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + start[pair]
        kept = minutes.rank[entry] <= limit[pair]
        return pair[kept], minutes.at[entry[kept]]

    def _table(self, pair: Int, block: Int, count: int) -> Float:
        blocks = self._minutes.blocks
        cells = np.bincount(pair * blocks + block, minlength=count * blocks)
        return cells.reshape(count, blocks).astype(np.float64)

    def _work_of(self, accounts: Int, pair: Int, block: Int, count: int) -> tuple[Float, Float]:
        blocks = self._minutes.blocks
        cell = np.unique(pair * blocks + block)
        found = np.searchsorted(self._runs, accounts[cell // blocks] * blocks + cell % blocks)
        out = np.zeros((2, count * blocks))
        out[:, cell] = self._extent[found].T
        runs, extent = out.reshape(2, count, blocks)
        return runs, extent

    def _there(self, limit: Int) -> Float:
        """Minutes of each block that say something and whose hash is among the first `limit`."""
        minutes = self._minutes
        limits, index = np.unique(limit, return_inverse=True)
        at = np.flatnonzero(minutes.open)
        step = np.searchsorted(limits, minutes.ranks[at])
        at, step = at[step < len(limits)], step[step < len(limits)]
        return np.cumsum(self._table(step, self._block[at], len(limits)), axis=0)[index]

    def _shared(self, pairs: Int) -> tuple[Int, Int]:
        """Minutes that both of a pair have: index of the pair, minute."""
        minutes = self._minutes
        pair, at = self._sample(pairs[:, 0], self._limit(pairs))
        wanted = pairs[pair, 1] * minutes.span + at
        place = np.minimum(np.searchsorted(self._entries, wanted), len(self._entries) - 1)
        met = self._entries[place] == wanted
        return pair[met], at[met]

    def _meetings(self, pair: Int, at: Int, count: int) -> Int:
        """Meetings that count: blocks, times of day and minutes of the hour, the fewest of them."""
        minutes = self._minutes
        clock = minutes.first + at
        kinds = (
            (self._block[at], minutes.blocks),
            (clock % _DAY // (_DAY // _TIMES_OF_DAY), _TIMES_OF_DAY),
            (clock % _HOUR // (_HOUR // _TIMES_OF_HOUR), _TIMES_OF_HOUR),
        )
        numbers = [
            np.bincount(np.unique(pair * size + value) // size, minlength=count)
            for value, size in kinds
        ]
        fewest: Int = np.min(numbers, axis=0).astype(np.int64)
        return fewest


def _tail(met: Int, trials: Int, expected: Float) -> Float:
    """P(X ≥ met) of a sum of `trials` chances that add up to `expected`; 1 where nothing is odd."""
    from scipy.special import bdtrc

    odd = (met >= _LEAST) & (met >= expected + 1)
    p_values = np.ones(len(met))
    chance = expected[odd] / np.maximum(trials[odd], 1)
    p_values[odd] = bdtrc(met[odd] - 1, np.maximum(trials[odd], met[odd]), chance)
    return p_values
