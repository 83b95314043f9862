"""Where accounts of a peer group usually ask: the part of their requests that falls into each cell.

It is what the map of a cluster is compared with, and nothing is measured on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.layout import Bins, Items
from transforms.coverage.sketch import CoverageSketch
from transforms.scoring.rows import PeerGroups, peer_hash

Float = NDArray[np.float64]
_MOST = 200.0  # requests up to which an account counts: the busiest must not be the norm
_BORROW = 60.0  # accounts' worth of weight that everyone has in a group's usual


def _nothing() -> Float:
    return np.zeros((0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """See the module.

    Attributes:
      names: of peer groups, "" for everyone, which comes first; none where nothing is known.
      shares: float64 of shape (names, cells), each row adds up to 1.
    """

    names: tuple[str, ...] = ()
    shares: Float = field(default_factory=_nothing)

    def of(self, sketch: CoverageSketch) -> Float:
        """What is usual for requests of these peer groups, in the parts in which a sketch has them;
        those of groups that are not known count as everyone's.

        Returns:
          float64 of shape (cells,), adds up to 1; of shape (0,) where nothing is known.
        """
        if not self.names:
            return np.zeros(0)
        hashes, counts = sketch.items(Items.PEER)
        if not len(hashes):
            everyone: Float = self.shares[0]
            return everyone
        at = {peer_hash(name): i for i, name in enumerate(self.names) if name}
        rows = [at.get(int(one), 0) for one in hashes]
        weights = np.asarray(counts, np.float64)
        found: Float = weights @ self.shares[rows] / weights.sum()
        return found


def usual_of(
    sketches: Iterable[CoverageSketch],
    names: Iterable[str],
    cells: int,
    borrow: float = _BORROW,
) -> Usual:
    """What was usual in the history.

    A few dozen accounts leave most cells out by chance, so a group borrows from everyone, the less
    the larger it is.

    Args:
      sketches: one for each account.
      names: of the peer groups that are large enough to have a usual of their own.
      cells: of the codebook.
      borrow: accounts that everyone counts as in a group's usual.
    """
    names = ("", *sorted(name for name in names if name))
    index = {name: i for i, name in enumerate(names)}
    peers = PeerGroups(names)
    totals, sizes = np.zeros((len(names), cells)), np.zeros((len(names), 1))
    for sketch in sketches:
        visits = sketch.histogram(Bins.CELL, Bins.CELL + cells).astype(np.float64)
        if not visits.sum():
            continue
        part = visits * (min(visits.sum(), _MOST) / visits.sum())
        for row in {0, index[peers.of(sketch)]}:
            totals[row] += part
            sizes[row] += 1
    if not totals[0].sum():
        return Usual()
    # A group of whom nobody came with a vector has no usual of its own.
    there = totals.sum(axis=1) > 0
    kept = tuple(name for name, known in zip(names, there, strict=True) if known)
    totals, sizes = totals[there], sizes[there]
    shares = totals / totals.sum(axis=1, keepdims=True)
    return Usual(kept, (sizes * shares + borrow * shares[0]) / (sizes + borrow))


def usual_of_everyone(visits: NDArray[np.int64]) -> Usual:
    """What was usual where only the visits of all requests together are known.

    Args:
      visits: int64 of shape (cells,).
    """
    whole = visits.sum()
    return Usual(("",), visits[None] / whole) if whole else Usual()
