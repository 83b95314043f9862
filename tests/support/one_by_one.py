"""Online control of false discoveries, one test after the other: what `BatchBH` is held against.

LOND needs null p-values that are positively dependent (Zrnic, Ramdas and Jordan, "Asynchronous
Online Testing of Multiple Hypotheses", JMLR 2021), LORD++ independent ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.alerts.discoveries import Float, spending

Bool = NDArray[np.bool_]

_CHUNK = 512
_TEST_POWER = 1.6  # single tests are many: Ramdas, Zrnic, Wainwright and Jordan, ICML 2018


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
