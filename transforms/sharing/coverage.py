"""What a cluster covers, as a sum to which each of its accounts contributes the same length.

An account's contribution is the square root of its share of requests in each codebook cell: a
vector of unit length whatever its volume, so one account more or less changes the sum by at most 1.
The inner product of two such vectors is their Bhattacharyya coefficient (Bull. Calcutta Math. Soc.
1943). Sums are integers, and do not depend on the order of accounts.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.layout import MAX_CELLS, Bins
from transforms.coverage.sketch import CoverageSketch
from transforms.sharing.payloads import Coverage

UNIT = 1 << 16  # of a contribution; 30,000 accounts of one cell still fit 32 bits
_MOST = (1 << 31) - 1


def contribution(sketch: CoverageSketch) -> NDArray[np.int64]:
    """What one account adds: int64 of shape (1024,), of length at most `UNIT`."""
    counts = sketch.histogram(Bins.CELL, MAX_CELLS).astype(np.float64)
    total = counts.sum()
    if total <= 0:
        return np.zeros(MAX_CELLS, np.int64)
    # The square root of a share that was rounded down; exact to 2**-53, rounded down again.
    floors: NDArray[np.int64] = np.floor(np.sqrt(counts / total) * (UNIT - 1)).astype(np.int64)
    return floors


def contributions(sketches: Iterable[CoverageSketch]) -> NDArray[np.int64]:
    """The sum over accounts, int64 of shape (1024,)."""
    total = np.zeros(MAX_CELLS, np.int64)
    for sketch in sketches:
        total += contribution(sketch)
    return total


def noisy_coverage(
    total: NDArray[np.int64], space: str, embedding_model: str, epsilon: float, delta: float
) -> Coverage:
    """Draws the noise: each call is a release of its own, and costs each account ε again.

    Args:
      total: as `contributions` returns it.
      space, embedding_model: that it was made in.
      epsilon, delta: what each account is promised.
    """
    from transforms.sharing.privacy import add_noise, sigma_for

    sigma = sigma_for(epsilon, delta)
    noisy = np.clip(add_noise(total, UNIT, sigma), -_MOST, _MOST)
    return Coverage(space, embedding_model, noisy, UNIT, sigma, epsilon, delta)
