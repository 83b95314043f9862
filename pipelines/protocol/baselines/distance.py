"""Mahalanobis, PRADA, SEAT-like and CAP-like scores of windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.protocol.baselines.kernel import times

Float = NDArray[np.float64]
Rows = NDArray[np.float32]


def mahalanobis(reference: Rows, rows: Rows, ridge: float = 0.01) -> Float:
    """Squared distance of each row from the reference's mean, in its covariance: float64 (n,).

    Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS
    2018, with one class; a window's score is the mean over its rows.
    """
    wide = reference.astype(np.float64)
    mean = wide.mean(axis=0)
    covariance = np.cov(wide.T)
    covariance[np.diag_indices_from(covariance)] += ridge * np.trace(covariance) / len(covariance)
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    turned = (rows.astype(np.float64) - mean) @ root
    return np.asarray(np.einsum("ij,ij->i", turned, turned))


def nearest_before(rows: Rows) -> Float:
    """Distance of each row but the first to the nearest one before it: float64 (n − 1,)."""
    square = np.einsum("ij,ij->i", rows, rows)
    gaps = square[:, None] + square[None, :] - 2 * (rows @ rows.T)
    gaps[np.triu_indices(len(rows))] = np.inf
    return np.asarray(np.sqrt(np.maximum(gaps[1:].min(axis=1), 0.0)), np.float64)


def prada(rows: Rows) -> float:
    """1 − W of Shapiro and Wilk's test on the distances to the nearest earlier query.

    Juuti et al., "PRADA: Protecting Against DNN Model Stealing Attacks", EuroS&P 2019: distances
    between an attacker's queries are not normal. Those farther than three standard deviations from
    the mean are left out, as there; there is one class, because a language model has none.
    """
    from scipy.stats import shapiro

    gaps = nearest_before(rows)
    spread = gaps.std()
    kept = gaps[np.abs(gaps - gaps.mean()) <= 3 * spread]
    if len(kept) < 3 or np.ptp(kept) < 1e-9:
        return 1.0
    return float(1 - shapiro(kept).statistic)


def alike(rows: Rows, limit: float) -> Rows:
    """Which pairs have an inner product of at least `limit`: float32 zeros and ones (n, n)."""
    return (rows @ rows.T >= limit).astype(np.float32)


def similarity_limit(reference: Rows, share: float, most: int = 2_000) -> float:
    """The inner product that a share of the reference's pairs passes."""
    chosen = reference[:most]
    upper = np.triu_indices(len(chosen), 1)
    return float(np.quantile((chosen @ chosen.T)[upper], 1 - share))


def pair_count(weights: Rows, pairs: Rows) -> Float:
    """Share of the pairs of each window that are alike: float64 of shape (w,).

    Zhang et al., "SEAT: Similarity Encoder by Adversarial Training for Detecting Model Extraction
    Attack Queries", AISec 2021, count such pairs; the encoder here is the product's embedding.
    """
    n = weights.sum(axis=1, dtype=np.float64)
    total = np.einsum("ij,ij->i", times(weights, pairs), weights, dtype=np.float64)
    return np.asarray((total - n) / (n * (n - 1)))


def cells_covered(weights: Rows, cells: NDArray[np.int64], count: int) -> Float:
    """Share of the codebook's cells that each window visits: float64 of shape (w,)."""
    hot = np.zeros((len(cells), count), np.float32)
    known = np.flatnonzero(cells < count)
    hot[known, cells[known]] = 1.0
    return np.asarray(((weights @ hot) > 0).mean(axis=1), np.float64)
