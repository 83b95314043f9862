"""Distance of what a key asks from what its peer group, and anybody in the history, asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.features.arrays import Float, Int64, divide
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.layout import Items, Sum
from transforms.embedding.space import FOURIER, fourier_mean


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a peer group asks.

    Attributes:
      mean: of the Fourier feature maps of its events, float64 of shape (256,).
      events: how many these were.
      models: uint64, ascending, 56-bit hashes of the models that anybody asked.
    """

    mean: Float
    events: float
    models: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))


def novelty(block: SketchBlock) -> Float:
    """F5: mean distance, 1 − cosine, of a request from the nearest cell centre of the history.

    The quantisation error of the codebook (Gersho and Gray, "Vector Quantization and Signal
    Compression", 1992): small for what somebody in the history asked, whoever it was.
    """
    n = block.vectors
    return 1 - divide(block.sums[:, Sum.NEARNESS], n, n >= 2) / 1000


def mmd2(block: SketchBlock, references: Sequence[Reference | None]) -> Float:
    """F5: unbiased squared maximum mean discrepancy to a reference.

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, with random Fourier features.

    Args:
      block: n sketches.
      references: the peer group's for each of them (`fourier_mean` over its events), or None.

    Returns:
      float64 of shape (n,), NaN without a usable reference and for fewer than four vectors.
    """
    means, events, which = _distinct(references)
    n = block.vectors
    known = (which >= 0) & (n >= 4)
    if not known.any():
        return np.full(len(block), np.nan)
    mean = fourier_mean(block.fourier_sum, np.maximum(n, 1)[:, None])
    own = divide(n * (mean * mean).sum(axis=1) - 1, n - 1, known)
    other = (events * (means * means).sum(axis=1) - 1) / (events - 1)
    between = (mean * means[which]).sum(axis=1)
    distance: Float = own + other[which] - 2 * between
    return distance


def new_model_share(block: SketchBlock, references: Sequence[Reference | None]) -> Float:
    """F23: share of the requests to models that nobody asked in the history.

    Half of a campaign moves to a new model within a day; so do the curious, but not half of them.

    Returns:
      float64 of shape (n,), NaN where no model is said or the history's are unknown.
    """
    out = np.full(len(block), np.nan)
    asked = block.items(Items.MODEL)
    hashes = block.hashes(Items.MODEL)
    total = asked.total()
    for models in {id(r.models): r.models for r in references if r is not None}.values():
        of_these = np.array([r is not None and r.models is models for r in references], bool)
        known = of_these & (total > 0) & (len(models) > 0)
        new = asked.sum(np.where(np.isin(hashes, models), 0.0, asked.count))
        out = np.where(known, divide(new, total, known), out)
    return out


def _distinct(references: Sequence[Reference | None]) -> tuple[Float, Float, Int64]:
    """Each usable reference once, and which of them each key has, −1 for none."""
    place: dict[int, int] = {}
    usable: list[Reference] = []
    which = np.full(len(references), -1)
    for i, reference in enumerate(references):
        if reference is None:
            continue
        if id(reference) not in place:
            fits = reference.mean.shape == (FOURIER,) and reference.events >= 2
            place[id(reference)] = len(usable) if fits else -1
            usable += [reference] * fits
        which[i] = place[id(reference)]
    means = np.array([r.mean for r in usable]).reshape(len(usable), FOURIER)
    return means, np.array([r.events for r in usable], np.float64), which
