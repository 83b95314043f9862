"""How well a ranking, a flagged set and clusters agree with the truth; plain numpy.

Scores are float64 of shape (n,), larger is more suspicious; `attack` is bool of the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


def auroc(scores: Float, attack: Bool) -> float:
    """Probability that an attacking account ranks above a benign one, ties count half.

    Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 1982. NaN
    without both kinds.
    """
    positive, negative = int(attack.sum()), int((~attack).sum())
    if not positive or not negative:
        return float("nan")
    ordered = np.sort(scores)
    low = np.searchsorted(ordered, scores[attack], side="left")
    high = np.searchsorted(ordered, scores[attack], side="right")
    rank_sum = float(((low + high + 1) / 2).sum())
    return (rank_sum - positive * (positive + 1) / 2) / (positive * negative)


def average_precision(scores: Float, attack: Bool) -> float:
    """Mean over attacking accounts of the precision at their rank; NaN without any.

    Accounts with the same score are flagged together, so their order cannot matter.
    """
    total = int(attack.sum())
    if not total:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(attack[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = hits[ends] / (ends + 1)
    gained = np.diff(np.concatenate([[0], hits[ends]])) / total
    return float((precision * gained).sum())


def threshold_at(benign: Float, share: float) -> float:
    """The score above which at most this share of benign accounts lies.

    Args:
      benign: scores of benign accounts, float64 of shape (n,).
      share: of them that may be flagged; with n·share < 1 none may.
    """
    if not len(benign):
        return float("nan")
    allowed = int(np.floor(share * len(benign) + 1e-9))
    return float(np.sort(benign)[len(benign) - 1 - min(allowed, len(benign) - 1)])


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def recall_at(
    scores: Float,
    attack: Bool,
    share: float,
    campaigns: Sequence[str | None] | None = None,
    draws: int = 1000,
    seed: int = 7,
) -> Estimate:
    """Share of attacking accounts above the threshold that a share of benign accounts exceeds.

    The interval is a percentile bootstrap (Efron, 1979) that draws benign accounts one by one, and
    attacking ones by whole campaigns, because members of one campaign are not independent.

    Args:
      share: of benign accounts that may be flagged.
      campaigns: of every account, None where it has none; None when all are alone.
      draws: bootstrap samples.
      seed: of the draws.
    """
    benign, positive = scores[~attack], scores[attack]
    if not len(benign) or not len(positive):
        return Estimate(float("nan"), float("nan"), float("nan"))
    found = float((positive > threshold_at(benign, share)).mean())
    names = [None] * len(scores) if campaigns is None else list(campaigns)
    own = [name for name, hit in zip(names, attack, strict=True) if hit]
    labels = [name if name else f"\0{i}" for i, name in enumerate(own)]
    unique, group = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(group)
    rng = np.random.default_rng(seed)
    allowed = min(int(np.floor(share * len(benign) + 1e-9)), len(benign) - 1)
    values = np.empty(draws)
    for i in range(draws):
        sample = benign[rng.integers(0, len(benign), len(benign))]
        place = len(sample) - 1 - allowed
        limit = np.partition(sample, place)[place]
        picked = rng.integers(0, len(unique), len(unique))
        hits = np.bincount(group, positive > limit, len(unique))
        values[i] = hits[picked].sum() / sizes[picked].sum()
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(found, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Flagged:
    """How a flagged set agrees with the truth.

    Attributes:
      precision: share of what is flagged that is attack; NaN when nothing is flagged.
      recall: share of the attack that is flagged; NaN when there is none.
      flagged, attack: how much there is of each.
    """

    precision: float
    recall: float
    flagged: float
    attack: float


def flagged_set(flagged: Bool, attack: Bool, weight: Float | None = None) -> Flagged:
    """Precision and recall of a set of accounts.

    Args:
      flagged: bool of shape (n,).
      attack: bool of shape (n,).
      weight: of each account, such as its requests; each counts one without.
    """
    amount = np.ones(len(flagged)) if weight is None else weight
    both = float(amount[flagged & attack].sum())
    named, true = float(amount[flagged].sum()), float(amount[attack].sum())
    return Flagged(
        both / named if named else float("nan"), both / true if true else float("nan"), named, true
    )


@dataclass(frozen=True, slots=True)
class ClusterQuality:
    """How flagged clusters agree with campaigns.

    Attributes:
      clusters: how many are flagged.
      precision: share of them of whose labelled members more than half are attackers.
      recall: share of campaigns with such a cluster in which they are the largest campaign.
      purity: share of labelled members that belong to their cluster's largest campaign, or, in a
        cluster of benign accounts only, nothing.
      completeness: mean over campaigns of the share of their accounts in their best cluster.
    """

    clusters: int
    precision: float
    recall: float
    purity: float
    completeness: float


def cluster_quality(
    clusters: Mapping[str, Sequence[str]],
    attack: Mapping[str, bool],
    campaign: Mapping[str, str | None],
) -> ClusterQuality:
    """Compares clusters with campaigns; accounts without a label are passed over.

    Args:
      clusters: cluster id to member accounts.
      attack: account to truth.
      campaign: account to campaign, None where it has none.
    """
    true: dict[str, set[str]] = {}
    for account, is_attack in attack.items():
        name = campaign.get(account)
        if is_attack and name:
            true.setdefault(name, set()).add(account)
    right, found, pure, members = 0, set(), 0, 0
    best = dict.fromkeys(true, 0)
    for accounts in clusters.values():
        known = [a for a in accounts if a in attack]
        inside: dict[str, int] = {}
        for account in known:
            name = campaign.get(account) if attack[account] else None
            if name:
                inside[name] = inside.get(name, 0) + 1
        for name, count in inside.items():
            best[name] = max(best[name], count)
        largest = max(inside, key=lambda n: (inside[n], n), default=None)
        members += len(known)
        pure += inside[largest] if largest else 0
        if known and 2 * sum(attack[a] for a in known) > len(known):
            right += 1
            if largest:
                found.add(largest)
    shares = [best[name] / len(accounts) for name, accounts in true.items()]
    nan = float("nan")
    return ClusterQuality(
        len(clusters),
        right / len(clusters) if clusters else nan,
        len(found) / len(true) if true else nan,
        pure / members if members else nan,
        float(np.mean(shares)) if shares else nan,
    )
