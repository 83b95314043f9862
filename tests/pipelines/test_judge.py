from __future__ import annotations

import json
import math

import pytest

from pipelines.judge import Account, Alert, judge, ranking

HOUR = 3_600_000


def _benign(i: int, kind: str = "person", flagged: bool = False) -> Account:
    p = (i + 1) / 1000
    return Account(f"b{i}", False, kind, "", p, -float(i), p, 10, flagged)


def _attack(
    name: str,
    campaign: str,
    p: float,
    score: float = 5.0,
    flagged: bool = True,
    kind: str = "hydra",
) -> Account:
    return Account(name, True, kind, campaign, p, score, p, 100, flagged)


ACCOUNTS = (
    *(_benign(i) for i in range(990)),
    *(_benign(i, "business", flagged=i == 995) for i in range(990, 1000)),
    _attack("a1", "A", 0.0005),
    _attack("a2", "A", 0.0005),
    _attack("a3", "A", 0.005, flagged=False),
    _attack("d1", "D", 0.5, flagged=False, kind="drip"),
    Account("n1", True, "drip", "", 1.0, -math.inf, math.nan, 0, False),
)
ALERTS = (Alert("k1", ("a1", "a2"), 7 * HOUR), Alert("k2", ("b995",), 3 * HOUR))


def test_every_figure_by_hand() -> None:
    result = judge(ACCOUNTS, ALERTS, {"a1": 2 * HOUR, "a2": 5 * HOUR}, draws=50)
    assert (result.attacking, result.benign, result.scored) == (5, 1000, 1004)
    assert result.recall["0.001"].value == pytest.approx(2 / 5)
    assert result.recall["0.01"].value == pytest.approx(3 / 5)
    assert result.by_account.precision == pytest.approx(2 / 3)
    assert result.by_account.recall == pytest.approx(2 / 5)
    assert result.by_traffic.precision == pytest.approx(200 / 210)
    assert result.by_traffic.recall == pytest.approx(0.5)
    assert result.clusters.precision == 0.5
    assert result.clusters.recall == 0.5
    drip, hydra = result.kinds
    assert (hydra.kind, hydra.accounts, hydra.campaigns, hydra.flagged) == ("hydra", 3, 1, 2)
    assert hydra.at_001 == pytest.approx(2 / 3)
    assert hydra.at_01 == 1.0
    assert (drip.accounts, drip.campaigns, drip.at_01) == (2, 2, 0.0)
    campaigns = {c.campaign: c for c in result.campaigns}
    assert campaigns["A"].hours_to_alert == 5.0
    assert campaigns["D"].hours_to_alert == math.inf
    assert campaigns["n1"].flagged == 0
    business, person = result.benign_classes
    assert (business.kind, business.accounts, business.flagged) == ("business", 10, 1)
    assert business.p_01 == 0.0
    assert person.p_01 == pytest.approx(10 / 990)
    assert person.p_001 == pytest.approx(1 / 990)
    assert any("never scored" in note for note in result.notes)


def test_json_has_no_nan_and_says_never() -> None:
    text = json.dumps(judge(ACCOUNTS, (), draws=20).as_dict(), allow_nan=False)
    assert '"hours_to_alert": "never"' in text


def test_ranking_is_by_p_value_then_score_and_keeps_ties() -> None:
    rows = (
        _attack("a", "A", 0.1, 1.0),
        _attack("b", "A", 0.1, 2.0),
        _attack("c", "A", 0.1, 2.0),
        _attack("d", "A", 0.01, -9.0),
    )
    assert ranking(rows).tolist() == [0.0, 1.0, 1.0, 2.0]


def test_few_benign_accounts_are_noted() -> None:
    assert any("none may be flagged" in n for n in judge(ACCOUNTS[500:], (), draws=20).notes)
