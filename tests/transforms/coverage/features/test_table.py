"""All features: tiny inputs, order, neighbours, and the side that is suspicious."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS
from tests.support.features import (
    BREADTH,
    SEEDS,
    VALUES,
    on_topics,
    one_account,
    reference_of,
    unit_rows,
)
from tests.support.sketches import (
    events_of,
    harvester,
    person,
    sketch_of,
)
from transforms.coverage import features as f
from transforms.coverage.layout import DAY_MS, Items
from transforms.coverage.sketch import empty
from transforms.embedding.space import (
    AXES,
)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_tiny_inputs_are_finite_or_unknown_and_never_warn(n: int, seed: int) -> None:
    sketch = sketch_of(one_account(n, seed)) if n else empty()
    reference = reference_of(on_topics(np.arange(9)))
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        row = f.feature_matrix([sketch], [reference])[0]
    assert not np.isinf(row).any()
    if n < 2:
        assert {f.COLUMNS[i].name for i in np.flatnonzero(~np.isnan(row))} <= {
            "networks", "clients", "account_age", "days_to_peak", "output_ratio", "reasoning_share",
        }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), st.integers(0, 10_000), st.sampled_from([1, 60_000, 5 * DAY_MS]))
def test_no_input_makes_a_feature_infinite_or_warn(n: int, seed: int, span_ms: int) -> None:
    sketch = sketch_of(one_account(n, seed, span_ms)) if n else empty()
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert not np.isinf(f.feature_matrix([sketch], [None])).any()


def test_without_vectors_topics_are_unknown_and_the_rest_is_told() -> None:
    n = 30
    sketch = sketch_of(
        events_of("a", START_MS + np.arange(n) * DAY_MS, np.zeros((n, AXES), np.int8))
    )
    row = dict(zip(VALUES, f.feature_matrix([sketch], [None])[0], strict=False))
    assert all(math.isnan(row[name]) for name in (*BREADTH, "common_direction", "coherence"))
    assert row["idle_gap_hours"] == 23
    assert row["code_share"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_events_does_not_matter_to_the_bit(seed: int) -> None:
    events = one_account(90, seed)
    shuffled = events.take(np.random.default_rng(seed).permutation(90))
    rows = [f.feature_matrix([sketch_of(e)], [None]).tobytes() for e in (events, shuffled)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("count", [2, 7, 600])
def test_a_row_does_not_depend_on_the_other_keys_to_the_bit(count: int) -> None:
    rng = np.random.default_rng(count)
    sizes = np.exp(rng.uniform(0, 5, min(count, 60))).astype(int)
    few = [empty(), *(sketch_of(one_account(int(n), i)) for i, n in enumerate(sizes))]
    known = [None, *(reference_of(on_topics(np.arange(9), i)) for i in range(2))]
    sketches = [few[i % len(few)] for i in range(count)]
    references = [known[i % len(known)] for i in range(count)]
    together = f.feature_matrix(sketches, references)
    for i in range(0, count, max(1, count // 60)):
        alone = f.feature_matrix(sketches[i : i + 1], references[i : i + 1])
        assert alone.tobytes() == together[i : i + 1].tobytes()


def test_no_keys_have_no_rows_and_each_key_needs_its_reference() -> None:
    assert f.feature_matrix([], []).shape == (0, len(f.COLUMNS))
    with pytest.raises(ValueError, match="1 references for 2 sketches"):
        f.feature_matrix([empty(), empty()], [None])


@pytest.mark.parametrize("n", [3, 5, 31, 32, 33, 90])
def test_a_few_rows_and_moments_of_many_give_the_same_scatter(n: int) -> None:
    events = on_topics(np.arange(n) % 7, seed=n)
    x = unit_rows(events)
    s = x.T @ x
    scatter = f.SketchBlock([sketch_of(events)]).scatter
    assert scatter.square[0] == pytest.approx((s**2).sum(), rel=1e-9)
    expected = np.linalg.slogdet(np.eye(AXES) + s * AXES / n)[1]
    assert scatter.log_det[0] == pytest.approx(expected, rel=1e-9)


LOW_FOR_A_HARVEST = ("idle_gap_hours", "circadian_amplitude", "continued_share")


@pytest.mark.parametrize("name", [*BREADTH, "hour_entropy", "busy_hours", *LOW_FOR_A_HARVEST])
def test_a_harvest_lies_on_the_side_that_the_table_calls_suspicious(name: str) -> None:
    column = f.COLUMNS[f.column_index()[name]]
    benign = column.compute(f.SketchBlock([sketch_of(person(f"p{i}", 1, 60)) for i in range(25)]))
    attack = column.compute(
        f.SketchBlock([sketch_of(harvester(f"h{i}", 1, 60)) for i in range(25)])
    )
    assert column.suspicious.value * (np.nanmedian(attack) - np.nanmedian(benign)) > 0


def test_names_are_unique_and_every_feature_says_what_it_is() -> None:
    names = [column.name for column in f.COLUMNS]
    assert len(set(names)) == len(names)
    assert all(column.words for column in f.COLUMNS)
    assert {column.scale for column in f.COLUMNS} <= {"plain", "share", "exp", "count", "degree"}


def test_peer_items_name_the_group_of_most_requests() -> None:
    _, counts = sketch_of(person("a", 1, 30)).items(Items.PEER)
    assert list(counts) == [30]
