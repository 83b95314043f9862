"""Conformal p-values by peer group, small groups borrowing from everyone.

With n calibration keys a conformal p-value is at least 1 / (n + 1). Beyond the largest calibration
scores the tail is continued as an exponential, the limit of light-tailed excesses over a threshold
(Pickands, Annals of Statistics 1975), by at most a factor of fifty: enough to rank what is outside,
and not a promise that the data cannot keep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        calibration as in their Mondrian predictors. A group with n < `enough` counts everyone's
        scores with weight (enough − n) / everyone, so a new peer group starts from the whole.
        """
        everyone = self.scores.get("", np.empty(0))
        out = np.ones(len(scores))
        labels = np.array(groups, dtype=object)
        for name in set(groups):
            rows = labels == name
            own = self.scores.get(name, np.empty(0))
            parts = [(own, 1.0)]
            if name and len(own) < self.enough and len(everyone):
                parts.append((everyone, min(1.0, (self.enough - len(own)) / len(everyone))))
            total = sum(weight * len(values) for values, weight in parts)
            above = sum(weight * _at_least(values, scores[rows]) for values, weight in parts)
            conformal = (1 + above) / (total + 1)
            pooled = np.sort(np.concatenate([values for values, _ in parts]))
            out[rows] = np.minimum(conformal, _tail(pooled, scores[rows], 1 / (total + 1)))
        return out


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
    labels = np.array(groups, dtype=object)
    table = {"": np.sort(scores)}
    for name in sorted(set(groups)):
        if name:
            table[name] = np.sort(scores[labels == name])
    return Calibration(table, enough)


def combine_bonferroni(*p_values: float) -> float:
    """The smallest p-value times their number, at most 1: valid whatever their dependence."""
    return min(1.0, len(p_values) * min(p_values))
