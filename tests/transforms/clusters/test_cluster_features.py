"""What a group of accounts covers together, and how alike its members are."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from tests.support.events import START_MS
from tests.support.sketches import (
    TOPICS,
    events_of,
    harvester,
    person,
    sketch_of,
    token,
    topic_coordinates,
)
from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.clusters.features import (
    Member,
    complementarity,
    group_row,
    group_rows,
    marginal_gain,
    member_likeness,
    overlap,
    pool_sketches,
    scaffold_members,
    synchrony,
    union_coverage,
)
from transforms.clusters.links import Link, weighted_degree
from transforms.coverage.features import COLUMNS, SketchBlock, feature_matrix, hill_number
from transforms.coverage.layout import HOUR_MS
from transforms.coverage.sketch import CoverageSketch, empty, encode, merge
from transforms.embedding.space import UNIT
from transforms.ingest.batch import Events

NAMES = [feature.name for feature in CLUSTER_FEATURES]


def on_topics(account: str, topics: np.ndarray | list[int], seed: int = 0) -> Events:
    at = np.asarray(topics)
    rng = np.random.default_rng([seed, len(at)])
    return events_of(account, START_MS + np.arange(len(at)) * HOUR_MS, topic_coordinates(at, rng))


def member(account: str, sketch: CoverageSketch, p: float = 0.5, z: float = 0.0) -> Member:
    return Member(account, sketch, p, np.full(len(COLUMNS), z))


def row_of(*sketches: CoverageSketch) -> dict[str, float]:
    row = group_row([member(f"a{i}", s) for i, s in enumerate(sketches)], None)
    return dict(zip(NAMES, row.features, strict=True))


def shards(count: int, events: int = 60) -> list[CoverageSketch]:
    """A sweep of all topics, cut into disjoint parts."""
    parts = np.array_split(np.random.default_rng(1).permutation(TOPICS), count)
    return [sketch_of(harvester(f"s{i}", 1, events, part)) for i, part in enumerate(parts)]


def same_topics(count: int, events: int = 60) -> list[CoverageSketch]:
    """People of one company: the same few topics."""
    return [sketch_of(person(f"c{i}", 2, events, topics=[3, 4, 5, 6])) for i in range(count)]


@pytest.mark.parametrize("count", [2, 6])
def test_disjoint_division_of_labour_is_more_complementary_than_shared_topics(count: int) -> None:
    apart, alike = row_of(*shards(count)), row_of(*same_topics(count))
    assert apart["complementarity"] > alike["complementarity"] + 0.5
    assert apart["overlap"] < alike["overlap"] - 0.5
    assert apart["pooled_hill_cells"] > alike["pooled_hill_cells"]
    assert apart["complementarity"] == pytest.approx(math.log(count), abs=0.35)
    assert alike["complementarity"] == pytest.approx(0, abs=0.25)


def test_complementarity_is_the_pools_hill_number_over_the_members_mean() -> None:
    topics = [[1] * 6 + [2] * 2, [2] * 5 + [3, 4, 5]]
    sketches = [sketch_of(on_topics(f"a{i}", t)) for i, t in enumerate(topics)]

    def hill(counts: list[int]) -> float:
        shares = np.array(counts) / sum(counts)
        return math.exp(-(shares * np.log(shares)).sum())

    expected = hill([6, 7, 1, 1, 1]) / np.mean([hill([6, 2]), hill([5, 1, 1, 1])])
    *own, pooled = hill_number(SketchBlock([*sketches, pool_sketches(sketches)]))
    value = complementarity(np.array([*own, math.nan]), pooled)  # one that asked nothing
    assert value == pytest.approx(math.log(expected), rel=1e-9)


def test_overlap_is_the_collision_rate_between_members_over_that_within() -> None:
    rng = np.random.default_rng(3)
    topics = [rng.integers(0, 12, 40), rng.integers(6, 18, 55), rng.integers(0, 9, 30)]
    sketches = [sketch_of(on_topics(f"a{i}", t, i)) for i, t in enumerate(topics)]
    within, between = [], []
    for (i, a), (j, b) in itertools.combinations(
        [(i, int(t)) for i, own in enumerate(topics) for t in own], 2
    ):
        (within if i == j else between).append(a == b)
    expected = math.log(np.mean(between) / np.mean(within))
    assert overlap(sketches, pool_sketches(sketches)) == pytest.approx(expected, abs=0.02)


def test_member_likeness_is_the_mean_cosine_between_members_minus_that_within() -> None:
    rng = np.random.default_rng(4)
    events = [on_topics(f"a{i}", rng.integers(4 * i, 4 * i + 8, 25), i) for i in range(3)]
    rows = [(i, x / UNIT) for i, e in enumerate(events) for x in e.coordinates.astype(float)]
    within, between = [], []
    for (i, a), (j, b) in itertools.combinations(rows, 2):
        (within if i == j else between).append(a @ b)
    sketches = [sketch_of(e) for e in events]
    value = member_likeness(sketches, pool_sketches(sketches))
    assert value == pytest.approx(np.mean(between) - np.mean(within), abs=2e-3)


def test_members_that_cannot_be_told_apart_have_likeness_zero_and_people_below() -> None:
    rng = np.random.default_rng(5)
    draws = [sketch_of(on_topics(f"a{i}", rng.integers(0, 30, 200), i)) for i in range(6)]
    people = [sketch_of(person(f"p{i}", 5, 80)) for i in range(6)]
    assert row_of(*draws)["member_likeness"] == pytest.approx(0, abs=0.01)
    assert row_of(*people)["member_likeness"] < -0.1


def test_synchrony_is_the_mean_cosine_of_the_members_hours() -> None:
    hours = [[0, 1, 2, 3], [0, 1, 2, 3], [3, 4, 5, 6]]
    sketches = [
        sketch_of(events_of("a", START_MS + np.array(h) * HOUR_MS, np.zeros((4, 64), np.int8)))
        for h in hours
    ]
    assert synchrony(sketches) == pytest.approx((1 + 0.25 + 0.25) / 3)


def test_pooled_features_are_those_of_the_merged_sketch() -> None:
    sketches = shards(4)
    row = row_of(*sketches)
    merged = feature_matrix([merge(sketches)], [None])[0]
    for feature, value in zip(COLUMNS, merged, strict=True):
        if "pooled_" + feature.name in row:
            assert row["pooled_" + feature.name] == pytest.approx(value, nan_ok=True, abs=0)


@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
def test_pooling_in_chunks_is_merging_at_once(count: int) -> None:
    few = [sketch_of(person(f"p{i}", 6, 12)) for i in range(10)]
    sketches = [few[i % 10] for i in range(count)]
    assert encode(pool_sketches(sketches)) == encode(merge(sketches))


def test_a_row_does_not_depend_on_which_others_it_is_computed_with() -> None:
    members = [
        member(f"a{i}", s, 0.1 * i, i) for i, s in enumerate([*same_topics(4), *shards(4), empty()])
    ]
    rng = np.random.default_rng(5)
    groups = [
        [members[int(i)] for i in rng.choice(9, rng.integers(2, 9), replace=False)]
        for _ in range(70)
    ]
    rows = group_rows(groups, None)
    assert group_rows([], None) == []
    for group, row in zip(groups, rows, strict=True):
        alone = group_row(group, None)
        assert alone.features.tobytes() == row.features.tobytes()
        assert alone.covariates.tobytes() == row.covariates.tobytes()
        assert encode(alone.pool) == encode(row.pool)


def test_members_in_another_order_give_the_same_row() -> None:
    members = [member(f"a{i}", s, 0.1 * i, i) for i, s in enumerate(same_topics(5))]
    one, other = group_row(members, None), group_row(members[::-1], None)
    assert one.features == pytest.approx(other.features, nan_ok=True, abs=1e-12)
    assert encode(one.pool) == encode(other.pool)


def test_surprise_breadth_and_spread_come_from_the_members_own_scores() -> None:
    sketches = same_topics(3)
    members = [member(f"a{i}", s, 10.0**-i, float(i)) for i, s in enumerate(sketches)]
    row = dict(zip(NAMES, group_row(members, None).features, strict=True))
    assert row["member_surprise"] == pytest.approx(1)
    assert row["member_breadth"] == pytest.approx(1)
    assert row["behaviour_spread"] == pytest.approx(np.std([0, 1, 2]))
    assert row["volume_spread"] == pytest.approx(0)


def test_covariates_are_the_logs_of_requests_and_members() -> None:
    row = group_row([member(f"a{i}", s) for i, s in enumerate(same_topics(3, 20))], None)
    assert row.covariates == pytest.approx([math.log(60), math.log(3)])
    assert row.pool.events == 60


@pytest.mark.parametrize("events", [0, 1, 2, 5])
def test_tiny_members_are_finite_or_unknown_and_never_warn(events: int) -> None:
    sketches = [sketch_of(person(f"a{i}", 7, events)) if events else empty() for i in range(2)]
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        row = row_of(*sketches)
    assert not any(math.isinf(value) for value in row.values())


def test_a_member_without_vectors_does_not_hide_the_others() -> None:
    silent = sketch_of(events_of("x", np.array([START_MS]), np.zeros((1, 64), np.int8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_it, without = row_of(*shards(3), silent), row_of(*shards(3))
    for name in ("complementarity", "overlap", "member_likeness", "pooled_hill_cells"):
        assert with_it[name] == pytest.approx(without[name], rel=1e-9)


def test_every_feature_has_words_and_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(feature.words for feature in CLUSTER_FEATURES)


def test_linkage_is_the_mean_weighted_degree() -> None:
    links = [Link("payment", "0" * 14, 3, 0.8), Link("network", "1" * 14, 9, 0.2)]
    added = Link("content", "2" * 14, 5, 1.0)
    assert weighted_degree([*links, added]) == pytest.approx(1.0)
    members = [
        replace(member(f"a{i}", s), degree=d)
        for i, (s, d) in enumerate(zip(same_topics(2, 20), (1.0, 0.5), strict=True))
    ]
    row = dict(zip(NAMES, group_row(members, None).features, strict=True))
    assert row["linkage"] == pytest.approx(0.75)


def test_nobody_looked_for_links_of_a_random_group() -> None:
    assert math.isnan(row_of(*same_topics(2, 20))["linkage"])


def test_marginal_gain_is_the_share_of_cells_that_nobody_before_had() -> None:
    first, second, third = (
        replace_start(sketch_of(on_topics(f"a{i}", t)), i)
        for i, t in enumerate([[1, 2, 3], [3, 4], [1, 2, 4, 5]])
    )
    assert marginal_gain([first, second, third]) == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert marginal_gain([third, first, second]) == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert math.isnan(marginal_gain([first, empty()]))


def replace_start(sketch: CoverageSketch, hours: int) -> CoverageSketch:
    return replace(sketch, first_ms=sketch.first_ms + hours * HOUR_MS)


def test_a_plan_that_hands_out_what_is_missing_gains_more_than_a_shared_interest() -> None:
    assert marginal_gain(shards(6)) > marginal_gain(same_topics(6)) + 0.4


def test_union_coverage_is_the_log_of_the_cells_that_anybody_visited() -> None:
    pool = pool_sketches([sketch_of(on_topics("a", [1, 2, 2])), sketch_of(on_topics("b", [2, 7]))])
    assert union_coverage(pool) == pytest.approx(math.log(3))
    assert math.isnan(union_coverage(empty()))


def test_scaffold_members_is_the_share_of_members_with_one_wording() -> None:
    def worded(account: str, words: list[str]) -> CoverageSketch:
        hashes = np.array([token(word) for word in words])
        coordinates = topic_coordinates(np.arange(len(words)), np.random.default_rng(0))
        time = START_MS + np.arange(len(words))
        return sketch_of(events_of(account, time, coordinates, prefix_scaffold=hashes))

    once_in_twenty = ["fixed", *(f"own {i}" for i in range(19))]
    members = [worded("a", ["fixed"] * 3), worded("b", ["fixed", "x"]), worded("c", ["y"] * 4)]
    assert scaffold_members(members) == pytest.approx(2 / 3)
    assert scaffold_members([*members, worded("d", once_in_twenty)]) == pytest.approx(2 / 4)
    assert scaffold_members([empty(), empty()]) == 0
