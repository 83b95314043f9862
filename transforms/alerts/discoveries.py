"""Online control of the false discovery rate: which p-values of a sequence of tests to believe.

A budget of pages bounds how many alerts chance alone may make; false discovery control bounds their
share of all alerts. Tests come in batches, one for each profile window (`BatchBH`), or one by one
(`Lond`, `LordPlusPlus`). State is frozen: testing a batch gives a result, and `after` the state
that the next one needs.

What each needs of its null p-values, besides that they are not too small too often, of which ties
and steps, as conformal p-values have them, are no breach: BatchBH that they are independent, LOND
that they are positively dependent (Zrnic, Ramdas and Jordan, "Asynchronous Online Testing of
Multiple Hypotheses", JMLR 2021), LORD++ that they are independent. Conformal p-values that share
their calibration scores are positively dependent (Bates, Candès, Lei, Romano and Sesia, "Testing
for Outliers with Conformal p-values", Annals of Statistics 2023), for which Benjamini–Hochberg
within a batch holds; across batches BatchBH is then an approximation, which a test looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import zeta

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_CHUNK = 512
# Windows are few and the first must not starve; single tests are many. The latter is the choice of
# Ramdas, Zrnic, Wainwright and Jordan, "SAFFRON", ICML 2018.
_BATCH_POWER, _TEST_POWER = 2.0, 1.6


def spending(number: NDArray[np.int64], power: float) -> Float:
    """Share of the rate that test or batch number t, from 1, may spend: t^-power, of sum 1.

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


# --- batches --------------------------------------------------------------------------------------


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
        given = self.rate * float(spending(np.arange(1, len(self.past) + 2), _BATCH_POWER).sum())
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


# --- one test after the other ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lond:
    """Levels that grow with the number of discoveries; holds where tests depend on each other.

    Javanmard and Montanari, "On Online Control of False Discovery Rate", 2015: the t-th test is
    made at rate · γ_t · (1 + discoveries so far).

    Attributes:
      rate: of false discoveries, at most.
      tests: so far.
      found: discoveries so far.
    """

    rate: float
    tests: int = 0
    found: int = 0

    def test(self, p_values: Float) -> tuple[Bool, Lond]:
        """Tests float64 of shape (n,) in their order; says which are discoveries.

        The order must not depend on the p-values: that of names or of time will do.
        """
        times: list[int] = []

        def levels(numbers: NDArray[np.int64]) -> Float:
            return self.rate * spending(numbers, _TEST_POWER) * (1 + self.found + len(times))

        rejected = _one_by_one(p_values, self.tests, times, levels)
        return rejected, Lond(self.rate, self.tests + len(p_values), self.found + len(times))


@dataclass(frozen=True, slots=True)
class LordPlusPlus:
    """Levels that each discovery pays for anew; more power than LOND, for independent tests.

    Ramdas, Yang, Wainwright and Jordan, "Online Control of the False Discovery Rate with Decaying
    Memory", NeurIPS 2017, with half the rate as the first wealth.

    Attributes:
      rate: of false discoveries, at most.
      tests: so far.
      times: numbers of the tests, from 1, that were discoveries.
    """

    rate: float
    tests: int = 0
    times: tuple[int, ...] = ()

    def test(self, p_values: Float) -> tuple[Bool, LordPlusPlus]:
        """Tests float64 of shape (n,) in their order; see `Lond.test`."""
        times, first = list(self.times), self.rate / 2

        def levels(numbers: NDArray[np.int64]) -> Float:
            paid = spending(numbers[:, None] - np.array(times, np.int64)[None], _TEST_POWER)
            earned = np.full(len(times), self.rate)
            earned[:1] -= first
            gained: Float = paid @ earned
            return first * spending(numbers, _TEST_POWER) + gained

        rejected = _one_by_one(p_values, self.tests, times, levels)
        return rejected, LordPlusPlus(self.rate, self.tests + len(p_values), tuple(times))


def _one_by_one(
    p_values: Float, before: int, times: list[int], levels: Callable[[NDArray[np.int64]], Float]
) -> Bool:
    """Goes on from discovery to discovery, which alone change the levels; they go to `times`."""
    rejected = np.zeros(len(p_values), bool)
    at = 0
    while at < len(p_values):
        chunk = p_values[at : at + _CHUNK]
        hits = np.flatnonzero(chunk <= levels(before + at + 1 + np.arange(len(chunk))))
        if not len(hits):
            at += len(chunk)
            continue
        at += int(hits[0]) + 1
        rejected[at - 1] = True
        times.append(before + at)
    return rejected
