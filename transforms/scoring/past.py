"""An account's own past: a peer group of one, learnt from the history.

An evaluator that swept benchmarks for a year sweeps them today; a person who asked about cooking
and now asks about everything has changed hands. So the past counts twice. What an account already
did beyond its peers is normal for it, as far as such a deviation lasts from one part of the history
to the next (the best linear prediction: Robinson, "That BLUP is a Good Thing", Statistical Science
1991). And how far it has moved from what it asked is a feature, `past_change`.

A quiet past makes nobody more suspicious by itself, and no past excuses more than `_MOST`
deviations: a campaign that was already running is in the history, too. Groups of linked accounts
have a past, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.features import SketchBlock
from transforms.coverage.features.arrays import divide, log
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.space import AXES, UNIT
from transforms.ingest.hashing import hash64
from transforms.scoring.history import TwoParts

Float = NDArray[np.float64]

_MOST = 3.0
_LEAST_VECTORS = 5
_LEAST_ACCOUNTS = 40  # in both parts of the history, to learn what lasts
_NOISE = 0.02  # squared distance below which nobody has moved


@dataclass(frozen=True, slots=True, eq=False)
class Excuses:
    """What of their standard scores is usual for n accounts.

    Attributes:
      account: uint64 of shape (n,), ascending hashes of their ids.
      excuse: float16 of shape (n, f), to be taken from the scores.
    """

    account: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    excuse: NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), np.float16))

    def find(self, accounts: Sequence[str]) -> NDArray[np.intp]:
        """The row of each of m accounts, −1 for one without a past: intp of shape (m,)."""
        if not len(self.account) or not accounts:
            return np.full(len(accounts), -1, np.intp)
        wanted = _hashes(accounts)
        at = np.minimum(np.searchsorted(self.account, wanted), len(self.account) - 1)
        found: NDArray[np.intp] = np.where(self.account[at] == wanted, at, -1)
        return found

    def without(self, account: str) -> Self:
        """The same of all other accounts."""
        others = self.account != _hashes([account])[0]
        return type(self)(**{f.name: getattr(self, f.name)[others] for f in fields(self)})

    def excused(self, rows: NDArray[np.intp], features: int) -> Float:
        """What to take from the standard scores of m accounts: float64 of shape (m, features).

        Args:
          rows: of the accounts, from `find`.
          features: how many there are.
        """
        out = np.zeros((len(rows), features))
        if self.excuse.shape[1] == features:
            out[rows >= 0] = self.excuse[rows[rows >= 0]]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Past(Excuses):
    """What n accounts did in the history, and what of it is usual for them.

    Attributes:
      vectors: int64 of shape (n,), requests that had a vector.
      mean: int8 of shape (n, 64), mean coordinates of these.
    """

    vectors: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    mean: NDArray[np.int8] = field(default_factory=lambda: np.empty((0, AXES), np.int8))

    def change(self, rows: NDArray[np.intp], block: SketchBlock) -> Float:
        """Log of the squared distance of m accounts' mean request from their own past's.

        Unbiased: what two samples of their sizes differ by anyway is taken out. float64 of shape
        (m,), NaN without a past, and where either side has fewer than five vectors.
        """
        if not len(self.account):
            return np.full(len(rows), np.nan)
        before, now = self.vectors[rows], block.vectors
        known = (rows >= 0) & (np.minimum(before, now) >= _LEAST_VECTORS)
        past = self.mean[rows].astype(np.float64) / UNIT
        mean = block.vector_sum / (UNIT * np.maximum(now, 1)[:, None])
        noise = divide(1 - (past * past).sum(axis=1), before - 1, known)
        noise += divide(1 - (mean * mean).sum(axis=1), now - 1, known)
        moved = ((mean - past) ** 2).sum(axis=1) - noise
        return log(np.maximum(moved, 0.0) + _NOISE, known)


def past_of(
    accounts: Sequence[str],
    sketches: Sequence[CoverageSketch],
    z: Float | None = None,
    lasting: Float | None = None,
    directions: NDArray[np.int64] | None = None,
) -> Past:
    """Keeps the past of n accounts.

    Args:
      accounts: their ids, each once.
      sketches: of all that each asked.
      z: standard scores of these sketches, float64 of shape (n, f); None: nothing is excused.
      lasting: float64 of shape (f,), see `lasting_share`.
      directions: int64 of shape (f,), the suspicious side of each feature; only a deviation to that
        side is excused.
    """
    if not accounts:
        return Past()
    hashes = _hashes(accounts)
    order = np.argsort(hashes)
    block = SketchBlock(sketches)
    vectors = block.vectors
    mean = np.rint(block.vector_sum / np.maximum(vectors, 1)[:, None]).astype(np.int8)
    excuse = np.zeros((len(accounts), 0))
    if z is not None and lasting is not None and directions is not None:
        excuse = usual(z, directions) * lasting
    return Past(hashes[order], excuse[order].astype(np.float16), vectors[order], mean[order])


def joined(pasts: Sequence[Past]) -> Past:
    """The pasts of different accounts, as one."""
    if not pasts:
        return Past()
    account = np.concatenate([past.account for past in pasts])
    order = np.argsort(account)
    return Past(
        account[order],
        np.concatenate([past.excuse for past in pasts])[order],
        np.concatenate([past.vectors for past in pasts])[order],
        np.concatenate([past.mean for past in pasts])[order],
    )


def usual(z: Float, directions: NDArray[np.int64]) -> Float:
    """What of standard scores, of shape (n, f), lies to the suspicious side, within bounds."""
    within: Float = np.clip(z * directions, 0, _MOST) * directions
    return within


def excuses_of_groups(
    groups: Sequence[Sequence[str]], z: Float, directions: NDArray[np.int64]
) -> Excuses:
    """What was usual for groups of linked accounts, kept for each of their members.

    A company and a reseller cover together, and share, today what they did in the history. A group
    that has grown is excused as far as its members were in it.

    Args:
      groups: accounts of each of n groups, none in two of them.
      z: standard scores of the groups, float64 of shape (n, f).
      directions: int64 of shape (f,), as of `past_of`.
    """
    names = [name for group in groups for name in group]
    if not names:
        return Excuses()
    sizes = [len(group) for group in groups]
    hashes = _hashes(names)
    order = np.argsort(hashes)
    excuse = np.repeat(usual(z, directions), sizes, axis=0)
    return Excuses(hashes[order], excuse[order].astype(np.float16))


def changes(two_parts: Sequence[TwoParts]) -> dict[str, float]:
    """How far each account moved from the earlier to the later part of the history.

    Returns:
      Account to `Past.change`.
    """
    names = [parts.account for parts in two_parts]
    past = past_of(names, [parts.earlier for parts in two_parts])
    later = SketchBlock([parts.later for parts in two_parts])
    return dict(zip(names, past.change(past.find(names), later).tolist(), strict=True))


def lasting_share(earlier: Float, later: Float) -> Float:
    """What part of a deviation in one part of the history is there in the next: float64 (f,).

    The least-squares slope of the later standard scores over the earlier ones, between 0 and 1; 0
    when too few accounts are in both parts.

    Args:
      earlier, later: standard scores of the same n accounts, float64 of shape (n, f).
    """
    if len(earlier) < _LEAST_ACCOUNTS:
        return np.zeros(earlier.shape[1])
    x, y = earlier - earlier.mean(axis=0), later - later.mean(axis=0)
    spread = (x * x).sum(axis=0)
    slope: Float = np.clip((x * y).sum(axis=0) / np.maximum(spread, 1e-9), 0.0, 1.0)
    return slope


def _hashes(accounts: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([hash64("past\x1f" + account) for account in accounts], np.uint64)
