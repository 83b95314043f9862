"""The algebra of the sketch: one value, however the events were split, ordered and merged."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from tests.support.events import random_events
from transforms.coverage import layout
from transforms.coverage.combine import MergeSketches, SketchCoder
from transforms.coverage.fold import fold
from transforms.coverage.layout import Items, Sum
from transforms.coverage.sketch import CoverageSketch, decode, empty, encode, merge, moments_of
from transforms.embedding.space import AXES, FOURIER, fourier_features
from transforms.ingest.batch import Events

SLICE_MS = 300_000


def sketch_of(events: Events) -> CoverageSketch:
    return merge([partial.sketch for partial in fold(events, SLICE_MS)])


def by_account(events: Events) -> dict[str, bytes]:
    parts: dict[str, list[CoverageSketch]] = {}
    for partial in fold(events, SLICE_MS):
        parts.setdefault(partial.account, []).append(partial.sketch)
    return {account: encode(merge(sketches)) for account, sketches in parts.items()}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(0, 10_000), st.integers(1, 6), st.data())
def test_any_split_in_any_order_gives_the_same_bytes(
    n: int, seed: int, pieces: int, data: st.DataObject
) -> None:
    events = random_events(n, seed, accounts=3)
    whole = by_account(events)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(n)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), min_size=pieces, max_size=pieces)))
    parts: dict[str, list[CoverageSketch]] = {}
    for chunk in np.split(order, cuts):
        for partial in fold(events.take(chunk), SLICE_MS):
            parts.setdefault(partial.account, []).append(partial.sketch)
    assert {a: encode(merge(s)) for a, s in parts.items()} == whole
    nested = {a: encode(merge([merge(s[:2]), *s[2:]])) for a, s in parts.items()}
    assert nested == whole


def test_merge_does_not_change_its_arguments() -> None:
    parts = [sketch_of(random_events(80, seed)) for seed in (1, 2)]
    before = [encode(part) for part in parts]
    merge(parts)
    assert [encode(part) for part in parts] == before


def test_empty_is_neutral_and_merging_nothing_is_empty() -> None:
    sketch = sketch_of(random_events(50))
    assert encode(merge([empty(), sketch, empty()])) == encode(sketch)
    assert encode(merge([])) == encode(empty())
    assert empty().events == 0


def test_a_pickled_sketch_stays_encoded_until_somebody_looks_at_it() -> None:
    sketch = sketch_of(random_events(40))
    carried = pickle.loads(pickle.dumps(sketch))
    again = pickle.dumps(carried)
    with pytest.raises(AttributeError):
        CoverageSketch.sums.__get__(carried)  # type: ignore[attr-defined]
    assert again == pickle.dumps(sketch)
    assert carried.events == 40
    with pytest.raises(AttributeError):
        CoverageSketch.sums.__get__(carried)  # type: ignore[attr-defined]
    assert carried.last_ms == sketch.last_ms
    np.testing.assert_array_equal(CoverageSketch.sums.__get__(carried), sketch.sums)  # type: ignore[attr-defined]
    assert encode(merge([carried, sketch])) == encode(merge([sketch, sketch]))
    newer = replace(carried, last_ms=sketch.last_ms + 1)
    assert decode(encode(newer)).last_ms == sketch.last_ms + 1
    assert not hasattr(carried, "lats_ms")


def test_a_pickled_sketch_of_another_layout_is_refused_at_once() -> None:
    function, (data,) = sketch_of(random_events(40)).__reduce__()
    with pytest.raises(DistilwatchError, match="layout 200"):
        function(bytes([200]) + data[1:])  # type: ignore[operator]


@pytest.mark.parametrize("n", [1, 20, layout.MAX_ROWS, layout.MAX_ROWS + 1, 400])
def test_encoding_pickle_and_coder_round_trip(n: int) -> None:
    sketch = sketch_of(random_events(n, accounts=1))
    data = encode(sketch)
    assert encode(decode(data)) == data
    assert encode(pickle.loads(pickle.dumps(sketch))) == data
    assert pickle.loads(pickle.dumps(sketch)).events == n
    coder = SketchCoder()
    assert coder.encode(coder.decode(coder.encode(sketch))) == data


def test_sums_and_bounds_are_those_of_the_events() -> None:
    events = random_events(500, seed=3)
    sketch = sketch_of(events)
    assert sketch.events == 500
    assert sketch.vectors == int((events.cells != 65535).sum())
    assert sketch.sums[Sum.OUTPUT_TOKENS] == events.output_tokens.sum()
    assert sketch.sums[Sum.BLOCKED] == (events.status == 429).sum()
    assert (sketch.first_ms, sketch.last_ms) == (events.time_ms.min(), events.time_ms.max())
    cells, counts = np.unique(events.cells[events.cells != 65535], return_counts=True)
    assert np.array_equal(sketch.cell_counts(), counts)
    assert len(cells) == len(counts)


def test_moments_do_not_depend_on_when_rows_were_given_up() -> None:
    events = random_events(layout.MAX_ROWS + 40, seed=5, accounts=1, payments=1)
    singles = [sketch_of(events.take(np.array([i]))) for i in range(len(events))]
    rows = events.coordinates[events.cells != 65535].astype(np.int64)
    moment, total, _ = merge(singles).dense_moments()
    assert np.array_equal(total, rows.sum(axis=0))
    assert np.array_equal(moment, (rows.T @ rows)[layout.UPPER])


def test_sampled_items_have_complete_counts() -> None:
    events = random_events(3_000, seed=8, accounts=1)
    hashes, counts = sketch_of(events).items(Items.NETWORK)
    exact = {
        int(h) >> 8: int(c)
        for h, c in zip(*np.unique(events.network, return_counts=True), strict=True)
        if h
    }
    assert len(hashes) == layout.CAPACITY[Items.NETWORK] < len(exact)
    assert sorted(exact)[: len(hashes)] == [int(h) for h in hashes]
    assert [exact[int(h)] for h in hashes] == list(counts)


def test_distinct_is_exact_when_small_and_close_when_large() -> None:
    events = random_events(4_000, seed=9, accounts=1)
    sketch = sketch_of(events)
    assert sketch.distinct(Items.ORGANIZATION) == 2
    exact = len(np.unique(events.prompt)) - 1
    assert abs(sketch.distinct(Items.PROMPT) / exact - 1) < 0.4  # k = 64: standard error 12.6 %


def test_state_stays_below_32_kib_for_a_million_events() -> None:
    part = sketch_of(random_events(50_000, seed=1, accounts=1, payments=1, span_ms=86_400_000))
    parts = [part] * 20
    merged = merge(parts)
    assert merged.events == 1_000_000
    assert len(encode(merged)) <= 32 * 1024


def test_state_stops_growing_with_the_length_of_a_session() -> None:
    sizes = [
        len(encode(sketch_of(random_events(n, seed=2, accounts=1, payments=1))))
        for n in (5_000, 50_000)
    ]
    assert sizes[1] < 1.25 * sizes[0]


def test_another_layout_is_refused_with_a_way_out() -> None:
    data = bytearray(encode(sketch_of(random_events(5))))
    data[0] += 1
    with pytest.raises(DistilwatchError, match="drain the old job"):
        decode(bytes(data))


def test_combine_fn_agrees_with_merge_however_it_is_driven() -> None:
    sketches = [sketch_of(random_events(30, seed)) for seed in range(40)]
    expected = encode(merge(sketches))
    combine = MergeSketches()
    sequential = combine.create_accumulator()
    for sketch in sketches:
        sequential = combine.add_input(sequential, sketch)
    assert encode(combine.extract_output(sequential)) == expected
    halves = []
    for part in (sketches[:13], sketches[13:]):
        accumulator = combine.create_accumulator()
        for sketch in part:
            accumulator = combine.add_input(accumulator, sketch)
        halves.append(combine.compact(accumulator))
    coder = combine.get_accumulator_coder()
    shipped = [coder.decode(coder.encode(half)) for half in halves]
    merged = combine.merge_accumulators([*shipped, combine.create_accumulator()])
    assert encode(combine.extract_output(merged)) == expected
    assert encode(combine.extract_output(combine.create_accumulator())) == encode(empty())


@pytest.mark.parametrize("n", [0, 1, 64, 65, 1_024, 1_025, 2_100])
def test_moments_of_the_largest_rows_are_exact_in_any_number(n: int) -> None:
    rows = np.random.default_rng(n).choice(np.array([-128, 127], np.int8), (n, AXES))
    rows[n // 2 :] = -128  # nothing cancels out
    wide = rows.astype(np.int64)
    moment, total, fourier = moments_of(rows)
    np.testing.assert_array_equal(moment, (wide.T @ wide)[layout.UPPER])
    np.testing.assert_array_equal(total, wide.sum(axis=0))
    np.testing.assert_array_equal(fourier, fourier_features(rows).sum(axis=0, dtype=np.int64))
    one_by_one = [fourier_features(rows[i : i + 1]) for i in range(n)]
    np.testing.assert_array_equal(fourier_features(rows), np.concatenate(
        [np.empty((0, FOURIER), np.int16), *one_by_one]))  # fmt: skip
