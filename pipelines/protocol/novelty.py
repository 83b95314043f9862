"""How far what a key asks lies from its own past, or from its peer group's: tests on sketches.

A reference and a key to be compared with it are both known by additive state of the coverage
sketch alone: counts, sum and second moment of the coordinates, histograms of prompt sizes and of
scaffolds. No events are needed on either side, so the reference can be the key's own past, its peer
group, or any merged sketch.

Let μ, C be mean and covariance of the reference, W = C^(−1/2), and let x̄, S be a key's mean and
second moment about μ. In the whitened coordinates y = W(x − μ) the reference has mean 0 and second
moment I, and a Gaussian's products y_i y_j have variance 1 (2 on the diagonal; Isserlis, "On a
Formula for the Product-Moment Coefficient", Biometrika 1918). With m events in the reference and n
in the key, f = n m / (n + m) scales a difference of two means to unit variance. A key that is a
mixture, a share α of it foreign, shifts every one of these means by α times the foreign traffic's
own shift, so power grows with α² n.

Where foreign traffic lies is not known. Two things are assumed, neither of them an attack: it does
not respect the directions in which the reference hardly varies (whitening gives these their
weight), and it lies, more likely than not, where *other* benign sources differ from this one (the
directions of `toward_others`; that is the between-source covariance of probabilistic discriminant
analysis, Ioffe, "Probabilistic Linear Discriminant Analysis", ECCV 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.coverage import layout
from transforms.coverage.layout import Bins
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.space import AXES, UNIT

Float = NDArray[np.float64]

STATISTICS = (
    "mean_shift",
    "moment_shift",
    "moment_peak",
    "excess_variance",
    "mean_toward_others",
    "moment_toward_others",
    "size_novelty",
    "prefix_novelty",
    "suffix_novelty",
)
"""Columns of `Reference.statistics`; near 0 for the reference's own traffic, up is foreign."""

COORDINATES = STATISTICS[:6]
"""Those that need nothing but the coordinates of the embedding."""

_I, _J = layout.UPPER
_PAIRS = len(_I)
_DIAGONAL = _I == _J
_SPREAD = np.where(_DIAGONAL, np.sqrt(2.0), 1.0)
_LEAST = 4


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Additive state of k keys, as floats in units of one event.

    Attributes:
      vectors: events with coordinates, float64 of shape (k,).
      total: sum of coordinates x (unit vectors), float64 of shape (k, 64).
      moment: Σ x xᵀ, upper triangle by rows, float64 of shape (k, 2080).
      sizes: events by octave of input tokens, float64 of shape (k, 24).
      prefixes, suffixes: events by scaffold bucket, the last one for those without a scaffold,
        float64 of shape (k, 257).
    """

    vectors: Float
    total: Float
    moment: Float
    sizes: Float
    prefixes: Float
    suffixes: Float

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, index: NDArray[np.intp] | slice) -> Blocks:
        """The keys at `index`."""
        return Blocks(*(part[index] for part in self._parts()))

    def merged(self) -> Blocks:
        """All keys as one."""
        return Blocks(*(part.sum(axis=0, keepdims=True) for part in self._parts()))

    def __add__(self, other: Blocks) -> Blocks:
        return Blocks(*(a + b for a, b in zip(self._parts(), other._parts(), strict=True)))

    def __sub__(self, other: Blocks) -> Blocks:
        return Blocks(*(a - b for a, b in zip(self._parts(), other._parts(), strict=True)))

    def _parts(self) -> tuple[Float, ...]:
        return (
            self.vectors, self.total, self.moment, self.sizes, self.prefixes, self.suffixes,
        )  # fmt: skip


def blocks_of(sketches: Sequence[CoverageSketch]) -> Blocks:
    """The state of k sketches that the tests use.

    Args:
      sketches: k sketches made in one embedding space.
    """
    k = len(sketches)
    out = Blocks(
        np.zeros(k), np.zeros((k, AXES)), np.zeros((k, _PAIRS)),
        np.zeros((k, 24)), np.zeros((k, 257)), np.zeros((k, 257)),
    )  # fmt: skip
    for row, sketch in enumerate(sketches):
        moment, total, _ = sketch.dense_moments()
        out.vectors[row] = sketch.vectors
        out.moment[row] = moment / float(UNIT * UNIT)
        out.total[row] = total / float(UNIT)
        out.sizes[row] = sketch.histogram(Bins.INPUT_SIZE, Bins.TRAIL)
        for into, start, stop in (
            (out.prefixes, Bins.PREFIX_SCAFFOLD, Bins.SUFFIX_SCAFFOLD),
            (out.suffixes, Bins.SUFFIX_SCAFFOLD, Bins.INPUT_SIZE),
        ):
            into[row, :256] = sketch.histogram(start, stop)
            into[row, 256] = sketch.events - into[row, :256].sum()
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """Log-likelihood ratio of each bin, centred and scaled to the reference; float64 (bins,)."""

    value: Float

    def mean(self, counts: Float) -> Float:
        total = counts.sum(axis=1)
        return np.asarray((counts @ self.value) / np.maximum(total, 1.0))


def _log_ratio(own: Float, others: Float, pseudo: float = 20.0) -> _Weights:
    """Weights log(q/p) of bins: p the reference's share of a bin, q what anybody might send.

    q is half the others' histogram and half uniform; p is smoothed toward q with `pseudo` events,
    which bounds a weight by log(1 + own events / pseudo): a bin that the reference never used
    counts much, but not without limit. The likelihood-ratio statistic restricted by smoothing, see
    Good, "The Population Frequencies of Species", Biometrika 1953.
    """
    bins = len(own)
    q = 0.5 / bins + 0.5 * (others + 0.5) / (others + 0.5).sum()
    p = (own + pseudo * q) / (own.sum() + pseudo)
    weight = np.log(q / p)
    share = own / max(own.sum(), 1.0)
    centre = float(share @ weight)
    spread = float(np.sqrt(max(share @ (weight - centre) ** 2, 1e-6)))
    return _Weights((weight - centre) / spread)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is normal for a key: fitted by `fit_reference`, kept in a bundle.

    Attributes:
      events: m, events behind the reference.
      mean: μ, float64 of shape (64,).
      whitening: W, float64 of shape (64, 64); y = (x − μ) W.
      expected: E[y yᵀ] of the reference, upper triangle, float64 of shape (2080,).
      mean_axes, moment_axes: orthonormal columns spanning where others differ, in whitened
        coordinates: float64 of shapes (64, a) and (2080, b).
      sizes, prefixes, suffixes: weights of the bins.
    """

    events: float
    mean: Float
    whitening: Float
    expected: Float
    mean_axes: Float
    moment_axes: Float
    sizes: _Weights
    prefixes: _Weights
    suffixes: _Weights

    def statistics(self, keys: Blocks) -> Float:
        """Test statistics of k keys: float64 of shape (k, 9), NaN for fewer than 4 vectors.

        Columns, in the order of `STATISTICS`, with d = W(x̄ − μ), D = standardised W S W − E[y yᵀ]:

        * mean_shift: (f ‖d‖² − 64) / √128, Hotelling's T² (Ann. Math. Stat. 1931) standardised;
        * moment_shift: (f ‖D‖² − 2080) / √4160, the same for the second moment (Nagao, "On Some
          Test Criteria for Covariance Matrix", Ann. Stat. 1973);
        * moment_peak: √f λ_max(D) / 8, one new direction (Roy's largest root);
        * excess_variance: √f tr(D) / 8, the mean squared Mahalanobis distance in excess of the
          reference's;
        * mean_toward_others, moment_toward_others: the first two, in the directions in which other
          sources differ;
        * size_, prefix_, suffix_novelty: √f times the mean log-ratio of the bins.
        """
        n = keys.vectors
        out = np.full((len(keys), len(STATISTICS)), np.nan)
        known = np.flatnonzero(n >= _LEAST)
        if not len(known):
            return out
        keys, n = keys.take(known), n[known]
        factor = n * self.events / (n + self.events)
        mean, second = self._whitened(keys)
        difference = (second - self.expected) / _SPREAD * np.sqrt(factor)[:, None]
        along = mean @ self.mean_axes
        across = difference @ self.moment_axes
        a, b = self.mean_axes.shape[1], self.moment_axes.shape[1]
        out[known] = np.stack(
            [
                (factor * (mean**2).sum(axis=1) - AXES) / np.sqrt(2 * AXES),
                ((difference**2).sum(axis=1) - _PAIRS) / np.sqrt(2 * _PAIRS),
                np.linalg.eigvalsh(_square(difference))[:, -1] / np.sqrt(AXES),
                difference[:, _DIAGONAL].sum(axis=1) / np.sqrt(AXES),
                (factor * (along**2).sum(axis=1) - a) / np.sqrt(2 * max(a, 1)),
                ((across**2).sum(axis=1) - b) / np.sqrt(2 * max(b, 1)),
                np.sqrt(factor) * self.sizes.mean(keys.sizes),
                np.sqrt(factor) * self.prefixes.mean(keys.prefixes),
                np.sqrt(factor) * self.suffixes.mean(keys.suffixes),
            ],
            axis=1,
        )
        return out

    def _whitened(self, keys: Blocks) -> tuple[Float, Float]:
        return _whitened(keys, self.mean, self.whitening)


def _square(packed: Float) -> Float:
    """Symmetric matrices (k, 64, 64) from their upper triangles (k, 2080)."""
    matrix = np.zeros((len(packed), AXES, AXES))
    matrix[:, _I, _J] = packed
    matrix[:, _J, _I] = packed
    return matrix


def _whitened(keys: Blocks, mean: Float, whitening: Float) -> tuple[Float, Float]:
    """Mean (k, 64) and packed second moment (k, 2080) of y = (x − μ) W."""
    own = keys.total / keys.vectors[:, None]
    second = _square(keys.moment / keys.vectors[:, None])
    cross = own[:, :, None] * mean
    about = second - cross - cross.transpose(0, 2, 1) + np.outer(mean, mean)
    turned = whitening.T @ about @ whitening
    return (own - mean) @ whitening, turned[:, _I, _J]


def fit_reference(
    own: Blocks,
    others: Blocks,
    ridge: float = 0.01,
    prior: float = 64.0,
    axes: tuple[int, int] = (24, 64),
) -> Reference:
    """Fits what is normal.

    Args:
      own: the reference's traffic, any number of keys (they are merged): a key's own past, or its
        peer group's history.
      others: k benign keys, or topics, of other sources: where traffic that is not the reference's
        may lie. Those with fewer than 6 vectors are passed over; none is allowed.
      ridge: added to the eigenvalues of C, as a share of their mean: no direction counts more than
        1/ridge times an average one.
      prior: events' worth of the others' covariance mixed into C; steadies it for a short past.
      axes: at most how many directions of the mean, and of the second moment, others may span.

    Raises:
      ValueError: when the reference has fewer than 4 vectors.
    """
    own = own.merged()
    m = float(own.vectors[0])
    if m < _LEAST:
        raise ValueError(f"a reference of {m:g} vectors")
    everyone = others.merged()
    mean = own.total[0] / m
    covariance = _square(own.moment)[0] / m - np.outer(mean, mean)
    if everyone.vectors[0] >= _LEAST:
        wide = everyone.total[0] / everyone.vectors[0]
        around = _square(everyone.moment)[0] / everyone.vectors[0] - np.outer(wide, wide)
        covariance = (m * covariance + prior * around) / (m + prior)
    value, vector = np.linalg.eigh(covariance)
    value = np.maximum(value, 0.0)
    whitening = vector / np.sqrt(value + ridge * max(float(value.mean()), 1e-9))
    _, expected = _whitened(own, mean, whitening)
    enough = others.take(np.flatnonzero(others.vectors >= 6))
    shift, second = _whitened(enough, mean, whitening)
    return Reference(
        m,
        mean,
        whitening,
        expected[0],
        _leading(shift, axes[0]),
        _leading((second - expected) / _SPREAD, axes[1]),
        _log_ratio(own.sizes[0], everyone.sizes[0]),
        _log_ratio(own.prefixes[0], everyone.prefixes[0]),
        _log_ratio(own.suffixes[0], everyone.suffixes[0]),
    )


def _leading(rows: Float, count: int) -> Float:
    """Orthonormal leading right singular vectors of rows (k, d): float64 of shape (d, ≤ count)."""
    if not len(rows):
        return np.zeros((rows.shape[1], 0))
    _, _, right = np.linalg.svd(rows, full_matrices=False)
    return np.ascontiguousarray(right[:count].T)


def plain_shift(keys: Float, events: Float, own: Float, m: float) -> Float:
    """f ‖x̄ − μ‖² of k keys in the embedding's own coordinates, float64 of shape (k,).

    Whitening with few events lends weight to directions that were never measured; a short past is
    better compared without.

    Args:
      keys, events: sums of vectors, float64 of shape (k, d), and how many: (k,), not 0.
      own, m: the same of the reference, (d,) and one number.
    """
    difference = keys / events[:, None] - own / m
    return np.asarray(events * m / (events + m) * (difference**2).sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """One number from several statistics: Σ max(0, z)⁴, z standardised on benign keys.

    A foreign share moves some statistics up and none reliably down, so only the upper side counts.
    Which ones it moves is not known: with fourth powers one that stands out is not drowned by the
    noise of the others. Statistics with a long upper tail would be, and drown others, if z were in
    standard deviations; it is in units of the distance from the median to the upper 1 %. The
    distribution of the sum is not assumed: compare with the same on benign keys (`conformal_p`).

    Attributes:
      columns: of the statistics, those that count.
      centre, scale: of these on benign keys, float64 of shape (columns,).
    """

    columns: tuple[int, ...]
    centre: Float
    scale: Float

    def score(self, statistics: Float) -> Float:
        """Scores of k keys, float64 of shape (k,); unknown statistics count nothing."""
        z = (statistics[:, self.columns] - self.centre) / self.scale
        return np.asarray((np.maximum(np.nan_to_num(z, nan=0.0), 0.0) ** 4).sum(axis=1))


def fit_combination(benign: Float, columns: Sequence[int] | None = None) -> Combination:
    """Standardises statistics on benign keys.

    Args:
      benign: statistics of keys that the reference has not seen, float64 of shape (k, s).
      columns: those that count; None for all.
    """
    counted = tuple(range(benign.shape[1]) if columns is None else columns)
    middle, upper = np.nanquantile(benign[:, counted], (0.5, 0.99), axis=0)
    return Combination(counted, middle, np.maximum(upper - middle, 1e-9))
