"""What is said of indicators that accounts carry, in a stream."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.detect.build import _versions_of_sightings
from pipelines.detect.sightings import sightings_of
from tests.pipelines.test_findings import cluster, profile, scored
from tests.support.events import START_MS
from tests.support.sketches import TOPICS, events_of, sketch_of, topic_coordinates
from tests.support.state import Bag
from transforms.clusters.elements import AccountProfile
from transforms.clusters.overtaken import _DropFn
from transforms.coverage.layout import CAPACITY, DAY_MS, Items
from transforms.coverage.sketch import CoverageSketch, merge
from transforms.scoring.handler import Scored
from transforms.sessions.shard_log import pack
from transforms.sharing.watch.matching import Hit


def from_networks(*networks: int) -> CoverageSketch:
    """An account that asked once from each of some networks."""
    dice = np.random.default_rng(1)
    times = START_MS + np.arange(len(networks)) * 60_000
    topics = topic_coordinates(dice.integers(0, TOPICS, len(networks)), dice)
    return sketch_of(events_of("a", times, topics, network=np.array(networks, np.uint64)))


def carrying(sketch: CoverageSketch, *hits: Hit) -> Scored[AccountProfile]:
    item = AccountProfile("a", START_MS, START_MS + DAY_MS, sketch, "early")
    return scored(item._replace(hits=hits))


def test_a_thing_that_is_no_more_among_those_that_are_kept_is_not_counted() -> None:
    most = CAPACITY[Items.NETWORK]
    before = from_networks(*((1_000 + i) << 40 for i in range(most)))
    hashes, _ = before.items(Items.NETWORK)
    hits = [Hit("indicator--1", "network", f"{int(h):014x}", "lab", "live") for h in hashes]
    assert [row["match_count"] for row in sightings_of(carrying(before, *hits), "r")] == [1] * most
    # One more is kept in the place of the largest, of which linking has not heard yet.
    since = merge([before, from_networks(5 << 40)])
    left, _ = since.items(Items.NETWORK)
    gone = [hit for hit, h in zip(hits, hashes, strict=True) if h not in left]
    assert [hit.value for hit in gone] == [hits[-1].value]
    assert list(sightings_of(carrying(since, *gone), "r")) == []
    assert len(list(sightings_of(carrying(since, *hits), "r"))) == most - 1


def with_hit(found: Scored[Any], version: int) -> Scored[Any]:
    """With an indicator that each member carries, under a report of linking."""
    hit = Hit("indicator--1", "prompt", "", "lab", "live")
    if isinstance(found.item, AccountProfile):
        return replace(found, item=found.item._replace(hits=(hit,), linked=version))
    members = tuple(
        replace(m, membership=m.membership._replace(hits=(hit,), version=version))
        for m in found.item.members
    )
    return replace(found, item=replace(found.item, members=members))


def test_a_cluster_that_is_no_more_does_not_say_again_where_an_indicator_was_seen() -> None:
    together, apart = with_hit(cluster("a", "b"), 40), with_hit(profile("a"), 90)
    drop, passed = _DropFn(lambda _: None, lambda _, value: value), Bag()
    said: dict[str, dict[str, Any]] = {}
    # The window's end has all members of a cluster told once more.
    for one in (together, apart, together):
        for name, versioned in _versions_of_sightings(one, "r"):
            for piece in pack([(name, pickle.dumps(versioned))]):
                said |= {row["sighting_id"]: row for row in drop.process((0, piece), passed)}
    assert {(row["account_id"], row["cluster_id"]) for row in said.values()} == {
        ("a", None),
        ("b", together.item.cluster_id),
    }
