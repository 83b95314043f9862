"""How near the history is to the centres of its own cells, had each request not been there.

Centres lie where the requests lie that they were fitted to, so these are nearer to them than any
later request of the same account will be: with fifteen points in a cell by about a fifteenth of the
distance. Accounts of the history would look less novel than all that come after them, and normal
values and p-values would be of the former. So a request of the sample is measured against the
centre that the other points of its cell have (the leave-one-out estimate: Stone, "Cross-Validatory
Choice and Assessment of Statistical Predictions", JRSS B 1974), or the nearest other centre. What
was asked twice in the sample is there without either.

It is what an account is held against that comes back to its topics; one that the history never saw
is still a little farther away.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from transforms.embedding.space import AXES, EmbeddingSpace
from transforms.ingest.batch import Events

_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Requests that a space was fitted to, and their nearness without themselves.

    Attributes:
      events: uint64 of shape (n,), ascending hashes of those that it makes a difference for.
      nearness: int16 of shape (n,), thousandths of a cosine.
    """

    events: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    nearness: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))

    def measured(self, events: Events) -> Events:
        """The same events, those of the sample without themselves.

        Args:
          events: placed in the space.
        """
        if not len(self.events):
            return events
        return replace(events, nearness=self.correct(events.event_hash, events.nearness))

    def correct(self, events: NDArray[np.uint64], nearness: NDArray[np.int16]) -> NDArray[np.int16]:
        """Nearness of n requests, for those of the sample without themselves: int16 of shape (n,).

        Args:
          events: their hashes, uint64 of shape (n,).
          nearness: as of `EmbeddingSpace.nearest`, int16 of shape (n,).
        """
        if not len(self.events):
            return nearness
        at = np.minimum(np.searchsorted(self.events, events), len(self.events) - 1)
        return np.where(self.events[at] == events, self.nearness[at], nearness).astype(np.int16)


def leave_out(
    space: EmbeddingSpace, events: NDArray[np.uint64], vectors: NDArray[np.float32]
) -> LeftOut:
    """What of a space's sample looks nearer than it is.

    Args:
      space: that was fitted to the sample; of another one nothing is to be left out.
      events: hashes of the sample's n requests, uint64 of shape (n,), each once.
      vectors: float32 of shape (n, dim). Repeats count once in a space.
    """
    points, first, copies = np.unique(
        space.coordinates(vectors), axis=0, return_index=True, return_counts=True
    )
    here = np.flatnonzero(points.any(axis=1))
    points, first, copies = points[here], first[here], copies[here]
    if not len(points):
        return LeftOut()
    cell, plain = space.nearest(points)
    sizes = np.bincount(cell, minlength=space.cells)
    sums = np.zeros((space.cells, AXES), np.int64)
    np.add.at(sums, cell, points)
    blocks = [slice(at, at + _BLOCK_ROWS) for at in range(0, len(points), _BLOCK_ROWS)]
    nearness = np.concatenate(
        [_without(space.codebook, points[rows], cell[rows], sums, sizes) for rows in blocks]
    )
    changed = np.flatnonzero((copies == 1) & (nearness < plain))
    changed = changed[np.argsort(events[first[changed]])]
    return LeftOut(events[first[changed]], nearness[changed])


def _without(
    codebook: NDArray[np.int8],
    points: NDArray[np.int8],
    cell: NDArray[np.uint16],
    sums: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> NDArray[np.int16]:
    """Thousandths of the cosine to the nearest centre, each point taken out of its own one."""
    # Sums of integers below 2**53: exact in any order.
    rows, book = points.astype(np.float64), codebook.astype(np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1))
    others = rows @ book.T / np.maximum(np.sqrt((book * book).sum(axis=1)), 1e-9)
    others[np.arange(len(rows)), cell] = -np.inf
    rest = sums[cell] - rows
    own = (rest * rows).sum(axis=1) / np.maximum(np.sqrt((rest * rest).sum(axis=1)), 1e-9)
    best = np.maximum(np.where(sizes[cell] > 1, own, -np.inf), others.max(axis=1))
    # A sample of one point has no other centre: nothing is near.
    cosine = np.where(np.isfinite(best), best, 0.0) / lengths
    thousandths: NDArray[np.int16] = np.floor(1000 * cosine).astype(np.int16)
    return thousandths
