"""Accounts in columns: their rows, their tests and who is taken out of them, against one by one."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

from pipelines.detect.build import profile_row
from pipelines.detect.controlled import hypotheses_of, plain_tests
from schemas.tables import TABLES
from tests.support.events import START_MS
from tests.support.sketches import harvester, person, sketch_of
from tests.transforms.clusters.test_together import facts
from transforms.alerts.control import window_tests
from transforms.clusters.elements import AccountProfile
from transforms.clusters.membership import Absorbed
from transforms.clusters.names import cluster_id
from transforms.clusters.single_rows import SingleRows, _RowsFn, single_rows
from transforms.clusters.singles import Singles
from transforms.coverage.layout import DAY_MS
from transforms.coverage.stack import SketchStack
from transforms.scoring.bundle import load_bundle
from transforms.scoring.fit import PROFILE
from transforms.scoring.handler import Scored, score_items, score_rows
from transforms.scoring.levels import rows_of_profiles
from transforms.scoring.rows import PeerGroups, account_rows
from transforms.sharing.watch.matching import Hit

MAX_P = 0.3
ABSORBED = {1: (Absorbed("c-old", 3),), 6: (Absorbed("c-a", 1), Absorbed("c-b", 2))}
HITS = {
    0: (Hit("i--1", "network", "ab", "lab", "live"),),
    5: (Hit("i--2", "payment", "cd", "lab", "held"),),
}
OFFSETS = {2: 7, 6: 1}
LINKED = 1 << 30  # shifted for a version, it is more than an int64 holds


@pytest.fixture(params=[True, False], ids=["a model", "no model"])
def both(
    saved: Path, request: pytest.FixtureRequest
) -> tuple[Singles, list[Scored[AccountProfile]]]:
    """The same accounts in columns and one by one; names need not be Unicode."""
    bundle = load_bundle(saved)
    if not request.param:
        bundle.models.pop(PROFILE)
    sketches = [sketch_of(person(f"p{i}", i, 3 + i)) for i in range(6)]
    sketches += [sketch_of(harvester(f"h{i}", i)) for i in range(3)]
    names = [["ключ", "\ud800half", "plain"][i % 3] + str(i) for i in range(len(sketches))]
    stack = SketchStack.of(sketches)
    groups = PeerGroups(bundle.references).of_all(stack)
    rows = account_rows(names, stack, groups, bundle.references, bundle.past)
    scored = score_rows(rows, bundle, PROFILE, MAX_P)
    alone_as = [cluster_id(name) for name in names]
    span = START_MS, START_MS + DAY_MS
    columns = Singles(*span, names, stack, scored, LINKED, alone_as, ABSORBED, HITS, OFFSETS)
    items = [
        AccountProfile(
            name,
            *span,
            sketch,
            "on_time",
            alone_as[i],
            ABSORBED.get(i, ()),
            HITS.get(i, ()),
            LINKED,
            OFFSETS.get(i, 0),
        )
        for i, (name, sketch) in enumerate(zip(names, sketches, strict=True))
    ]
    return columns, score_items(items, bundle, PROFILE, rows_of_profiles, MAX_P)


Both = tuple[Singles, list[Scored[AccountProfile]]]


def told(scored: list[Scored[AccountProfile]]) -> list[tuple[object, ...]]:
    return [facts(one) for one in scored]


def test_whoever_is_taken_out_is_as_one_by_one(both: Both) -> None:
    columns, each = both
    assert told(columns.each()) == told(each)
    assert told(columns.up_to(MAX_P)) == told([s for s in each if s.p_value <= MAX_P])
    assert told(columns.who_absorbed()) == told([s for s in each if s.item.absorbed])
    assert told(columns.who_hit()) == told([s for s in each if s.item.hits])
    assert columns.up_to(-1.0) == []


def test_rows_are_those_of_each(both: Both) -> None:
    columns, each = both
    table = single_rows(columns, "run")
    assert table.schema.equals(TABLES["session_scores"].arrow(), check_metadata=True)
    table.validate(full=True)
    rows = TABLES["session_scores"].to_arrow([profile_row(one, "run") for one in each])
    # repr, because a NaN does not equal itself
    assert repr(table.to_pylist()) == repr(rows.to_pylist())


@pytest.mark.parametrize("full", [1, 20, 1000])
def test_in_a_pipeline_every_account_has_its_row(
    both: Both, full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, _ = both
    monkeypatch.setattr(_RowsFn, "_FULL", full)
    expected = single_rows(columns, "run").to_pylist() * 3

    def check(tables: list[object]) -> None:
        found = [row for table in tables for row in table.to_pylist()]  # type: ignore[attr-defined]
        assert sorted(map(repr, found)) == sorted(map(repr, expected))

    with TestPipeline() as pipeline:
        made = pipeline | beam.Create([columns] * 3, reshuffle=False) | SingleRows("run")
        assert_that(made, check)


@pytest.mark.parametrize("cap", [0.0, MAX_P, 1.0])
def test_tests_are_those_of_each(both: Both, cap: float) -> None:
    columns, each = both
    one_by_one = sorted(
        (test for scored in each for test in hypotheses_of(scored, False)), key=lambda t: t.name
    )
    plain = plain_tests(columns, cap)
    assert plain.version == sum(test.version for test in one_by_one)
    assert len(plain.names) + len(plain.others) == len(each)
    assert np.all(plain.p_values <= cap)
    assert np.all(plain.others > cap)
    found, wanted = window_tests(1, [], cap, [plain]), window_tests(1, one_by_one, cap)
    assert (found.tests, found.names) == (wanted.tests, wanted.names)
    assert found.q_values.tolist() == wanted.q_values.tolist()
