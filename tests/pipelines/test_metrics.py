from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines import metrics

TIED = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(hit for _, hit in rows) < len(rows)
)


@settings(deadline=None)
@given(TIED)
def test_ranking_agrees_with_sklearn_also_with_ties(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in rows], float)
    attack = np.array([hit for _, hit in rows])
    assert metrics.auroc(scores, attack) == pytest.approx(roc_auc_score(attack, scores))
    assert metrics.average_precision(scores, attack) == pytest.approx(
        average_precision_score(attack, scores)
    )


def test_ranking_without_both_kinds_is_unknown() -> None:
    scores = np.arange(4.0)
    assert math.isnan(metrics.auroc(scores, np.ones(4, bool)))
    assert math.isnan(metrics.average_precision(scores, np.zeros(4, bool)))
    assert math.isnan(metrics.recall_at(scores, np.zeros(4, bool), 0.01).value)


def test_threshold_lets_no_more_benign_through_than_allowed() -> None:
    benign = np.arange(1000.0)
    assert (benign > metrics.threshold_at(benign, 0.01)).sum() == 10
    assert (benign > metrics.threshold_at(benign, 0.001)).sum() == 1
    assert (benign[:500] > metrics.threshold_at(benign[:500], 0.001)).sum() == 0
    tied = np.repeat([1.0, 2.0], [980, 20])
    assert (tied > metrics.threshold_at(tied, 0.01)).sum() == 0


def test_recall_by_hand() -> None:
    benign = np.arange(1000.0)
    scores = np.concatenate([benign, [2000.0, 995.0, 985.0, 10.0]])
    attack = np.arange(1004) >= 1000
    assert metrics.recall_at(scores, attack, 0.01, draws=50).value == 0.5
    assert metrics.recall_at(scores, attack, 0.001, draws=50).value == 0.25
    assert metrics.recall_at(scores, attack, 0.05, draws=50).value == 0.75


def test_recall_interval_is_wider_when_accounts_come_in_campaigns() -> None:
    rng = np.random.default_rng(1)
    hits = np.repeat(rng.random(10) < 0.5, 20)
    scores = np.concatenate([rng.random(1000), np.where(hits, 2.0, -1.0)])
    attack = np.arange(1200) >= 1000
    campaigns = [None] * 1000 + [f"c{i // 20}" for i in range(200)]
    alone = metrics.recall_at(scores, attack, 0.01, draws=300)
    grouped = metrics.recall_at(scores, attack, 0.01, campaigns, draws=300)
    assert alone.value == grouped.value
    assert grouped.low <= grouped.value <= grouped.high
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_flagged_set_by_accounts_and_by_traffic() -> None:
    flagged = np.array([True, True, False, False])
    attack = np.array([True, False, True, False])
    by_account = metrics.flagged_set(flagged, attack)
    assert (by_account.precision, by_account.recall) == (0.5, 0.5)
    by_traffic = metrics.flagged_set(flagged, attack, np.array([90.0, 10.0, 30.0, 1000.0]))
    assert (by_traffic.precision, by_traffic.recall) == (0.9, 0.75)
    nothing = metrics.flagged_set(np.zeros(4, bool), attack)
    assert math.isnan(nothing.precision)
    assert nothing.recall == 0


def test_cluster_quality_by_hand() -> None:
    campaign: dict[str, str | None] = {"a1": "A", "a2": "A", "a3": "A", "a4": "A", "b1": "B"}
    campaign |= {"x1": None, "x2": None, "x3": None}
    attack = {account: name is not None for account, name in campaign.items()}
    clusters = {
        "k1": ["a1", "a2", "a3", "x1"],  # right: three of four are A
        "k2": ["b1", "x2", "x3"],  # wrong: mostly benign, so B counts as missed
        "k3": ["a4", "stranger"],  # right: the stranger has no label
    }
    quality = metrics.cluster_quality(clusters, attack, campaign)
    assert quality.clusters == 3
    assert quality.precision == pytest.approx(2 / 3)
    assert quality.recall == 0.5
    assert quality.purity == pytest.approx(5 / 8)
    assert quality.completeness == pytest.approx((0.75 + 1) / 2)


def test_cluster_quality_of_nothing() -> None:
    quality = metrics.cluster_quality({}, {"a": True}, {"a": "A"})
    assert quality.clusters == 0
    assert math.isnan(quality.precision)
    assert quality.recall == 0
