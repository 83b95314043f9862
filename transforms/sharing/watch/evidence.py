"""What a match with received indicators does to a cluster's p-value.

A match is evidence of its own, with a p-value of its own, and of less weight than what we see
ourselves. All of it is bounded: whatever other labs say, a cluster's p-value falls by no more than
a stated factor, so that one which is unremarkable to us stays unflagged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

_SAME = 1e-6


EQUAL = "equal"
"""Family of indicators that are equal or not; those that are compared have a family by kind."""
_EQUAL_SHARE = 0.9
SURELY = 0.05
"""p-value of a source's match with a group, from which on it is a report of this group."""


class FromSource(NamedTuple):
    """What one source's indicators say of a group of accounts.

    Attributes:
      source: lab that they are from.
      p_value: of so many of the group's accounts carrying one of them, see `match_p_value`, or of
        the group's being as alike; over all families, see `of_family`.
      weight: trust · confidence · decay of the best of them, 0 to 1.
    """

    source: str
    p_value: float
    weight: float


class Reported(NamedTuple):
    """What all sources together say of a group of accounts.

    Attributes:
      p_value: of the matches.
      weight: against 1 of the group's own p-value.
      members: share of the accounts that carry a live indicator.
      elsewhere: share of the other accounts of the window that do, upper estimate.
      sources: whose indicators count, in order.
      said: by each of them.
    """

    p_value: float = 1.0
    weight: float = 0.0
    members: float = 0.0
    elsewhere: float = 1.0
    sources: tuple[str, ...] = ()
    said: tuple[FromSource, ...] = ()


NOTHING_REPORTED = Reported()


def match_p_value(carriers: int, members: int, others_carriers: int, others: int) -> float:
    """Chance that `carriers` of `members` accounts carry what so few of the others carry.

    A group shares things, so its accounts are not independent; Markov's inequality needs no
    independence: a group of which a share of e is expected to carry something has a share of f or
    more with a chance of at most e / f. The expected share is that of the window's other accounts,
    one more counted among them, as in a conformal p-value. It is of all that a source reports and
    not of what matched, so that a long list has no better chances than a short one.

    Args:
      carriers, members: of the group.
      others_carriers, others: accounts of the same window that are not in the group.
    """
    if not carriers:
        return 1.0
    return min(1.0, (1 + others_carriers) / (1 + others) * members / carriers)


def of_family(p_value: float, family: str, live: Set[str]) -> float:
    """A p-value of one family of a source's indicators as one of all of them.

    Weighted Bonferroni (Genovese, Roeder and Wasserman, "False Discovery Control with p-Value
    Weighting", Biometrika 2006): a source has a chance with each family, and what is equal, which
    is the stronger evidence, is given nine tenths of it; likenesses share the rest.

    Args:
      p_value: of the family's match.
      family: `EQUAL`, or a kind that is compared.
      live: families of which the source has live indicators, this one among them.
    """
    alike = len(live - {EQUAL})
    if EQUAL not in live or not alike:
        share = 1 / len(live)
    else:
        share = _EQUAL_SHARE if family == EQUAL else (1 - _EQUAL_SHARE) / alike
    return min(1.0, p_value / share)


def best_by_source(found: Iterable[FromSource]) -> list[FromSource]:
    """Of each source the smallest p-value, of equal ones that of the larger weight."""
    best: dict[str, FromSource] = {}
    for one in found:
        known = best.get(one.source)
        if known is None or (one.p_value, -one.weight) < (known.p_value, -known.weight):
            best[one.source] = one
    return [best[name] for name in sorted(best)]


def reporting(said: Iterable[FromSource]) -> tuple[str, ...]:
    """The sources that surely mean a group, in order.

    That is decided by the match alone, whatever the group's own p-value is: the control of false
    discoveries tests these groups once more among themselves (`transforms/alerts/control.py`), and
    what many accounts carry would make them many.
    """
    return tuple(sorted({one.source for one in said if one.p_value <= SURELY}))


def combine_sources(
    found: Sequence[FromSource], sources: int, weight: float, most: float
) -> Reported:
    """One p-value and weight of what several sources say.

    Labs copy from each other, so nothing is assumed about how their reports depend: e times the
    weighted geometric mean of p-values is a p-value under any dependence (Vovk and Wang, "Combining
    p-values via averaging", Biometrika 2020). Sources that say nothing of the group had their
    chance as well, which counts as in Bonferroni's inequality. Weights add up, to at most `most`:
    two labs that report the same say more than one.

    Args:
      found: of the sources that say something.
      sources: that have live indicators.
      weight: of a source that is fully trusted, fresh and sure.
      most: of all together.
    """
    found = [one for one in found if one.weight > 0 and one.p_value < 1]
    total = sum(one.weight for one in found)
    if not found:
        return NOTHING_REPORTED
    mean = math.exp(sum(one.weight * math.log(one.p_value) for one in found) / total)
    factor = (math.e if len(found) > 1 else 1.0) * max(1.0, sources / len(found))
    said = tuple(sorted(found))
    names = tuple(one.source for one in said)
    return Reported(min(1.0, factor * mean), min(most, weight * total), sources=names, said=said)


def combine_with_reported(
    cluster: float, reported: float, weight: float, most_gain: float
) -> float:
    """A cluster's p-value with what other labs report of it.

    Good's weighted product ("On the Weighted Combination of Significance Tests", JRSS B 1955), as
    for an account and its cluster: with x = p · q^w the chance of so small a product is
    (x − w x^(1/w)) / (1 − w), and x (1 − ln x) for w = 1. Never above p, so that reports excuse
    nobody, and never below p / `most_gain`, so that they condemn nobody.

    Args:
      cluster: p, by what we see.
      reported: q, of the matches.
      weight: w, 0 to 1.
      most_gain: at least 1.
    """
    if weight <= 0 or reported >= 1:
        return cluster
    x = float(cluster * reported**weight)
    if x <= 0:
        return cluster / most_gain
    if abs(1 - weight) < _SAME:
        combined = x * (1 - math.log(x))
    else:
        combined = float((x - weight * x ** (1 / weight)) / (1 - weight))
    return min(cluster, max(combined, cluster / most_gain))
