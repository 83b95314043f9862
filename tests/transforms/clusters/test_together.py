"""Clusters of profiles in columns, against those of profiles one by one."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
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
from tests.support.sketches import TOPICS, harvester, person, population, sketch_of, verified
from transforms.clusters import together, transforms
from transforms.clusters.elements import AccountProfile
from transforms.clusters.linkables import linkable, linkables
from transforms.clusters.links import LinkOptions
from transforms.clusters.membership import KnownIds
from transforms.clusters.reports import Watching
from transforms.clusters.signatures import MOST_CELLS
from transforms.clusters.singles import Singles
from transforms.clusters.together import FindClustersTogether, FoundTogether
from transforms.clusters.transforms import FindClusters
from transforms.coverage.layout import DAY_MS, Items
from transforms.coverage.sketch import CoverageSketch, encode
from transforms.coverage.stack import SketchStack
from transforms.scoring.bundle import load_bundle
from transforms.scoring.fit import PROFILE
from transforms.scoring.handler import Scored, score_items
from transforms.scoring.levels import rows_of_profiles
from transforms.sessions.shards import Named
from transforms.sharing.watch.listing import LIVE, Watched, write_watch_list
from transforms.sharing.watch.matching import WatchOptions

WEEK_MS = 7 * DAY_MS
OPTIONS = LinkOptions()
Profiles = dict[tuple[int, str], CoverageSketch]  # by the week, and the account


@pytest.fixture(scope="module")
def profiles() -> Profiles:
    """People, and accounts on one card, over two weeks; one account asks a lot."""
    found: Profiles = {}
    for week in range(2):
        for name, sketch in population(15, seed=week, prefix="b").items():
            found[week, name] = sketch
        for i in range(4 + week):
            found[week, f"x{i}"] = sketch_of(
                harvester(f"x{i}", i, 30, np.arange(i, TOPICS, 5), payment="stolen")
            )
    found[0, "wide"] = sketch_of(harvester("wide", 9, 600, np.arange(TOPICS)))
    return found


def facts(scored: Scored[AccountProfile]) -> tuple[object, ...]:
    # Only those that are taken one by one, in a stream, are told apart by what was flagged.
    item = scored.item._replace(is_remarkable=True)
    return (
        *item._replace(sketch=encode(item.sketch)), scored.peer_group, scored.score,
        scored.p_value, scored.columns, scored.features.tobytes(), scored.z.tobytes(),
        scored.low.tobytes(), scored.high.tobytes(), scored.reasons, scored.bundle_version,
    )  # fmt: skip


def run(timed: list[Any], saved: Path, find: type[FindClusters], *more: Any) -> tuple[Any, Any]:
    """What is found: of each cluster all that is said of it and its members; and the singles."""
    folder = Path(mkdtemp(dir=saved.parent))  # workers get copies of what the pipeline refers to

    def check_clusters(found: Iterable[Any]) -> None:
        (folder / "clusters").write_bytes(pickle.dumps(list(found)))

    def check_singles(found: Iterable[Any]) -> None:
        (folder / "singles").write_bytes(pickle.dumps(list(found)))

    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with TestPipeline() as pipeline:
        found = (
            pipeline
            | beam.Create(timed)
            | beam.Map(lambda timed: timed)
            | beam.WindowInto(FixedWindows(WEEK_MS / 1000))
            | find(verified(saved), OPTIONS, 0.05, WEEK_MS, 0, 0, *more)
        )
        singles = found.singles
        if isinstance(found, FoundTogether):
            singles |= "Each" >> beam.FlatMap(Singles.each)
        assert_that(found.clusters, check_clusters, label="clusters")
        assert_that(singles, check_singles, label="singles")
    clusters, singles = (pickle.loads((folder / n).read_bytes()) for n in ("clusters", "singles"))
    of_clusters = [
        (
            c.item.cluster_id, c.item.window_start_ms, c.score, c.p_value, c.features.tobytes(),
            c.reasons, [(facts(m.scored), m.membership) for m in c.item.members],
        )
        for c in clusters
    ]  # fmt: skip
    return sorted(of_clusters, key=lambda c: c[:2]), sorted(map(facts, singles))


def start_of(week: int) -> int:
    return START_MS // WEEK_MS * WEEK_MS + week * WEEK_MS


def one_by_one(profiles: Profiles, saved: Path) -> list[Any]:
    bundle = load_bundle(saved)
    items = [
        AccountProfile(name, start_of(week), start_of(week + 1), sketch)
        for (week, name), sketch in profiles.items()
    ]
    scored = score_items(items, bundle, PROFILE, rows_of_profiles, 0.05)
    return [TimestampedValue(s, s.item.window_start_ms / 1000) for s in scored]


def in_columns(profiles: Profiles, shards: int, seed: int) -> list[Any]:
    """Profiles of each week in shards, all in any order."""
    rng = np.random.default_rng(seed)
    names = [list(profiles)[i] for i in rng.permutation(len(profiles))]
    timed = []
    for week in range(2):
        own = [key for key in names if key[0] == week]
        for shard in range(shards):
            keys = own[shard::shards]
            stack = SketchStack.of([profiles[key] for key in keys])
            element = week * shards + shard, Named([name for _, name in keys], stack)
            timed.append(TimestampedValue(element, start_of(week) / 1000))
    return [timed[i] for i in rng.permutation(len(timed))]


@pytest.mark.parametrize(("shards", "at_once", "pooled"), [(1, 100, 100), (3, 4, 1)])
def test_profiles_in_columns_give_what_they_give_one_by_one(
    saved: Path,
    profiles: Profiles,
    shards: int,
    at_once: int,
    pooled: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clusters, singles = run(one_by_one(profiles, saved), saved, FindClusters)
    assert [len(c[-1]) for c in clusters] == [4, 5]
    assert len(singles) == 31
    monkeypatch.setattr(together, "_AT_ONCE", at_once)
    monkeypatch.setattr(transforms._PoolFn, "_FULL", pooled)
    found = run(in_columns(profiles, shards, seed=shards), saved, FindClustersTogether)
    assert found == (clusters, singles)


def test_names_of_before_and_received_indicators_are_told_of_those_in_columns(
    saved: Path, profiles: Profiles, tmp_path: Path
) -> None:
    """One cluster fell apart, one grew into another, and the networks of some are watched."""
    before = {
        start_of(0): {"b0001": "c-apart", "b0002": "c-apart", "x0": "c-one", "x1": "c-two"},
        start_of(1): {"b0003": "c-alone", "wide": "c-away"},
    }
    said = {start_of(0): {"c-apart": 70, "c-one": 3, "c-two": 9}, start_of(1): {"c-alone": 500}}
    network = [int(profiles[0, f"b000{i}"].items(Items.NETWORK)[0][0]) for i in (3, 4)]
    watched = [
        Watched(f"i--{i}", "network", f"{value:014x}", "lab", 1.0, 1 << 42, None, LIVE)
        for i, value in enumerate(network)
    ]
    write_watch_list(tmp_path / "watch.json", watched)
    watching = Watching(str(tmp_path / "watch.json"), 0, WatchOptions({"lab": 1.0}))
    how = KnownIds(before, said), (), watching
    expected = run(one_by_one(profiles, saved), saved, FindClusters, *how)
    for field in ("absorbed", "hits", "revision_offset"):
        assert any(single[AccountProfile._fields.index(field)] for single in expected[1])
    assert any("c-alone" in single for single in expected[1])
    for shards in (1, 3):
        found = run(in_columns(profiles, shards, shards), saved, FindClustersTogether, *how)
        assert found == expected


def test_accounts_in_columns_are_those_one_by_one(profiles: Profiles) -> None:
    sketches = [sketch_of(person("new", 1, 1)), *profiles.values()]
    names = [f"a{i}" for i in range(len(sketches))]
    stack = SketchStack.of(sketches)
    common = np.unique(linkables(names, stack, OPTIONS).things)[::3]
    p_values = np.linspace(0, 1, len(names))
    found = list(linkables(names, stack, OPTIONS, common, p_values).each())
    for own, name, sketch, p in zip(found, names, sketches, p_values, strict=True):
        alone = linkable(name, sketch, OPTIONS, common, float(p))
        for field in ("account", "since_ms", "events", "p_value", "last_ms"):
            assert getattr(own, field) == getattr(alone, field)
        assert own.things.tolist() == alone.things.tolist()
        assert own.content.cells.tolist() == alone.content.cells.tolist()
        assert own.content.counts.tolist() == alone.content.counts.tolist()
        assert own.activity.minutes.tolist() == alone.activity.minutes.tolist()
        assert own.activity[1:] == alone.activity[1:]
        assert not np.isin(own.things, common).any()
    assert max(len(own.content.cells) for own in found) == MOST_CELLS


def test_nobody_in_columns_is_nobody() -> None:
    nobody = SketchStack.of([sketch_of(person("a", 1, 1))]).take(np.empty(0, np.int64))
    assert list(linkables([], nobody, OPTIONS).each()) == []
