"""Conformal p-values by peer group, small groups borrowing from everyone.

With n calibration keys a conformal p-value is at least 1 / (n + 1). Beyond the largest calibration
scores the tail is continued as an exponential, the limit of light-tailed excesses over a threshold
(Pickands, Annals of Statistics 1975), by at most a factor of fifty: enough to rank what is outside,
and not a promise that the data cannot keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.scoring.kinds import parent

Float = NDArray[np.float64]

_TAIL_SHARE = 0.1
_FURTHEST = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Scores of benign keys that no model was fitted to.

    Attributes:
      scores: for each peer group, ascending float64; the group "" holds everyone's.
      enough: a group with fewer scores borrows from everyone.
    """

    scores: dict[str, Float]
    enough: int = 400

    def p_values(self, scores: Float, groups: list[str]) -> Float:
        """Conformal p-values, (1 + #{calibration ≥ s}) / (n + 1): float64 of shape (n,).

        Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; grouped
        calibration as in their Mondrian predictors. A group with n < `enough` counts the scores of
        the one that it is part of, in the end everyone's, with the weight that makes up for what is
        missing, so that a new peer group starts from the whole.
        """
        out = np.ones(len(scores))
        labels = np.array(groups, dtype=object)
        for name in set(groups):
            rows = labels == name
            parts = self._parts(name)
            total = sum(weight * len(values) for values, weight in parts)
            above = sum(weight * _at_least(values, scores[rows]) for values, weight in parts)
            conformal = (1 + above) / (total + 1)
            pooled = np.sort(np.concatenate([values for values, _ in parts]))
            out[rows] = np.minimum(conformal, _tail(pooled, scores[rows], 1 / (total + 1)))
        return out

    def _parts(self, name: str) -> list[tuple[Float, float]]:
        """Scores to compare a group with, and how much each counts."""
        parts: list[tuple[Float, float]] = []
        missing = float(self.enough)
        while missing > 0:
            values = self.scores.get(name, np.empty(0))
            if not parts or len(values):
                weight = 1.0 if not parts else min(1.0, missing / len(values))
                parts.append((values, weight))
                missing -= weight * len(values)
            if not name:
                break
            name = parent(name)
        return parts


def _tail(ordered: Float, scores: Float, resolution: float) -> Float:
    """Continues the calibration's tail beyond its largest scores; 1 where it has no say."""
    out = np.ones(len(scores))
    top = max(20, int(_TAIL_SHARE * len(ordered)))
    if len(ordered) < 2 * top:
        return out
    threshold = ordered[-top]
    scale = float((ordered[-top:] - threshold).mean()) * (1 + 1 / top**0.5)
    beyond = scores > ordered[-1]
    if scale > 0:
        excess = (scores[beyond] - threshold) / scale
        continued = top / (len(ordered) + 1) * np.exp(-excess)
        out[beyond] = np.clip(continued, resolution / _FURTHEST, resolution)
    return out


def _at_least(ordered: Float, scores: Float) -> Float:
    return (len(ordered) - np.searchsorted(ordered, scores, side="left")).astype(np.float64)


def calibrate(scores: Float, groups: list[str], enough: int = 400) -> Calibration:
    """Keeps the scores of calibration keys, float64 of shape (n,), by peer group."""
    table = {"": np.sort(scores)}
    for names in ([parent(name) or name for name in groups], groups):
        labels = np.array(names, dtype=object)
        for name in sorted(set(names) - {""}):
            table[name] = np.sort(scores[labels == name])
    return Calibration(table, enough)


def combine_with_cluster(account: float, cluster: float) -> float:
    """One p-value of an account and of the cluster that it is in.

    Good's weighted product ("On the Weighted Combination of Significance Tests", JRSS B 1955) with
    half the weight for the cluster: a member that is unremarkable by itself is not drawn in by the
    company it keeps as much as one that is remarkable. With x = p_a √p_c that is 2x − x² for
    independent p-values. An account is part of what its cluster is judged by, so the two may agree
    for one and the same reason: the result is never below the smaller of them, which is exact when
    they are the same test.

    Args:
      account, cluster: p-values.
    """
    x = account * math.sqrt(cluster)
    return max(2 * x - x * x, min(account, cluster))
