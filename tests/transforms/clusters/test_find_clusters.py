"""From scored profiles to scored clusters and findings, on a small made-up population."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from tests.support.events import START_MS
from tests.support.sketches import (
    TOPICS,
    harvester,
    person,
    population,
    sketch_of,
    token,
    verified,
)
from transforms.alerts.policy import AlertPolicy
from transforms.clusters.elements import AccountProfile, Cluster, ClusterMember
from transforms.clusters.links import LinkOptions
from transforms.clusters.membership import Membership
from transforms.clusters.names import cluster_id
from transforms.clusters.newest import NewestByName, Versioned
from transforms.clusters.reports import NOT_WATCHING, Watching
from transforms.clusters.rows import Finding, finding_of
from transforms.clusters.tactics import name_tactics
from transforms.clusters.transforms import FindClusters, _Join, _NewestMembers
from transforms.coverage.layout import DAY_MS, Items, Sum
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.embedding.labels import CapabilityTable
from transforms.scoring.bundle import load_bundle
from transforms.scoring.handler import Scored, score_items
from transforms.scoring.levels import rows_of_sketches

WEEK_MS = 7 * DAY_MS
POLICY = AlertPolicy(0.05, high_exposure_usd=0.1, critical_exposure_usd=1_000, high_accounts=50)
PLANTED = tuple(f"x{i}" for i in range(6))


def sketches() -> dict[str, CoverageSketch]:
    """Twenty people, a couple on one card, and six accounts that share out a sweep."""
    found = population(20, seed=77, prefix="b")
    for name in ("wife", "husband"):
        found[name] = sketch_of(person(name, 7, payment="family"))
    shards = np.array_split(np.random.default_rng(1).permutation(TOPICS), len(PLANTED))
    for i, (name, part) in enumerate(zip(PLANTED, shards, strict=True)):
        found[name] = sketch_of(
            harvester(name, 1, 60, part, payment="stolen", account_created_ms=START_MS - 10 + i)
        )
    return found


def scored(saved: Path, found: dict[str, CoverageSketch]) -> list[Scored[AccountProfile]]:
    items = [
        AccountProfile(name, START_MS, START_MS + WEEK_MS, sketch) for name, sketch in found.items()
    ]
    return score_items(items, load_bundle(saved), "profile", rows_of_sketches, 0.05)


def run(
    saved: Path, profiles: list[Scored[AccountProfile]], watching: Watching = NOT_WATCHING
) -> tuple[list[Any], list[Any]]:
    """Scored clusters and single accounts that a pipeline finds."""
    folder = Path(mkdtemp(dir=saved.parent))  # workers get copies of what the pipeline refers to

    def keep(name: str) -> Callable[[Iterable[Any]], None]:
        def check(found: Iterable[Any]) -> None:
            (folder / name).write_bytes(pickle.dumps(list(found)))

        return check

    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with TestPipeline() as pipeline:
        timed = [TimestampedValue(p, START_MS / 1000) for p in profiles]
        found = (
            pipeline
            | beam.Create(timed)
            | beam.Map(lambda timed: timed)
            | beam.WindowInto(FixedWindows(WEEK_MS / 1000))
            | FindClusters(verified(saved), LinkOptions(), 0.05, WEEK_MS, 0, 0, watching=watching)
        )
        assert_that(found.clusters, keep("clusters"), label="clusters")
        assert_that(found.singles, keep("singles"), label="singles")
    clusters, singles = (pickle.loads((folder / n).read_bytes()) for n in ("clusters", "singles"))
    return clusters, singles


def facts(clusters: list[Scored[Cluster]]) -> list[tuple[object, ...]]:
    return sorted(
        (
            c.item.cluster_id, tuple(m.account for m in c.item.members), c.score, c.p_value,
            c.features.tobytes(), encode(c.item.row.pool),
            tuple(m.membership.links for m in c.item.members),
        )
        for c in clusters
    )  # fmt: skip


@pytest.fixture(scope="module")
def profiles(saved: Path) -> list[Scored[AccountProfile]]:
    return scored(saved, sketches())


@pytest.fixture(scope="module")
def result(saved: Path, profiles: list[Scored[AccountProfile]]) -> tuple[list[Any], list[Any]]:
    return run(saved, profiles)


def planted(clusters: list[Scored[Cluster]]) -> Scored[Cluster]:
    return next(c for c in clusters if c.item.cluster_id == cluster_id("x0"))


def test_the_planted_group_and_the_couple_are_found_and_the_rest_is_single(
    result: tuple[list[Any], list[Any]],
) -> None:
    clusters, singles = result
    groups = {frozenset(m.account for m in c.item.members) for c in clusters}
    assert groups == {frozenset(PLANTED), frozenset({"wife", "husband"})}
    assert {s.item.account for s in singles} == {f"b{i:04d}" for i in range(20)}


def test_the_planted_group_is_unusual_and_the_couple_is_not(
    result: tuple[list[Any], list[Any]],
) -> None:
    clusters, _ = result
    by_size = {len(c.item.members): c for c in clusters}
    assert by_size[6].p_value < 0.03 < by_size[2].p_value
    assert by_size[6].reasons


def test_the_pool_is_the_merged_sketch_of_all_members(
    result: tuple[list[Any], list[Any]], profiles: list[Scored[AccountProfile]]
) -> None:
    own = [p.item.sketch for p in profiles if p.item.account in PLANTED]
    assert encode(planted(result[0]).item.row.pool) == encode(merge(own))


def test_shuffled_profiles_give_the_same_clusters(
    saved: Path, profiles: list[Scored[AccountProfile]], result: tuple[list[Any], list[Any]]
) -> None:
    order = np.random.default_rng(3).permutation(len(profiles))
    assert facts(run(saved, [profiles[i] for i in order])[0]) == facts(result[0])


def test_profiles_fed_twice_give_the_same_clusters(
    saved: Path, profiles: list[Scored[AccountProfile]], result: tuple[list[Any], list[Any]]
) -> None:
    clusters, singles = run(saved, profiles + profiles[::-1])
    assert facts(clusters) == facts(result[0])
    assert len(singles) == len(result[1])


def test_an_older_report_of_a_profile_never_wins(
    saved: Path, profiles: list[Scored[AccountProfile]], result: tuple[list[Any], list[Any]]
) -> None:
    early = {name: sketch_of(harvester(name, 1, 9, payment="stolen")) for name in PLANTED}
    assert facts(run(saved, profiles + scored(saved, early))[0]) == facts(result[0])


def test_of_equal_reports_of_a_profile_the_last_pane_counts(
    profiles: list[Scored[AccountProfile]],
) -> None:
    combine = _Join(1.0)
    panes = [
        replace(profiles[0], item=profiles[0].item._replace(pane=pane))
        for pane in ("early", "on_time", "late")
    ]
    for order in permutations(panes):
        accumulators = [combine.add_input(combine.create_accumulator(), one) for one in order]
        profile, _, _ = combine.extract_output(combine.merge_accumulators(accumulators))
        assert profile.item.pane == "late"


def test_of_equal_versions_of_a_member_the_last_pane_counts(
    profiles: list[Scored[AccountProfile]],
) -> None:
    combine, membership = _NewestMembers(), Membership(7, "c", 2, ())
    panes = [
        Versioned(
            "a", 7,
            ClusterMember(
                replace(profiles[0], item=profiles[0].item._replace(pane=pane)), membership
            ),
        )
        for pane in ("early", "on_time", "late")
    ]  # fmt: skip
    for order in permutations(panes):
        accumulators = [combine.add_input(combine.create_accumulator(), one) for one in order]
        [newest] = combine.extract_output(combine.merge_accumulators(accumulators))
        assert newest.value.scored.item.pane == "late"


def test_a_card_that_the_history_shared_still_links_but_a_browser_does_not(saved: Path) -> None:
    common = load_bundle(saved).common
    assert not np.isin(common >> np.uint64(56), [int(Items.PAYMENT)]).any()
    people = {f"n{i}": sketch_of(person(f"n{i}", 8, client=token("browser"))) for i in range(60)}
    clusters, singles = run(saved, scored(saved, people))
    assert clusters == []
    assert len(singles) == 60


# --- rows ---------------------------------------------------------------------------------------


def test_a_flagged_cluster_becomes_a_row_with_its_members(
    result: tuple[list[Any], list[Any]],
) -> None:
    cluster = planted(result[0])
    pool = cluster.item.row.pool
    found = finding_of(cluster, POLICY, "run-1", CapabilityTable())
    assert isinstance(found, Finding)
    row = found.cluster
    assert row["cluster_id"] == cluster_id("x0")
    assert (row["account_count"], row["payment_count"], row["request_count"]) == (6, 1, 360)
    assert row["exposure_usd"] == pytest.approx(int(pool.sums[Sum.COST_MICROUSD]) / 1e6)
    assert row["severity"] in {"medium", "high"}
    assert row["reasons"]
    assert {m["account_id"] for m in found.members} == set(PLANTED)
    assert sum(m["request_count"] for m in found.members) == row["request_count"]
    assert all(m["links"][0]["kind"] == "payment" for m in found.members)
    assert {m["revision"] for m in found.members} == {row["revision"]}


def test_a_single_account_becomes_a_cluster_of_one(saved: Path) -> None:
    (alone,) = scored(saved, {"h": sketch_of(harvester("h", 2, 80))})
    found = finding_of(alone, POLICY, "r", CapabilityTable())
    assert found.cluster["cluster_id"] == cluster_id("h")
    assert found.cluster["account_count"] == 1
    assert [(m["account_id"], m["links"]) for m in found.members] == [("h", [])]


# --- small parts --------------------------------------------------------------------------------


def test_the_newest_version_of_a_name_wins_in_any_order() -> None:
    entries = [Versioned("a", 1, "old"), Versioned("b", 5, "b"), Versioned("a", 3, "new")]
    combine = NewestByName()
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        accumulators = []
        for i in order:
            accumulators.append(combine.add_input(combine.create_accumulator(), entries[i]))
        merged = combine.merge_accumulators(accumulators)
        assert [e.value for e in combine.extract_output(merged)] == ["new", "b"]


@pytest.mark.parametrize(
    ("z", "accounts", "expected"),
    [
        ({}, 1, []),
        ({"hill_cells": 2.5}, 1, ["drip"]),
        ({"complementarity": 3.0}, 6, ["drip", "divided_labour"]),
        ({"complementarity": 3.0}, 1, ["drip"]),
        ({"pooled_top_scaffold_share": 4.0}, 3, ["fixed_template"]),
        ({"repeated_prompts": 1.9}, 1, []),
        ({"blocked_share": 9.0, "reasoning_share": 9.0}, 1,
         ["reasoning_elicitation", "hand_over"]),
    ],
)  # fmt: skip
def test_tactics_name_what_stands_out(
    z: dict[str, float], accounts: int, expected: list[str]
) -> None:
    assert name_tactics(z, sketch_of(harvester("h", 1, 60)), accounts) == expected


def test_a_fast_sweep_is_bulk_and_a_slow_one_a_drip() -> None:
    fast = sketch_of(harvester("h", 1, 700))
    assert name_tactics({"hill_cells": 3.0}, fast, 1) == ["bulk_sweep"]
    assert name_tactics({"hill_cells": 3.0}, fast, 10) == ["drip"]
