"""Figures of a cell of the account protocol, from accounts, alerts and the truth about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines import metrics
from pipelines.judge import Account, Alert, BenignResult, KindResult, judge, ranking
from pipelines.promises import Curve, Promise
from pipelines.protocol.baselines.accounts import Traffic
from pipelines.protocol.grid import Cell

RELAY = "relay"
PRODUCT = "distilwatch"


@dataclass(frozen=True, slots=True)
class SystemResult:
    """Figures of the product or of a baseline in one cell, relay left out.

    Attributes:
      cell, group, system: which.
      attacking, benign: accounts.
      at_001, at_01: recall at 0.1 % and at 1 % of benign accounts.
      auroc, average_precision: of the ranking.
    """

    cell: str
    group: str
    system: str
    attacking: int
    benign: int
    at_001: metrics.Estimate
    at_01: metrics.Estimate
    auroc: float
    average_precision: float


@dataclass(frozen=True, slots=True)
class CellResult:
    """What came out of a cell.

    Attributes:
      cell: as it was asked for.
      systems: the product first, then the baselines.
      clusters: of the product, against all campaigns but relay.
      traffic: share of the campaigns' requests that are in flagged clusters.
      before_alert: share of the campaigns' requests before the first alert; 1 if there was none.
      kinds: recall by attack, the product's, relay among them.
      benign: promised and observed false positives by class.
      languages: recall at 1 % of benign accounts by language of the campaign's prompts, with the
        number of accounts.
      roc: share of benign and of attacking accounts at each threshold, by system.
      promises, curves: what p-values promise of benign accounts, against what was observed.
    """

    cell: Cell
    systems: tuple[SystemResult, ...]
    clusters: metrics.ClusterQuality
    traffic: float
    before_alert: float
    kinds: tuple[KindResult, ...]
    benign: tuple[BenignResult, ...]
    languages: dict[str, tuple[float, int]] = field(default_factory=dict)
    roc: dict[str, tuple[metrics.Float, metrics.Float]] = field(default_factory=dict)
    promises: tuple[Promise, ...] = field(default=())
    curves: tuple[Curve, ...] = field(default=())


def result_of(
    cell: Cell,
    accounts: Sequence[Account],
    alerts: Sequence[Alert],
    baselines: Mapping[str, metrics.Float],
    live: Traffic,
    languages: Mapping[str, str],
) -> CellResult:
    """Figures of a cell.

    Args:
      cell: as it was asked for.
      accounts, alerts: of the product's tables, with the truth.
      baselines: scores of the accounts, float64 of shape (len(accounts),), by baseline.
      live: traffic, for the times of requests.
      languages: of each attacking account's prompts.
    """
    everyone = judge(accounts, alerts, draws=200)
    kept = [i for i, a in enumerate(accounts) if a.kind != RELAY]
    chosen = [accounts[i] for i in kept]
    attack = np.array([a.attack for a in chosen], bool)
    campaigns = [a.campaign or None for a in chosen]
    ranked: dict[str, metrics.Float] = {PRODUCT: ranking(chosen)}
    ranked |= {name: values[kept] for name, values in baselines.items()}
    systems = tuple(
        SystemResult(
            cell.name,
            cell.group,
            name,
            int(attack.sum()),
            int((~attack).sum()),
            metrics.recall_at(values, attack, 0.001, campaigns),
            metrics.recall_at(values, attack, 0.01, campaigns),
            metrics.auroc(values, attack),
            metrics.average_precision(values, attack),
        )
        for name, values in ranked.items()
    )
    without_relay = judge(chosen, alerts, draws=2)
    limit = metrics.threshold_at(ranked[PRODUCT][~attack], 0.01)
    by_language: dict[str, list[bool]] = {}
    for account, score in zip(chosen, ranked[PRODUCT], strict=True):
        if account.attack:
            known = languages.get(account.account, "mixed or unknown")
            by_language.setdefault(known, []).append(bool(score > limit))
    return CellResult(
        cell,
        systems,
        without_relay.clusters,
        without_relay.by_traffic.recall,
        _before_alert(chosen, alerts, live),
        everyone.kinds,
        everyone.benign_classes,
        {k: (float(np.mean(v)), len(v)) for k, v in sorted(by_language.items())},
        {name: _roc(values, attack) for name, values in ranked.items()},
        everyone.promises,
        everyone.curves,
    )


def _before_alert(accounts: Sequence[Account], alerts: Sequence[Alert], live: Traffic) -> float:
    """Share of the campaigns' requests made before the campaign's first alert."""
    members: dict[str, list[str]] = {}
    for account in accounts:
        if account.attack:
            members.setdefault(account.campaign or account.account, []).append(account.account)
    before = total = 0
    for own in members.values():
        times = np.array([t for a in own for t in live.times.get(a, ())])
        alerted = [
            alert.first_alert_ms
            for alert in alerts
            if alert.first_alert_ms and set(own).intersection(alert.accounts)
        ]
        total += len(times)
        before += int((times < min(alerted, default=math.inf)).sum())
    return before / total if total else math.nan


def _roc(values: metrics.Float, attack: metrics.Bool) -> tuple[metrics.Float, metrics.Float]:
    """Benign and attacking accounts flagged at each threshold, as shares, from none to all."""
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    false = np.cumsum(~attack[order])[ends] / max(1, int((~attack).sum()))
    true = np.cumsum(attack[order])[ends] / max(1, int(attack.sum()))
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])
