"""Which capabilities of the model a cluster took, and how much of each it covered (F8).

The history's requests by cell and capability (`transforms.embedding.labels`) say what there is to
ask. A sketch says how often the cluster was in each cell, n_j, and how many of its requests asked
for each capability, but not both together. With h_cj requests of the history, w_c the cluster's
share of a capability over the history's, and

    r_cj = w_c h_cj / Σ_k w_k h_kj        chance that the cluster's request in cell j asked for c
    p_cj = h_cj / Σ_i h_ci                share of cell j in what the history asked of c

the part of a capability that a cluster covered is

    covered_c = Σ_j p_cj (1 − (1 − r_cj)^n_j)

the expected share of the history's requests of c that lie in cells where the cluster asked for c
at least once: random placement (Coleman, "On Random Placement and Species-Area Relations",
Mathematical Biosciences 1981), with each cell's chances brought to the cluster's own mix (Saerens
et al., "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural Computation
2002). Volume alone covers much, so the same sum for n requests drawn from the history stands beside
it:

    expected_c = Σ_j p_cj (1 − (1 − h_cj / H)^n)        H: all requests of the history

which is the rarefaction curve of the history (Smith and Grassle, "Sampling Properties of a Family
of Diversity Measures", Biometrics 1977). Requests whose text does not tell are one more kind k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.layout import Bins
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.labels import SLOTS, CapabilityTable
from transforms.ingest.capabilities import Capability

Float = NDArray[np.float64]
_LEAST_HISTORY = 50  # labelled requests from which the history has a mix
_LEAST_OF_ONE = 20  # requests of a capability from which its cells are known
_LEAST_REQUESTS = 10
_ODDS = 2.0  # how far above the history's odds a share must surely lie to be clearly above
_SURE = 3.0  # standard errors


@dataclass(frozen=True, slots=True)
class TakenCapability:
    """What a cluster asked of one capability.

    Attributes:
      capability: which.
      requests: labelled with it.
      share: of the cluster's labelled requests.
      lift: the share over the history's; None where the history is not labelled.
      covered: share of the history's requests of it that lie where the cluster asked for it; None
        where the history has too few of them, or the cluster no vectors.
      expected: the same for as many requests asked as the history's are.
      taken: whether the share is clearly above the history's; None where that is not labelled.
    """

    capability: Capability
    requests: int
    share: float
    lift: float | None
    covered: float | None
    expected: float | None
    taken: bool | None

    def record(self) -> dict[str, Any]:
        """As the tables hold it."""
        return {
            "name": self.capability.name.lower(),
            "requests": self.requests,
            "share": self.share,
            "lift": self.lift,
            "covered": self.covered,
            "expected": self.expected,
            "taken": self.taken,
        }


def taken_capabilities(sketch: CoverageSketch, history: CapabilityTable) -> list[TakenCapability]:
    """Capabilities that a cluster asked for: those it took first, then by requests.

    Args:
      sketch: of all the cluster's requests.
      history: of the bundle that scored it.
    """
    asked = sketch.histogram(Bins.CAPABILITY, Bins.INTENT)
    labelled = int(asked.sum())
    of_history = history.counts.sum(axis=0)
    known = int(of_history[:-1].sum()) >= _LEAST_HISTORY
    covered, expected = coverage(sketch, history)
    found = []
    for capability in Capability:
        requests = int(asked[capability])
        if not requests:
            continue
        share = requests / labelled
        usual = _usual_share(of_history, capability)
        measured = int(of_history[capability]) >= _LEAST_OF_ONE and sketch.vectors > 0
        found.append(
            TakenCapability(
                capability,
                requests,
                share,
                share / usual if known else None,
                float(covered[capability]) if measured else None,
                float(expected[capability]) if measured else None,
                is_clearly_above(requests, labelled, usual) if known else None,
            )
        )
    return sorted(found, key=lambda one: (not one.taken, -one.requests, one.capability))


def _usual_share(of_history: NDArray[np.int64], capability: int) -> float:
    """The history's share, half a request added to each, so that none is impossible."""
    total = int(of_history[:-1].sum())
    return (int(of_history[capability]) + 0.5) / (total + 0.5 * len(Capability))


def is_clearly_above(requests: int, labelled: int, usual: float) -> bool:
    """Whether a share of `labelled` requests surely has twice the odds of the usual share.

    The share counts at the lower end of Wilson's interval (JASA 1927).
    """
    if requests < _LEAST_REQUESTS:
        return False
    share, z2 = requests / labelled, _SURE**2
    middle = share + z2 / (2 * labelled)
    reach = _SURE * math.sqrt(share * (1 - share) / labelled + z2 / (4 * labelled**2))
    low = (middle - reach) / (1 + z2 / labelled)
    return low * (1 - usual) > _ODDS * usual * (1 - low)


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the history's requests of each capability lie: only what is not 0, n pairs of them.

    Attributes:
      capability: int64 of shape (n,).
      share: p_cj of the module, float64 of shape (n,).
      log_missed: ln(1 − h_cj / H), float64 of shape (n,).
      shares: the same as `share`, by cell and capability: float64 of shape (cells, 16).
      total: h_c of the history, float64 of shape (17,).
    """

    capability: NDArray[np.int64]
    share: Float
    log_missed: Float
    shares: Float
    total: Float


@lru_cache(maxsize=4)
def _places(history: CapabilityTable) -> _Places:
    counts = history.counts.astype(np.float64)
    total = counts.sum(axis=0)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)[:, :-1]
    cell, capability = np.nonzero(shares)
    with np.errstate(divide="ignore"):  # where all of the history lies in one place
        log_missed = np.log1p(-counts[cell, capability] / max(float(total.sum()), 1.0))
    return _Places(capability, shares[cell, capability], log_missed, shares, total)


def coverage(sketch: CoverageSketch, history: CapabilityTable) -> tuple[Float, Float]:
    """`covered` and `expected` of the module, by capability: two float64 arrays of shape (16,).

    Both are 0 for capabilities that the history does not have.
    """
    places, (cells, visits) = _places(history), sketch.cells_visited(len(history.counts))
    asked = sketch.histogram(Bins.CAPABILITY, Bins.INTENT)[: SLOTS - 1].astype(np.float64)
    mix = np.append(asked, max(sketch.events - asked.sum(), 0.0))
    weight = np.divide(mix, places.total, out=np.zeros(SLOTS), where=places.total > 0)
    chance = history.counts[cells] * weight
    in_cell = chance.sum(axis=1, keepdims=True)
    chance = np.divide(chance, in_cell, out=np.zeros_like(chance), where=in_cell > 0)[:, :-1]
    covered = (places.shares[cells] * (1 - (1 - chance) ** visits[:, None])).sum(axis=0)
    drawn = int(visits.sum())
    if not drawn:
        return covered, np.zeros(SLOTS - 1)
    found = places.share * -np.expm1(drawn * places.log_missed)
    return covered, np.bincount(places.capability, found, SLOTS - 1).astype(np.float64)
