"""What every method of the window protocol says of a window against one reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.protocol.baselines import distance, kernel
from pipelines.protocol.baselines.kernel import times
from pipelines.protocol.novelty import (
    COORDINATES,
    STATISTICS,
    Blocks,
    fit_combination,
    fit_reference,
    plain_shift,
)
from pipelines.protocol.prompts import Pool
from pipelines.protocol.wording import BINS, fit_wording, wording_excess

Float = NDArray[np.float64]
Ids = NDArray[np.int64]
Rows = NDArray[np.float32]

OURS, OURS_COORDINATES = "novelty", "novelty, embedding only"
COLUMNS = (*STATISTICS, "plain_shift", "wording_excess")
COUNTED: dict[str, tuple[str, ...]] = {
    OURS: ("plain_shift", "wording_excess"),
    OURS_COORDINATES: (*COORDINATES, "plain_shift"),
    "novelty, sketch only": STATISTICS,
}
"""Which of `COLUMNS` make up each of our methods."""
TWO_SIDED = ("PRADA", "SEAT", "CAP")
_PRADA_EVERY = 4  # windows; it is slow


class Others(NamedTuple):
    """Benign traffic of other sources: state of its topics, and how many prompts have a feature."""

    topics: Blocks
    words: Float


class Bench:
    """A pool with the matrices that the pairwise baselines need, made once."""

    def __init__(self, pool: Pool, medians: tuple[float, float], limit: float) -> None:
        self.pool = pool
        self.medians = medians
        self._limit = limit

    def views(self) -> tuple[Rows, Rows]:
        return self.pool.prompts.vectors, self.pool.unit

    @cached_property
    def grams(self) -> tuple[Rows, Rows]:
        full, axes = (
            kernel.kernel(view, view, median)
            for view, median in zip(self.views(), self.medians, strict=True)
        )
        return full, axes

    @cached_property
    def pairs(self) -> Rows:
        return distance.alike(self.pool.unit, self._limit)


Scorer = Callable[[Bench, Ids], dict[str, Float]]
_RAW = "statistics"


def fit_scorer(known: Bench, others: Others, reference: Ids, baselines: bool, cells: int) -> Scorer:
    """Scores of every method against one reference.

    Args:
      known: pool with the reference.
      others: benign traffic of other sources.
      reference: rows of `known`, int64 of shape (r,).
      baselines: whether to run them, too.
      cells: of the codebook.
    """
    pool = known.pool
    whole = np.zeros((1, len(pool)), np.float32)
    whole[0, reference] = 1.0
    normal = fit_reference(pool.sums(whole), others.topics)
    wording = fit_wording(pool.prompts.words[reference], others.words)
    own_total = pool.prompts.vectors[reference].sum(axis=0, dtype=np.float64)
    views = known.views()

    @cache
    def of_rows(bench: Bench) -> tuple[list[Float], list[Float], list[float]]:
        """Of each row, by view: mean kernel with the reference, distance; the reference's own."""
        cross = [
            np.asarray(gram @ whole[0], np.float64) / len(reference)
            if bench is known
            else kernel.mean_kernel(rows, view[reference], median)
            for gram, rows, view, median in zip(
                known.grams, bench.views(), views, known.medians, strict=True
            )
        ]
        far = [
            distance.mahalanobis(view[reference], rows)
            for rows, view in zip(bench.views(), views, strict=True)
        ]
        return cross, far, [float(kernel.within(whole, gram)[0]) for gram in known.grams]

    @cache
    def in_bins(bench: Bench) -> Float:
        return np.eye(BINS)[wording.bins(bench.pool.prompts.words)]

    def scorer(bench: Bench, windows: Ids) -> dict[str, Float]:
        weights = np.zeros((len(windows), len(bench.pool)), np.float32)
        np.add.at(weights, (np.arange(len(windows))[:, None], windows), 1.0)
        n = windows.shape[1]
        total = times(weights, bench.pool.prompts.vectors).astype(np.float64)
        shift = plain_shift(total, np.full(len(windows), float(n)), own_total, len(reference))
        tail = wording_excess(weights @ in_bins(bench))
        sums = normal.statistics(bench.pool.sums(weights))
        out: dict[str, Float] = {_RAW: np.column_stack([sums, shift, tail])}
        if not baselines:
            return out
        cross, far, own_size = of_rows(bench)
        for i, name in enumerate(("", ", 64 axes")):
            own = kernel.within(weights, bench.grams[i])
            out[f"MMD{name}"] = kernel.mmd2(own, own_size[i], weights @ cross[i] / n)
            out[f"Mahalanobis{name}"] = weights @ far[i] / n
        out["SEAT"] = distance.pair_count(weights, bench.pairs)
        out["CAP"] = distance.cells_covered(weights, bench.pool.cells, cells)
        some = windows[::_PRADA_EVERY]
        out["PRADA"] = np.array([distance.prada(bench.pool.unit[w]) for w in some])
        return out

    return scorer


def finisher(base: dict[str, Float]) -> Callable[[dict[str, Float]], dict[str, Float]]:
    """One number for each window and method, up is suspicious, from what calibration says."""
    rules = {
        method: fit_combination(base[_RAW], [COLUMNS.index(name) for name in names])
        for method, names in COUNTED.items()
    }
    middle = {name: float(np.median(base[name])) for name in TWO_SIDED if name in base}

    def finish(raw: dict[str, Float]) -> dict[str, Float]:
        out = {name: rule.score(raw[_RAW]) for name, rule in rules.items()}
        for name, values in raw.items():
            if name in middle:
                out[name] = np.abs(values - middle[name])
            elif name != _RAW:
                out[name] = values
        return out

    return finish
