"""What a stream takes back when accounts come together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.detect.findings import Judge
from tests.support.events import START_MS
from tests.support.sketches import person, sketch_of
from transforms.alerts.policy import AlertPolicy
from transforms.clusters.elements import AccountProfile, Cluster, ClusterMember
from transforms.clusters.features import Member, group_row
from transforms.clusters.membership import Absorbed, Membership
from transforms.clusters.names import cluster_id
from transforms.coverage.features import COLUMNS
from transforms.coverage.layout import DAY_MS
from transforms.embedding.labels import CapabilityTable
from transforms.scoring.handler import Scored

POLICY = AlertPolicy(0.01, high_exposure_usd=1e6, critical_exposure_usd=1e6, high_accounts=50)
JUDGE = Judge(POLICY, "run", CapabilityTable())
NOTHING = np.empty(0)


def scored(item: Any, p_value: float = 0.5) -> Scored[Any]:
    return Scored(item, "", 1.0, p_value, (), NOTHING, NOTHING, NOTHING, NOTHING, (), "bundle")


def profile(name: str, p_value: float = 0.5) -> Scored[AccountProfile]:
    sketch = sketch_of(person(name, 1, 20))
    return scored(AccountProfile(name, START_MS, START_MS + DAY_MS, sketch, "early"), p_value)


def cluster(*names: str, absorbed: tuple[Absorbed, ...] = ()) -> Scored[Cluster]:
    """A cluster that the first account founded."""
    profiles = [profile(name) for name in names]
    members = [
        ClusterMember(p, Membership(1, cluster_id(names[0]), len(names), ())) for p in profiles
    ]
    zeros = np.zeros(len(COLUMNS))
    row = group_row([Member(p.item.account, p.item.sketch, 0.5, zeros) for p in profiles], None)
    found = Cluster(
        cluster_id(names[0]), START_MS, START_MS + DAY_MS, tuple(members), row, absorbed
    )
    return scored(found, 0.001)


def test_what_a_cluster_absorbed_is_resolved_under_its_own_name() -> None:
    old = (Absorbed(cluster_id("b"), 21), Absorbed("c-other", 10_000))
    grown = cluster("a", "b", "c", absorbed=old)
    found = list(JUDGE.taken_back(grown))
    assert [f.cluster["cluster_id"] for f in found] == [cluster_id("b"), "c-other"]
    assert {f.cluster["status"] for f in found} == {"resolved"}
    assert {f.cluster["merged_into"] for f in found} == {cluster_id("a")}
    assert [f.cluster["revision"] for f in found] == [21, 10_000]
    assert all(not f.members for f in found)


def test_a_row_that_takes_back_is_newer_than_what_it_takes_back() -> None:
    (alone,) = JUDGE.flagged(profile("b", 0.001))
    grown = cluster("a", "b", absorbed=(Absorbed(cluster_id("b"), 21),))
    (back,) = JUDGE.taken_back(grown)
    for column in ("cluster_id", "window_start"):
        assert back.cluster[column] == alone.cluster[column]
    assert back.cluster["revision"] > alone.cluster["revision"]


def test_an_account_that_is_left_of_a_cluster_takes_it_back() -> None:
    left = profile("a")
    left = replace(left, item=left.item._replace(absorbed=(Absorbed("c-old", 77),)))
    (back,) = JUDGE.taken_back(left)
    assert (back.cluster["cluster_id"], back.cluster["revision"]) == ("c-old", 77)
    assert list(JUDGE.taken_back(profile("a"))) == []


def test_what_is_not_flagged_any_more_says_so() -> None:
    (open_row,) = JUDGE.judged_again(profile("a", 0.001))
    (resolved,) = JUDGE.judged_again(profile("a", 0.5))
    assert (open_row.cluster["status"], resolved.cluster["status"]) == ("open", "resolved")


def test_what_the_policy_does_not_flag_is_no_finding() -> None:
    assert list(JUDGE.flagged(profile("a", 0.5))) == []
    assert [f.cluster["status"] for f in JUDGE.flagged(profile("a", 0.001))] == ["open"]
