"""MMD of a window to the benign reference, as published, from exact kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Rows = NDArray[np.float32]
BANDWIDTHS = (0.5, 1.0, 2.0, 4.0)
"""In units of the median distance (arXiv 2606.05725)."""


def median_distance(rows: Rows, seed: int = 0, most: int = 1_000) -> float:
    """Median distance between two different rows, float32 of shape (n, d), of a sample."""
    chosen = rows[np.random.default_rng(seed).permutation(len(rows))[:most]].astype(np.float64)
    upper = np.triu_indices(len(chosen), 1)
    return float(np.sqrt(np.median(_square_distances(chosen, chosen)[upper])))


def _square_distances(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    own = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)[None, :]
    return np.asarray(np.maximum(own - 2 * (a @ b.T), 0.0))


def kernel(a: Rows, b: Rows, median: float) -> Rows:
    """Mean of the four Gaussian kernels, float32 of shape (len(a), len(b)); 1 for equal rows."""
    # exp(−d² / 2(4s)²); the narrower kernels are its 4th, 16th and 64th power.
    scale = -1 / (2 * (BANDWIDTHS[-1] * median) ** 2)
    power = np.exp(_square_distances(a, b).astype(np.float32) * np.float32(scale))
    total = power.copy()
    for _ in BANDWIDTHS[1:]:
        power **= 2
        power **= 2
        total += power
    return np.asarray(total / len(BANDWIDTHS), np.float32)


def mean_kernel(rows: Rows, reference: Rows, median: float) -> Float:
    """Mean kernel of each row with the reference, float64 of shape (len(rows),)."""
    out = np.empty(len(rows))
    for start in range(0, len(rows), 1_024):
        part = kernel(rows[start : start + 1_024], reference, median)
        out[start : start + 1_024] = part.mean(axis=1, dtype=np.float64)
    return out


def times(weights: Rows, matrix: Rows) -> Rows:
    """weights @ matrix; short windows of a large pool are multiplied as sparse rows."""
    if np.count_nonzero(weights[:8]) * 16 < weights[:8].size:
        from scipy.sparse import csr_matrix

        return np.asarray(csr_matrix(weights) @ matrix, np.float32)
    return weights @ matrix


def within(weights: Rows, gram: Rows) -> Float:
    """Mean kernel over the pairs i ≠ j of each window, float64 of shape (w,).

    Args:
      weights: how often each window has each row, float32 of shape (w, n).
      gram: kernel of the rows, float32 of shape (n, n).
    """
    n = weights.sum(axis=1, dtype=np.float64)
    total = np.einsum("ij,ij->i", times(weights, gram), weights, dtype=np.float64)
    return np.asarray((total - n) / (n * (n - 1)))


def mmd2(own: Float, reference: float, cross: Float) -> Float:
    """Unbiased MMD² (Gretton et al., "A Kernel Two-Sample Test", JMLR 2012).

    Args:
      own: mean kernel within each window, over i ≠ j.
      reference: the same within the reference.
      cross: mean kernel between each window and the reference.
    """
    return own + reference - 2 * cross
