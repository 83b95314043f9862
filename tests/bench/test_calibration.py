"""P-values of clusters in worlds where nobody attacks: who is linked is not odd for being that."""

from __future__ import annotations

import numpy as np
import pytest

from bench.calibration import Judged, judged, table, world
from pipelines.simulate.scenario import Scenario
from transforms.scoring.fit import BundleOptions


@pytest.fixture(scope="module")
def found() -> dict[str, Judged]:
    options = BundleOptions(null_groups=800)
    return {
        str(seed): judged(world(Scenario(seed, accounts=500, events=40_000)), options)
        for seed in (2,)
    }


def test_live_benign_clusters_keep_what_p_values_promise(found: dict[str, Judged]) -> None:
    """Before accounts of the history were measured without themselves, and each was counted once,
    32 % of these clusters had p ≤ 5 % and 45 % had p ≤ 10 %."""
    p_values = np.concatenate([judged.clusters for judged in found.values()])
    assert len(p_values) > 30
    assert (p_values <= 0.05).mean() <= 0.15
    assert (p_values <= 0.1).mean() <= 0.2


def test_so_do_live_benign_accounts(found: dict[str, Judged]) -> None:
    p_values = np.concatenate([judged.accounts for judged in found.values()])
    assert (p_values <= 0.05).mean() <= 0.06
    assert (p_values <= 0.1).mean() <= 0.1


def test_the_table_is_of_all_worlds_together(found: dict[str, Judged]) -> None:
    summed = table(found)
    assert summed["clusters"] == sum(len(judged.clusters) for judged in found.values())
    assert list(summed["flagged"]) == ["2"]
    assert 0 < summed["clusters_at_most"]["0.1"] <= 0.2
