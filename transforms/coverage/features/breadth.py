"""Breadth: how many topics, how evenly, how fast new ones come, and how much space they span.

Each function takes n sketches and returns float64 of shape (n,), NaN where a sketch cannot say.
"""

from __future__ import annotations

import math

import numpy as np

from transforms.coverage.features.arrays import Float, divide, log
from transforms.coverage.features.block import SketchBlock
from transforms.embedding.space import AXES, UNIT


def hill_number(block: SketchBlock) -> Float:
    """F1: log of Hill's number of order 1, the Shannon entropy of the cells in nats.

    Hill, "Diversity and Evenness", Ecology 1973; exp of it is the number of equally used cells.
    """
    return block.cells.entropy()


def effective_rank(block: SketchBlock) -> Float:
    """F2: log of the number of directions in use, tr² / ‖S‖²_F of the projected second moment S.

    Friedman and Dieng, "The Vendi Score", TMLR 2023 (order 2, linear kernel). Two corrections: the
    diagonal terms of single events are taken out of ‖S‖², so that the value estimates the
    population's and not the sample's, whose rank is at most n; and the share 1/k that a projection
    to k = 64 axes adds to every squared cosine is taken out again,
    F̂ = (F − 1/k) / (1 + 1/k).
    """
    n = block.vectors
    known = n >= 4
    # ‖S‖² = Σᵢⱼ (xᵢ·xⱼ)² with (xᵢ·xᵢ)² = 1; unbiased over the pairs i ≠ j.
    pairs = divide(block.scatter.square - n, n * (n - 1), known)
    corrected = np.maximum((pairs - 1 / AXES) / (1 + 1 / AXES), 1e-4)
    return -log(corrected, known)


def own_rank(block: SketchBlock) -> Float:
    """F2: the effective rank of what is left when the key's own mean is taken out.

    A fixed prompt around every question makes all of a key's requests alike; their covariance
    C = S / n − μ μᵀ still says how many directions the questions themselves take. As in
    `effective_rank`, the part of ‖C‖² that a sample of n has by chance, tr² / (n − 1), and the
    share of the projection are taken out.
    """
    n = block.vectors
    known = n >= 6
    size = np.maximum(n, 2)
    square = _mean_square(block)
    around = block.scatter.square / size**2 - 2 * block.scatter.along / size + square**2
    trace = np.maximum((1 - square) * size / (size - 1), 1e-9)
    left = around * (size / (size - 1)) ** 2 - trace**2 / (size - 1)
    corrected = np.maximum((left / trace**2 - 1 / AXES) / (1 + 1 / AXES), 1e-4)
    return -log(corrected, known)


def _mean_square(block: SketchBlock) -> Float:
    """‖μ‖² of the mean μ of a key's unit vectors."""
    mean = block.vector_sum / UNIT / np.maximum(block.vectors, 1)[:, None]
    square: Float = (mean * mean).sum(axis=1)
    return square


def unseen_share(block: SketchBlock) -> Float:
    """F3: Good and Turing's estimate of the share of the next requests that fall in new cells.

    Good, "The Population Frequencies of Species", Biometrika 1953: f₁ / n.
    """
    total = block.cells.total()
    return divide(block.cells.equal_to(1), total, total >= 2)


def chao_richness(block: SketchBlock) -> Float:
    """F3: log of Chao's lower bound of the number of cells, bias-corrected Chao1.

    Chao, "Nonparametric Estimation of the Number of Classes in a Population", Scand. J. Stat. 1984:
    V + f₁ (f₁ − 1) / (2 (f₂ + 1)).
    """
    cells = block.cells
    once, twice = cells.equal_to(1), cells.equal_to(2)
    richness = cells.size() + once * (once - 1) / (2 * (twice + 1))
    return log(richness, cells.total() >= 2)


def heaps_slope(block: SketchBlock) -> Float:
    """F4: d ln V / d ln n, how steadily new cells keep coming, between n/2 and n by rarefaction.

    Heaps's law with Hurlbert's rarefaction (Ecology 1971) of the cell counts, binomial form.
    """
    cells = block.cells
    # Beyond 64 the chance to be missed, 0.5**count, is nothing beside 1.
    half = cells.sum(1 - 0.5 ** np.minimum(cells.count, 64.0))
    known = cells.total() >= 4
    return log(divide(cells.size(), half, known), known) / math.log(2)


def log_volume(block: SketchBlock) -> Float:
    """F6: log det(I + S / (n ε)) with ε = 1/64, per axis: the log-volume of the covered
    ellipsoid."""
    return np.where(block.vectors >= 2, block.scatter.log_det / AXES, np.nan)


def common_direction(block: SketchBlock) -> Float:
    """Mean cosine between two different events of the key, ‖Σx‖² corrected for the diagonal."""
    n = block.vectors
    total = block.vector_sum / UNIT
    return divide((total * total).sum(axis=1) - n, n * (n - 1), n >= 2)
