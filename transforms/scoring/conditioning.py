"""What is normal for a key's volume and peer group, and how far a key is from it.

Breadth grows with volume, and differs between a business and a person: a raw feature says little.
The conditioner keeps, on a grid over one or two covariates (log requests; for clusters also log
members), the median and the spread of every feature among the nearest benign keys, for everyone,
for each peer group that is large enough, and for each kind of use within it; a small group is drawn
towards the one that it is part of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from transforms.scoring.kinds import parent

Float = NDArray[np.float64]

EVERYONE = ""
MIN_GROUP = 40  # a smaller peer group has no normal of its own
_BORROW = 60.0  # keys' worth of weight that everyone has in a group's normal
_NODES = (24, 10)  # grid nodes for one covariate, and along each of two
_CLIP = 8.0
_LEAST_SPREAD = 0.3  # of all keys' spread, that a part of them has at least


@dataclass(frozen=True, slots=True, eq=False)
class Conditioner:
    """Normal values by peer group.

    Attributes:
      groups: names; the first is EVERYONE.
      axes: grid nodes of each covariate, ascending.
      median, spread: float64 of shape (groups, *nodes, features); spread is a robust standard
        deviation, infinite where a feature was never known.
    """

    groups: tuple[str, ...]
    axes: tuple[Float, ...]
    median: Float
    spread: Float

    def normal(self, covariates: Float, groups: list[str]) -> tuple[Float, Float]:
        """Median and spread for each of n keys: two float64 arrays of shape (n, features).

        Args:
          covariates: float64 of shape (n, len(axes)); values outside the grid count as its edge.
          groups: peer group of each key; an unknown one counts as what it is part of.
        """
        known = {name: i for i, name in enumerate(self.groups)}
        group = np.array([_nearest_known(name, known) for name in groups], np.int64)
        corners = [(group, np.ones(len(group)))]
        index: list[list[NDArray[np.int64]]] = [[]]
        for axis, values in zip(self.axes, covariates.T, strict=True):
            value = np.clip(values, axis[0], axis[-1])
            low = np.clip(np.searchsorted(axis, value, side="right") - 1, 0, len(axis) - 2)
            share = (value - axis[low]) / (axis[low + 1] - axis[low])
            corners = [(g, w * part) for g, w in corners for part in (1 - share, share)]
            index = [[*path, low + step] for path in index for step in (0, 1)]
        median = np.zeros((len(group), self.median.shape[-1]))
        spread = np.zeros_like(median)
        for (g, weight), path in zip(corners, index, strict=True):
            median += weight[:, None] * self.median[(g, *path)]
            # An infinite spread must stay infinite, and never become 0 × ∞.
            spread += np.where(weight[:, None] > 0, weight[:, None], 0.0) * np.minimum(
                self.spread[(g, *path)], 1e300
            )
        return median, spread

    def standardise(self, features: Float, covariates: Float, groups: list[str]) -> Float:
        """Robust z-scores, float64 (n, features), clipped to ±8; unknown values become 0."""
        median, spread = self.normal(covariates, groups)
        z = (features - median) / spread
        return np.clip(np.nan_to_num(z, nan=0.0, posinf=_CLIP, neginf=-_CLIP), -_CLIP, _CLIP)


def fit_conditioner(features: Float, covariates: Float, groups: list[str]) -> Conditioner:
    """Fits the normal values.

    Args:
      features: float64 of shape (n, f), NaN where unknown.
      covariates: float64 of shape (n, 1) or (n, 2).
      groups: peer group of each key.

    Raises:
      ValueError: when there are no keys.
    """
    n, dims = covariates.shape
    if not n:
        raise ValueError("no keys to learn normal values from")
    nodes = _NODES[dims - 1]
    axes = tuple(_axis(column, nodes) for column in covariates.T)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    shape = grid.shape[:-1]
    points = grid.reshape(-1, dims)
    normal = {EVERYONE: _local(features, covariates, points, None)}
    labels = np.array(groups, dtype=object)
    bases = np.array([parent(name) or name for name in groups], dtype=object)
    # Peer groups before the kinds within them, which borrow from them.
    for of_each in (bases, labels):
        for name in sorted(set(of_each)):
            rows = np.flatnonzero(of_each == name)
            if name in normal or not MIN_GROUP <= len(rows) < n:
                continue
            above = _nearest_known(parent(name), normal)
            own = _local(features[rows], covariates[rows], points, above)
            normal[name] = _drawn_towards(above, own, len(rows))
    names = tuple(normal)
    full = (len(names), *shape, features.shape[1])
    return Conditioner(
        names,
        axes,
        np.array([median for median, _ in normal.values()]).reshape(full),
        np.array([spread for _, spread in normal.values()]).reshape(full),
    )


_Normal = tuple[Float, Float]
_Name = TypeVar("_Name")


def _nearest_known(name: str, known: Mapping[str, _Name]) -> _Name:
    """What is known of a group, of the one it is part of, or of everyone."""
    while name not in known and name:
        name = parent(name)
    return known[name]


def _drawn_towards(above: _Normal, own: _Normal, keys: int) -> _Normal:
    share = keys / (keys + _BORROW)
    median = share * own[0] + (1 - share) * above[0]
    return median, np.where(np.isinf(above[1]), np.inf, share * own[1] + (1 - share) * above[1])


def _axis(values: Float, nodes: int) -> Float:
    low, high = np.quantile(values, [0.005, 0.995])
    return np.linspace(low, max(high, low + 1e-3), nodes)


def _local(
    features: Float, covariates: Float, points: Float, fallback: tuple[Float, Float] | None
) -> tuple[Float, Float]:
    """Median and spread of the nearest keys at each grid point: two arrays (points, features)."""
    n = len(features)
    nearest = int(min(n, max(MIN_GROUP, min(n // 8, 400))))
    width = np.maximum(covariates.std(axis=0), 1e-6)
    floor = _LEAST_SPREAD * _robust_spread(features) + 1e-6
    median = np.zeros((len(points), features.shape[1]))
    spread = np.full_like(median, np.inf)
    for i, point in enumerate(points):
        distance = np.abs((covariates - point) / width).max(axis=1)
        # With all that are as near as the last one: volumes tie, and input order must not choose.
        local = features[distance <= np.partition(distance, nearest - 1)[nearest - 1]]
        known = (~np.isnan(local)).sum(axis=0) >= min(8, nearest)
        if known.any():
            middle, sigma = _middle_and_spread(local[:, known])
            median[i, known] = middle
            spread[i, known] = np.maximum(sigma, floor[known])
        if fallback is not None:
            median[i, ~known], spread[i, ~known] = fallback[0][i, ~known], fallback[1][i, ~known]
    return median, spread


def _middle_and_spread(values: Float) -> tuple[Float, Float]:
    low, middle, high = np.nanquantile(values, [0.1587, 0.5, 0.8413], axis=0)
    # The wider half: a skewed feature must not look extreme on its long, normal side.
    return middle, np.maximum(np.maximum(high - middle, middle - low), 0.0)


def _robust_spread(features: Float) -> Float:
    out = np.zeros(features.shape[1])
    known = (~np.isnan(features)).any(axis=0)
    if known.any():
        out[known] = _middle_and_spread(features[:, known])[1]
        flat = known & (out == 0)
        out[flat] = np.nanstd(features[:, flat], axis=0)
    return out
