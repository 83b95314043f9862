"""Scoring in a pipeline is scoring by the model, in batches of any size."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

from tests.support.events import START_MS
from tests.support.sketches import PEERS, harvester, person, sketch_of, verified
from transforms.clusters.elements import AccountProfile
from transforms.coverage.features import COLUMNS
from transforms.coverage.layout import DAY_MS
from transforms.scoring.bundle import load_bundle
from transforms.scoring.handler import Scored, ScoringHandler, score_items
from transforms.scoring.levels import rows_of_sketches, score_row
from transforms.scoring.rows import PeerGroups, sketch_rows

WEEK = START_MS, START_MS + 7 * DAY_MS


def profiles(people: int = 30, harvesters: int = 4) -> list[AccountProfile]:
    made = [person(f"t{i}", 9, 12 + i, peer=[*PEERS, "new|kind"][i % 3]) for i in range(people)]
    made += [harvester(f"h{i}", 9) for i in range(harvesters)]
    return [AccountProfile(str(e.account[0]), *WEEK, sketch_of(e)) for e in made]


def facts(scored: Scored[AccountProfile]) -> tuple[object, ...]:
    return (
        scored.item.account, scored.peer_group, scored.score, scored.p_value,
        scored.features.tobytes(), scored.z.tobytes(), scored.low.tobytes(), scored.high.tobytes(),
        scored.reasons, scored.bundle_version,
    )  # fmt: skip


@pytest.fixture(scope="module")
def expected(saved: Path) -> list[tuple[object, ...]]:
    bundle = load_bundle(saved)
    items = profiles()
    return sorted(facts(s) for s in score_items(items, bundle, "profile", rows_of_sketches, 0.05))


def test_run_inference_gives_what_the_model_gives(
    saved: Path, expected: list[tuple[object, ...]]
) -> None:
    handler = ScoringHandler(verified(saved), "profile", rows_of_sketches, 0.05)

    def check(found: Iterable[Scored[AccountProfile]]) -> None:
        assert sorted(facts(s) for s in found) == expected

    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with TestPipeline() as pipeline:
        assert_that(pipeline | beam.Create(profiles()) | RunInference(handler), check)


@pytest.mark.parametrize("size", [1, 2, 7, 33, 1_000])
def test_batches_of_any_size_give_the_same(
    saved: Path, expected: list[tuple[object, ...]], size: int
) -> None:
    handler = ScoringHandler(verified(saved), "profile", rows_of_sketches, 0.05)
    model, items = handler.load_model(), profiles()
    found = [
        facts(scored)
        for start in range(0, len(items), size)
        for scored in handler.run_inference(items[start : start + size], model)
    ]
    assert sorted(found) == expected


def test_it_is_the_models_own_score_p_value_and_normal_range(saved: Path) -> None:
    bundle, items = load_bundle(saved), profiles()
    peers = PeerGroups(bundle.references)
    sketches = [item.sketch for item in items]
    rows = sketch_rows(sketches, [peers.of(s) for s in sketches], bundle.references)
    scores = bundle.models["profile"].score(rows)
    found = score_items(items, bundle, "profile", rows_of_sketches, 0.0)
    assert [s.score for s in found] == scores.score.tolist()
    assert [s.p_value for s in found] == scores.p_value.tolist()
    assert np.array_equal([s.high for s in found], scores.high)
    assert [s.item.account for s in found] == [item.account for item in items]


def test_peer_groups_that_the_bundle_does_not_know_have_no_name(saved: Path) -> None:
    found = score_items(profiles(6, 0), load_bundle(saved), "profile", rows_of_sketches, 0.0)
    names = [s.peer_group.partition("#")[0] for s in found]
    assert names == [*PEERS, "", *PEERS, ""]


def test_reasons_are_given_up_to_the_threshold_and_only_there(saved: Path) -> None:
    bundle = load_bundle(saved)
    found = score_items(profiles(), bundle, "profile", rows_of_sketches, 0.02)
    assert all(bool(s.reasons) == (s.p_value <= 0.02) for s in found)
    told = [s for s in found if s.reasons]
    assert {s.item.account for s in told} >= {f"h{i}" for i in range(4)}
    for scored in told:
        falls = [reason.contribution for reason in scored.reasons]
        assert falls == sorted(falls, reverse=True)
        assert min(falls) > 0
        for reason in scored.reasons:
            at = scored.columns.index(reason.feature)
            assert (reason.value, reason.z) == (scored.features[at], scored.z[at])
            outside = not reason.low <= reason.value <= reason.high
            assert outside


def test_a_level_that_the_bundle_lacks_says_nothing(saved: Path) -> None:
    found = score_items(profiles(2, 1), load_bundle(saved), "planet", rows_of_sketches, 1.0)
    assert [(s.score, s.p_value, s.columns, s.reasons) for s in found] == [(0.0, 1.0, (), ())] * 3


def test_an_empty_batch_is_scored_too(saved: Path) -> None:
    assert score_items([], load_bundle(saved), "profile", rows_of_sketches, 0.0) == []


def test_a_row_of_the_table_holds_the_features_that_are_known(saved: Path) -> None:
    (item,) = profiles(1, 0)
    (scored,) = score_items([item], load_bundle(saved), "profile", rows_of_sketches, 0.0)
    row = score_row(scored, item.sketch, "s-1", "profile", "account", "t0", "on_time", "r")
    known = np.isfinite(scored.features)
    assert [f["name"] for f in row["features"]] == [
        c.name for c, k in zip(COLUMNS, known, strict=True) if k
    ]
    assert 0 < known.sum() < len(COLUMNS)
    assert (row["revision"], row["request_count"]) == (item.sketch.events,) * 2
    assert (row["session_start"], row["session_end"]) == (item.sketch.first_ms, item.sketch.last_ms)
    assert row["p_value"] == scored.p_value
