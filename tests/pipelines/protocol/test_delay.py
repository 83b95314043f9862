"""Time to the first alert: which instants are looked at, what counts as found, a tiny run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.console import Console
from pipelines.judge import Account, Alert
from pipelines.protocol.delay.measure import DelayResult, delays, instants, measure
from pipelines.protocol.delay.report import headline, pictures, rows, section
from pipelines.protocol.grid import Cell

HOUR = 3_600_000


def account(name: str, campaign: str, kind: str = "hydra") -> Account:
    attack = bool(campaign)
    return Account(name, attack, kind if attack else "person", campaign, 1.0, 1.0, 0.0, 10, False)


def test_instants_cut_the_traffic_into_equal_parts() -> None:
    times = np.arange(100, dtype=np.int64)[::-1] ** 2
    cuts = instants(times, 4)
    assert [(times <= at).sum() for at in cuts] == [25, 50, 75, 100]
    assert instants(np.full(9, 7, np.int64), 4).tolist() == [7]


def test_a_campaign_is_found_when_a_cluster_is_mostly_its_own() -> None:
    everyone = [account(n, "c1") for n in "ab"] + [account("x", "c2", "bulk"), account("p", "")]
    times = {"a": [0, 10, 20], "b": [5, 15], "x": list(range(100)), "p": [1]}
    mixed = Alert("m", ("a", "p", "q"))
    seen = [(6, [mixed]), (16, [mixed, Alert("k", ("a", "b", "p"))]), (99, [])]
    found = {d.campaign: d for d in delays(everyone, times, seen)}
    assert (found["c1"].alert_ms, found["c1"].before, found["c1"].requests) == (16, 4, 5)
    assert found["c1"].hours == pytest.approx(16 / HOUR)
    assert (found["c2"].alert_ms, found["c2"].before, found["c2"].share) == (None, 100, 1.0)
    assert math.isinf(found["c2"].hours)


def test_a_campaign_without_traffic_is_left_out() -> None:
    assert delays([account("a", "c1")], {}, [(5, [])]) == ()


def test_the_page_tells_never_from_late() -> None:
    everyone = [account("a", "c1"), account("x", "c2", "bulk")]
    times = {"a": [0, HOUR], "x": [0]}
    found = delays(everyone, times, [(2 * HOUR, [Alert("k", ("a",))])])
    result = DelayResult(Cell("main", "main"), found, 1, 2.0)
    page = "\n".join(section([result]))
    assert "1 of 2 campaigns" in headline(result)
    assert "| hydra | c1 | 1 | 2 | 2 | 100.0 | 2.0 |" in page
    assert "| bulk | c2 | 1 | 1 | never | – | – |" in page
    assert len(rows([result])) == 6
    assert "main" in pictures([result])["delay.svg"]


@pytest.mark.slow
def test_a_tiny_run(corpora: Path) -> None:
    cell = Cell(
        "tiny", "main", part="choose", seed=3, accounts=60, events=0,
        campaigns=("hydra-disjoint:m=12,rate=150,links=1",),
    )  # fmt: skip
    result = measure(corpora, None, cell, 3, Console(as_json=True))
    (campaign,) = result.delays
    assert campaign.accounts == 12
    assert campaign.alert_ms is not None
    assert 0 < campaign.before <= campaign.requests
    assert result.instants == 3
