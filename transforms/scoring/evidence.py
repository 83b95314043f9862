"""Lines of evidence: what the detectors look at, a few numbers instead of every feature.

In thirty columns, most of which say little, a distance is mostly noise, and detectors that look for
neighbours find none (Beyer et al., "When Is Nearest Neighbor Meaningful?", ICDT 1999). Features
that speak for the same thing are therefore put together into one line: the mean of their standard
scores, each turned so that up is suspicious. Lines, members and weights were chosen on the `fit`
and `choose` parts of the corpora and never on the `report` part (docs/detection.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# How much of a deviation to the harmless side the detectors still see: a key may be a little
# narrower than its peers without becoming an outlier for it.
_HARMLESS = -0.5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of evidence.

    Attributes:
      name: for people.
      features: names of the columns that make it; two-sided ones count here when they are high.
      weight: how far one standard deviation of it moves a key, for the detectors.
      low: two-sided columns that count here when they are low.
    """

    name: str
    features: tuple[str, ...]
    weight: float
    low: tuple[str, ...] = ()


ACCOUNT_LINES = (
    Line(
        "breadth",
        ("hill_cells", "own_rank", "chao_cells", "heaps_slope", "log_volume", "unseen_share"),
        1.0,
    ),
    Line("novelty", ("novelty",), 1.0),
    Line("networks", ("networks",), 0.8),
    Line("newness", ("account_age",), 0.8),
    Line("change", ("past_change",), 0.3),
)
"""For sessions and profiles. Breadth and novelty are what distillation cannot do without; many
networks and a young account are what it usually comes with, and an account that changed hands asks
something else than it did."""

CLUSTER_LINES = (
    Line("division", ("complementarity",), 0.5, low=("overlap",)),
    Line("members", ("member_surprise", "member_breadth"), 1.0),
    Line("alikeness", ("behaviour_spread", "volume_spread", "synchrony"), 1.0),
    Line(
        "pooled breadth",
        tuple(
            f"pooled_{name}"
            for name in ("hill_cells", "own_rank", "chao_cells", "heaps_slope", "log_volume")
        ),
        1.0,
    ),
    Line("members' novelty", ("member_novelty",), 1.0),
)
"""For groups of accounts."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Turns standard scores of f features into k lines.

    Attributes:
      names: of the lines.
      mixing: float64 of shape (f, k): the line's mean over its features, signed so that up is
        suspicious.
      middle, reach: float64 of shape (k,): median of each line over the training keys, and the
        distance from there to the 84th percentile.
      weight: float64 of shape (k,).
    """

    names: tuple[str, ...]
    mixing: Float
    middle: Float
    reach: Float
    weight: Float

    def lines(self, z: Float) -> Float:
        """What the detectors see of n keys: float64 of shape (n, k).

        Args:
          z: standard scores, float64 of shape (n, f), 0 where unknown.
        """
        standard = (z @ self.mixing - self.middle) / self.reach
        return np.maximum(standard, _HARMLESS) * self.weight

    @property
    def used(self) -> NDArray[np.intp]:
        """Columns that are part of a line, ascending."""
        return np.flatnonzero(np.abs(self.mixing).sum(axis=1))


def fit_evidence(
    z: Float, columns: Sequence[str], directions: NDArray[np.int64], lines: Sequence[Line]
) -> Evidence:
    """Scales lines to the training keys.

    Args:
      z: standard scores of the n training keys, float64 of shape (n, f).
      columns: names of the f features.
      directions: int64 of shape (f,): the suspicious side of each, +1 or −1, or 0 where a line has
        to say it.
      lines: to make; features that are not among the columns are an error.

    Raises:
      KeyError: when a line names a feature that there is not.
    """
    index = {name: i for i, name in enumerate(columns)}
    mixing = np.zeros((len(columns), len(lines)))
    for k, line in enumerate(lines):
        signs = {name: int(directions[index[name]]) or 1 for name in line.features}
        signs |= dict.fromkeys(line.low, -1)
        for name, sign in signs.items():
            mixing[index[name], k] = sign / len(signs)
    low, high = np.quantile(z @ mixing, [0.5, 0.84], axis=0)
    # A line that no training key has anything to say on stays at nothing.
    reach = np.where(high - low > 1e-6, high - low, 1.0)
    return Evidence(
        tuple(line.name for line in lines), mixing, low, reach, np.array([x.weight for x in lines])
    )
