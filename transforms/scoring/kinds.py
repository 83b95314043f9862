"""Kinds of use, learnt from the history without labels: groups of accounts that work alike.

What coverage is normal differs between a business with one task, an evaluator, an aggregator and a
person. How they work tells them apart: tools, formats, turns, lengths, rhythm, networks. What they
cover is left out on purpose, because breadth must stay comparable within a kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

BEHAVIOUR = (
    "tool_share", "structured_share", "continued_share", "output_ratio", "size_entropy",
    "top_scaffold_share", "networks", "clients", "circadian_amplitude", "common_direction",
)  # fmt: skip
_SEPARATOR = "#"
_LEAST = 80  # keys of the history for each kind
_CLIP = 3.0  # one extreme habit must not make a kind


def refined(group: str, kind: int) -> str:
    """Name of a kind within a peer group."""
    return f"{group}{_SEPARATOR}{kind}"


def parent(group: str) -> str:
    """The peer group that a kind belongs to; of a peer group "", which is everyone."""
    return group.rpartition(_SEPARATOR)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Nearest centres in standardised habits.

    Attributes:
      columns: intp of shape (b,), the habits among the features.
      middle, reach: float64 of shape (b,), median and spread of each.
      centres: float64 of shape (k, b); without any, there is one kind and names stay as they are.
    """

    columns: NDArray[np.intp]
    middle: Float
    reach: Float
    centres: Float

    def of(self, features: Float) -> NDArray[np.intp]:
        """The kind of each of n keys: intp of shape (n,).

        Args:
          features: float64 of shape (n, f); an unknown habit counts as the usual one.
        """
        rows = _standard(features[:, self.columns], self.middle, self.reach)
        distance = ((rows[:, None, :] - self.centres[None]) ** 2).sum(axis=2)
        nearest: NDArray[np.intp] = distance.argmin(axis=1)
        return nearest

    def refine(self, features: Float, groups: Sequence[str]) -> list[str]:
        """Names of the kinds of n keys within their peer groups."""
        if len(self.centres) < 2:
            return list(groups)
        return [refined(g, int(k)) for g, k in zip(groups, self.of(features), strict=True)]


NO_KINDS = Kinds(np.empty(0, np.intp), np.empty(0), np.empty(0), np.empty((0, 0)))


def fit_kinds(features: Float, columns: Sequence[str], most: int, seed: int) -> Kinds:
    """Learns the kinds of a history by k-means (Lloyd, IEEE Trans. Inf. Theory 1982).

    Args:
      features: of n keys, float64 of shape (n, f), NaN where unknown.
      columns: names of the f features.
      most: kinds; fewer for a history of fewer than 80 keys for each, 1 and less for none.
      seed: of the first centres.
    """
    from sklearn.cluster import KMeans

    index = {name: i for i, name in enumerate(columns)}
    used = np.array([index[name] for name in BEHAVIOUR if name in index], np.intp)
    count = min(most, len(features) // _LEAST)
    if count < 2 or not len(used):
        return NO_KINDS
    habits = features[:, used]
    known = (~np.isnan(habits)).sum(axis=0) >= _LEAST
    used, habits = used[known], habits[:, known]
    if not len(used):
        return NO_KINDS
    middle = np.nanmedian(habits, axis=0)
    reach = np.maximum(np.nanstd(habits, axis=0), 1e-6)
    rows = _standard(habits, middle, reach)
    # Sorted, so that the kinds do not depend on the order of the keys.
    rows = rows[np.lexsort(rows.T)]
    found = KMeans(min(count, len(np.unique(rows, axis=0))), n_init=10, random_state=seed).fit(rows)
    centres = found.cluster_centers_
    return Kinds(used, middle, reach, centres[np.lexsort(centres.T)])


def _standard(habits: Float, middle: Float, reach: Float) -> Float:
    standard: Float = np.clip(np.nan_to_num((habits - middle) / reach), -_CLIP, _CLIP)
    return standard
