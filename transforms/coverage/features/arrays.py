"""Array helpers of the features: division and logarithm with unknowns, and ragged counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

_NAN = float("nan")
NO_INDEX = np.empty(0, np.int64)


def divide(top: NDArray[Any], bottom: NDArray[Any], where: Bool) -> Float:
    """`top` / `bottom` where asked, NaN elsewhere: float64 of shape (n,)."""
    out: Float = np.full(len(where), _NAN)
    np.divide(top, bottom, out=out, where=where)
    return out


def log(values: NDArray[Any], where: Bool) -> Float:
    """Natural logarithm where asked, NaN elsewhere: float64 of shape (n,)."""
    out: Float = np.full(len(where), _NAN)
    np.log(values, out=out, where=where)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Counts of n keys, each with as many as it has.

    Attributes:
      n: keys.
      owner: int64 of shape (m,), ascending: whose count it is.
      count: float64 of shape (m,), whole numbers above zero.
      index: int64 of shape (m,): which bin was counted; empty for items.
    """

    n: int
    owner: Int64
    count: Float
    index: Int64

    def sum(self, values: Float) -> Float:
        """Sums over each key's entries, one after the other: float64 of shape (n,)."""
        return np.bincount(self.owner, weights=values, minlength=self.n).astype(
            np.float64, copy=False
        )

    def total(self) -> Float:
        """Sum of each key's counts: float64 of shape (n,)."""
        return self.sum(self.count)

    def size(self) -> Int64:
        """How many counts each key has: int64 of shape (n,)."""
        return np.bincount(self.owner, minlength=self.n)

    def equal_to(self, value: int) -> Int64:
        """How many of each key's counts are this number: int64 of shape (n,)."""
        return np.bincount(self.owner[self.count == value], minlength=self.n)

    def largest(self) -> Float:
        """Each key's largest count, 0 without any: float64 of shape (n,)."""
        out = np.zeros(self.n)
        if len(self.owner):
            first = np.flatnonzero(np.diff(self.owner, prepend=-1))
            out[self.owner[first]] = np.maximum.reduceat(self.count, first)
        return out

    def entropy(self, least: int = 2) -> Float:
        """Shannon entropy of each key's counts in nats, NaN where they sum to less than `least`."""
        total = self.total()
        share = self.count / total[self.owner]
        entropy = -self.sum(share * np.log(share))
        return np.where(total >= least, entropy, _NAN)
