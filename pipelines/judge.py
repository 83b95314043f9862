"""Compares what a run said of each account with what the labels say; no tables, no printing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from pipelines import metrics
from pipelines.promises import Benign, Curve, Promise, curves, promises

SHARES = (0.001, 0.01)
_INFINITE = math.inf


@dataclass(frozen=True, slots=True)
class Account:
    """One labelled account and what the run said of it.

    Attributes:
      account: its id.
      attack: what the label says.
      kind, campaign: of the label; campaign "" when it has none.
      p_value: its own, combined with its cluster's where it is in one; 1 when
        it was never scored.
      score: of its profile; ranks accounts of equal p-value; -inf when it was never scored.
      own_p: of its profile alone; NaN when it was never scored.
      requests: that were scored.
      flagged: whether it is in a flagged cluster.
      peer_group: that it was compared with; "" where the bundle knows none.
    """

    account: str
    attack: bool
    kind: str
    campaign: str
    p_value: float
    score: float
    own_p: float
    requests: int
    flagged: bool
    peer_group: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A flagged cluster: its accounts, when it was first alerted (0 when unknown), its p-value."""

    cluster_id: str
    accounts: tuple[str, ...]
    first_alert_ms: int = 0
    p_value: float = math.nan


@dataclass(frozen=True, slots=True)
class KindResult:
    """What became of the accounts of one label kind.

    Attributes:
      kind: label kind.
      accounts, campaigns: how many.
      flagged: accounts in flagged clusters.
      at_001, at_01: share of accounts above the threshold of 0.1 % and of 1 % of benign accounts.
    """

    kind: str
    accounts: int
    campaigns: int
    flagged: int
    at_001: float
    at_01: float


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """What became of one campaign.

    Attributes:
      campaign, kind, accounts, requests: of the labels and tables.
      flagged: accounts in flagged clusters.
      clusters: flagged clusters with at least one of its accounts.
      hours_to_alert: from its first request to the first alert; infinite when it was never flagged,
        None when the time of the alert is not known.
    """

    campaign: str
    kind: str
    accounts: int
    requests: int
    flagged: int
    clusters: int
    hours_to_alert: float | None


@dataclass(frozen=True, slots=True)
class BenignResult:
    """What became of one class of benign accounts.

    Attributes:
      kind, accounts: of the labels.
      flagged: in flagged clusters.
      scored: that have a p-value of their own.
      p_001, p_01: share of these with an own p-value of at most 0.001 and 0.01; a calibrated
        detector keeps them at most that.
    """

    kind: str
    accounts: int
    flagged: int
    scored: int
    p_001: float
    p_01: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a run did; the unit of judgement is the account.

    Attributes:
      attacking, benign: labelled accounts.
      scored: of these, with a score.
      recall: by share of benign accounts flagged, "0.001" and "0.01", with 95 % interval.
      auroc, average_precision: of the ranking.
      by_account, by_traffic: the flagged set.
      clusters: against campaigns.
      kinds, campaigns, benign_classes: one by one.
      notes: what to know when reading the figures.
      promises, curves: what p-values promise of benign accounts, against what was observed.
    """

    attacking: int
    benign: int
    scored: int
    recall: dict[str, metrics.Estimate]
    auroc: float
    average_precision: float
    by_account: metrics.Flagged
    by_traffic: metrics.Flagged
    clusters: metrics.ClusterQuality
    kinds: tuple[KindResult, ...]
    campaigns: tuple[CampaignResult, ...]
    benign_classes: tuple[BenignResult, ...]
    notes: tuple[str, ...] = field(default=())
    promises: tuple[Promise, ...] = field(default=())
    curves: tuple[Curve, ...] = field(default=())

    def as_dict(self) -> dict[str, object]:
        """For JSON: NaN is null, infinity is "never"."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        for promise, entry in zip(self.promises, plain["promises"], strict=True):
            entry.update(share=_plain(promise.share), broken=promise.broken)
        return plain


def _plain(value: object) -> object:
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return "never" if math.isinf(value) else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def ranking(accounts: Sequence[Account]) -> metrics.Float:
    """One number per account, larger is more suspicious: by p-value, then by score."""
    order = sorted({(-a.p_value, a.score) for a in accounts})
    place = {key: float(i) for i, key in enumerate(order)}
    return np.array([place[(-a.p_value, a.score)] for a in accounts])


def judge(
    accounts: Sequence[Account],
    alerts: Sequence[Alert],
    first_request_ms: Mapping[str, int] | None = None,
    draws: int = 1000,
) -> Evaluation:
    """Computes every figure.

    Args:
      accounts: all labelled accounts of the period, scored or not.
      alerts: flagged clusters.
      first_request_ms: of accounts, where known.
      draws: bootstrap samples for the intervals.
    """
    scores = ranking(accounts)
    attack = np.array([a.attack for a in accounts], bool)
    flagged = np.array([a.flagged for a in accounts], bool)
    requests = np.array([a.requests for a in accounts], float)
    campaigns = [a.campaign or None for a in accounts]
    limits = {s: metrics.threshold_at(scores[~attack], s) for s in SHARES}
    benign = [Benign(a.kind, a.peer_group, a.own_p, a.flagged) for a in accounts if not a.attack]
    level = max((a.p_value for a in alerts if not math.isnan(a.p_value)), default=math.nan)
    quality = metrics.cluster_quality(
        {alert.cluster_id: alert.accounts for alert in alerts},
        {a.account: a.attack for a in accounts},
        {a.account: a.campaign or None for a in accounts},
    )
    return Evaluation(
        int(attack.sum()),
        int((~attack).sum()),
        sum(not math.isnan(a.own_p) or a.score > -_INFINITE for a in accounts),
        {f"{s:g}": metrics.recall_at(scores, attack, s, campaigns, draws) for s in SHARES},
        metrics.auroc(scores, attack),
        metrics.average_precision(scores, attack),
        metrics.flagged_set(flagged, attack),
        metrics.flagged_set(flagged, attack, requests),
        quality,
        _kinds(accounts, scores, limits),
        _campaigns(accounts, alerts, first_request_ms or {}),
        _benign(accounts),
        _notes(accounts, attack),
        promises(benign, level),
        curves(benign),
    )


def _notes(accounts: Sequence[Account], attack: metrics.Bool) -> tuple[str, ...]:
    notes = []
    benign = int((~attack).sum())
    if benign < 1000:
        notes.append(f"with {benign} benign accounts, 0.1 % of them means that none may be flagged")
    missing = sum(a.attack and math.isinf(a.score) for a in accounts)
    if missing:
        notes.append(f"{missing} attacking accounts were never scored and count as missed")
    return tuple(notes)


def _kinds(
    accounts: Sequence[Account], scores: metrics.Float, limits: Mapping[float, float]
) -> tuple[KindResult, ...]:
    found = []
    for kind in sorted({a.kind for a in accounts if a.attack}):
        rows = [i for i, a in enumerate(accounts) if a.attack and a.kind == kind]
        found.append(
            KindResult(
                kind,
                len(rows),
                len({accounts[i].campaign or accounts[i].account for i in rows}),
                sum(accounts[i].flagged for i in rows),
                float((scores[rows] > limits[0.001]).mean()),
                float((scores[rows] > limits[0.01]).mean()),
            )
        )
    return tuple(found)


def _campaigns(
    accounts: Sequence[Account], alerts: Sequence[Alert], first_ms: Mapping[str, int]
) -> tuple[CampaignResult, ...]:
    members: dict[str, list[Account]] = {}
    for account in accounts:
        if account.attack:
            members.setdefault(account.campaign or account.account, []).append(account)
    found = []
    for name, own in sorted(members.items()):
        ids = {a.account for a in own}
        hits = [alert for alert in alerts if ids.intersection(alert.accounts)]
        started = [first_ms[a] for a in ids if a in first_ms]
        hours: float | None = _INFINITE
        if hits:
            times = [alert.first_alert_ms for alert in hits if alert.first_alert_ms]
            known = bool(started and times)
            hours = max(min(times) - min(started), 0) / 3_600_000 if known else None
        found.append(
            CampaignResult(
                name,
                own[0].kind,
                len(own),
                sum(a.requests for a in own),
                sum(a.flagged for a in own),
                len(hits),
                hours,
            )
        )
    return tuple(found)


def _benign(accounts: Sequence[Account]) -> tuple[BenignResult, ...]:
    found = []
    for kind in sorted({a.kind for a in accounts if not a.attack}):
        own = [a for a in accounts if not a.attack and a.kind == kind]
        p = np.array([a.own_p for a in own if not math.isnan(a.own_p)])
        found.append(
            BenignResult(
                kind,
                len(own),
                sum(a.flagged for a in own),
                len(p),
                float((p <= 0.001).mean()) if len(p) else float("nan"),
                float((p <= 0.01).mean()) if len(p) else float("nan"),
            )
        )
    return tuple(found)
