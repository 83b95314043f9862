"""Links by when accounts are at work: together, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from transforms.clusters.activity import Activity
from transforms.clusters.hand_over import HandOverOptions, handed_over
from transforms.clusters.synchrony import SynchronyOptions, synchronous_pairs

SYNCHRONY = "synchrony"
HAND_OVER = "hand_over"


class TimedLinks(NamedTuple):
    """Pairs of accounts that one kind of timing links.

    Attributes:
      kind: SYNCHRONY or HAND_OVER.
      pairs: int64 of shape (p, 2), distinct, left < right.
      weights: float64 of shape (p,).
    """

    kind: str
    pairs: NDArray[np.int64]
    weights: NDArray[np.float64]

    def groups(self) -> dict[int, tuple[int, int, float]]:
        """Each linked account's group: its first account, its size, and the account's strongest
        weight."""
        if not len(self.pairs):
            return {}
        known, index = np.unique(self.pairs, return_inverse=True)
        index = index.reshape(self.pairs.shape)
        ones = np.ones(len(index))
        graph = coo_matrix((ones, (index[:, 0], index[:, 1])), shape=(len(known),) * 2)
        _, label = connected_components(graph, directed=False)
        _, first, sizes = np.unique(label, return_index=True, return_counts=True)
        strongest = np.zeros(len(known))
        for side in (0, 1):
            np.maximum.at(strongest, index[:, side], self.weights)
        return {
            int(account): (int(known[first[own]]), int(sizes[own]), float(weight))
            for account, own, weight in zip(known, label, strongest, strict=True)
        }


def links_in_time(
    activities: Sequence[Activity],
    synchrony: SynchronyOptions,
    hand_over: HandOverOptions,
    sharing: NDArray[np.int64],
) -> list[TimedLinks]:
    """Links of n accounts by both kinds of timing.

    Args:
      activities: of the accounts.
      synchrony, hand_over: how sure to be, and how strongly to link.
      sharing: int64 of shape (q, 2), pairs that share something, too little to be linked by it.
    """
    together = synchronous_pairs(activities, synchrony, sharing)
    followed, chance = handed_over(activities, hand_over, sharing)
    weights = hand_over.weight * (1 - chance / max(hand_over.chance, 1e-9))
    return [
        TimedLinks(SYNCHRONY, together, np.full(len(together), synchrony.weight)),
        TimedLinks(HAND_OVER, followed, weights),
    ]
