"""Online control of the false discovery rate: which p-values of a sequence of tests to believe.

A budget of pages bounds how many alerts chance alone may make; false discovery control bounds their
share of all alerts. Tests come in batches, one for each profile window: one by one less is found,
as a test shows. State is frozen: testing a batch gives a result, and `after` the state that the
next one needs.

Of null p-values BatchBH needs, besides that they are not too small too often, of which ties and
steps, as conformal p-values have them, are no breach, that they are independent. Conformal p-values
that share their calibration scores are positively dependent (Bates, Candès, Lei, Romano and Sesia,
"Testing for Outliers with Conformal p-values", Annals of Statistics 2023), for which
Benjamini–Hochberg within a batch holds; across batches BatchBH is then an approximation, which a
test looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import zeta

Float = NDArray[np.float64]

_POWER = 2.0  # windows are few, and the first must not starve


def spending(number: NDArray[np.int64], power: float) -> Float:
    """Share of the rate that batch number t, from 1, may spend: t^-power, of sum 1.

    Args:
      number: int64 of any shape; where it is below 1 the share is 0.
      power: above 1; the larger, the more the first may spend.
    """
    t = np.maximum(number, 1).astype(np.float64)
    share: Float = np.where(number >= 1, t**-power / float(zeta(power)), 0.0)
    return share


def adjusted(p_values: Float) -> Float:
    """The smallest level at which Benjamini–Hochberg would reject each: q-values of shape (n,).

    Benjamini and Hochberg, "Controlling the False Discovery Rate", JRSS B 1995. Equal p-values have
    equal q-values, so the order of the tests cannot matter.
    """
    ordered = np.sort(p_values)
    estimate = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
    running = np.minimum.accumulate(estimate[::-1])[::-1]
    last = np.searchsorted(ordered, p_values, side="right") - 1
    return np.minimum(running[last], 1.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one batch of tests.

    Attributes:
      tests: in it.
      level: that Benjamini–Hochberg was run at.
      rejected: discoveries.
      augmented: what there would be, had one more test had p = 0.
      cut: p-values up to this are discoveries; 0 when there are none.
    """

    tests: int
    level: float
    rejected: int
    augmented: int
    cut: float


@dataclass(frozen=True, slots=True)
class BatchBH:
    """Benjamini–Hochberg on one batch after the other, at levels that keep the rate over all.

    Zrnic, Jiang, Ramdas and Jordan, "The Power of Batching in Multiple Hypothesis Testing", AISTATS
    2020: the level of a batch is what its predecessors left of the rate, and discoveries give back.

    Attributes:
      rate: of false discoveries over all batches, at most.
      past: batches so far, in their order.
    """

    rate: float
    past: tuple[Batch, ...] = ()

    def level(self, tests: int) -> float:
        """Of the next batch, of so many tests."""
        given = self.rate * float(spending(np.arange(1, len(self.past) + 2), _POWER).sum())
        found = sum(batch.rejected for batch in self.past)
        spent = sum(
            batch.level * batch.augmented / (batch.augmented + found - batch.rejected)
            for batch in self.past
            if batch.tests
        )
        return max(0.0, given - spent) * (tests + found) / max(tests, 1)

    def test(self, p_values: Float, tests: int | None = None) -> Batch:
        """Tests the next batch; `p_values` are float64 of shape (n,), in any order.

        Args:
          tests: in the batch, where those of the largest p-values are left out; they are never
            discoveries, as if their p-values were 1.
        """
        n = len(p_values) if tests is None else tests
        ordered = np.sort(p_values)
        level = self.level(n)
        if not n:
            return Batch(0, level, 0, 0, 0.0)
        rank = np.arange(1, len(ordered) + 1)
        small = np.flatnonzero(ordered <= level * rank / n)
        # The test of the largest p-value is the one that helps the others most when it becomes 0.
        others = ordered[: n - 1]
        more = np.flatnonzero(others <= level * (rank[: len(others)] + 1) / n)
        cut = float(ordered[small[-1]]) if len(small) else 0.0
        return Batch(
            n, level, int(small[-1]) + 1 if len(small) else 0,
            int(more[-1]) + 2 if len(more) else 1, cut,
        )  # fmt: skip

    def after(self, batch: Batch) -> BatchBH:
        """The state for the batch that follows."""
        return replace(self, past=(*self.past, batch))
