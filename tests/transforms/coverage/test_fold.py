"""Folding a batch: partials per account, payment and slice, whatever the batches were."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS, random_events
from tests.support.sketches import events_of
from transforms.coverage import layout
from transforms.coverage.fold import Partial, fold, fold_stretches
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.embedding.space import AXES, NO_CELL
from transforms.ingest.batch import Events

MINUTE = layout.MINUTE_MS
Key = tuple[str, str, int]


def key_of(partial: Partial, slice_ms: int) -> Key:
    return partial.account, partial.payment, partial.sketch.first_ms // slice_ms


def merged(partials: list[Partial], slice_ms: int) -> dict[Key, bytes]:
    parts: dict[Key, list[CoverageSketch]] = defaultdict(list)
    for partial in partials:
        parts[key_of(partial, slice_ms)].append(partial.sketch)
    return {key: encode(merge(sketches)) for key, sketches in parts.items()}


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(0, 10_000),
    st.sampled_from([MINUTE, 5 * MINUTE, 30 * MINUTE]),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_partials_of_any_split_merge_to_the_fold_of_all(
    n: int, seed: int, slice_ms: int, cuts: list[int]
) -> None:
    events = random_events(n, seed)
    whole = merged(list(fold(events, slice_ms)), slice_ms)
    order = np.random.default_rng(seed).permutation(n)
    pieces = [events.take(chunk) for chunk in np.split(order, sorted(cuts)) if len(chunk)]
    parts = [partial for piece in pieces for partial in fold(piece, slice_ms)]
    assert merged(parts, slice_ms) == whole
    joined = Events.concat(pieces)
    assert merged(list(fold(joined, slice_ms)), slice_ms) == whole


@pytest.mark.parametrize("blocks_ms", [30 * MINUTE, 360 * MINUTE])
def test_a_slice_never_spans_two_blocks_of_a_multiple_of_its_length(blocks_ms: int) -> None:
    events = random_events(800, seed=1, span_ms=layout.DAY_MS)
    for partial in fold(events, 5 * MINUTE):
        sketch = partial.sketch
        assert sketch.first_ms // blocks_ms == sketch.last_ms // blocks_ms
        assert sketch.last_ms - sketch.first_ms < 5 * MINUTE


def test_events_at_a_slice_boundary_fall_on_its_two_sides() -> None:
    edge = (START_MS // (5 * MINUTE) + 1) * 5 * MINUTE
    times = np.array([edge - 1, edge, edge + 5 * MINUTE - 1, edge + 5 * MINUTE])
    events = events_of("a", times, np.zeros((4, AXES), np.int8))
    found = sorted((p.sketch.first_ms, p.sketch.events) for p in fold(events, 5 * MINUTE))
    assert found == [(edge - 1, 1), (edge, 2), (edge + 5 * MINUTE, 1)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(0, 10_000), st.sampled_from([10, 30, 100]))
def test_a_stretch_is_all_of_a_pair_between_two_pauses(n: int, seed: int, gap: int) -> None:
    events = random_events(n, seed, accounts=2, payments=2, span_ms=layout.DAY_MS)
    block_ms = 360 * MINUTE
    expected = []
    pairs = sorted(set(zip(events.account, events.payment, strict=True)))
    for account, payment in pairs:
        own = events.take(np.flatnonzero((events.account == account) & (events.payment == payment)))
        times = sorted(own.time_ms.tolist())
        piece: list[int] = []
        for time, after in zip(times, [*times[1:], None], strict=True):
            piece.append(time)
            ends = after is None or after - time >= gap * MINUTE
            if ends or after // block_ms != time // block_ms:
                expected.append((account, payment, piece[0], piece[-1], len(piece)))
                piece = []
    found = [
        (p.account, p.payment, p.sketch.first_ms, p.sketch.last_ms, p.sketch.events)
        for p in fold_stretches(events, gap * MINUTE, block_ms).partials()
    ]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(("pause_ms", "stretches"), [(30 * MINUTE - 1, 1), (30 * MINUTE, 2)])
def test_a_pause_of_the_gap_ends_a_stretch(pause_ms: int, stretches: int) -> None:
    events = events_of("a", START_MS + np.array([0, pause_ms]), np.zeros((2, AXES), np.int8))
    assert len(list(fold_stretches(events, 30 * MINUTE, layout.DAY_MS).partials())) == stretches


def test_there_is_one_partial_for_each_account_payment_and_slice() -> None:
    events = random_events(400, seed=2)
    keys = Counter(zip(events.account, events.payment, events.time_ms // (5 * MINUTE), strict=True))
    found = {key_of(p, 5 * MINUTE): p.sketch.events for p in fold(events, 5 * MINUTE)}
    assert found == dict(keys)


def test_an_empty_batch_gives_nothing() -> None:
    assert list(fold(random_events(3).take(np.array([], np.intp)), MINUTE)) == []


@pytest.mark.parametrize("rows", [layout.MAX_ROWS, layout.MAX_ROWS + 1])
def test_coordinates_are_kept_one_by_one_only_up_to_the_limit(rows: int) -> None:
    coordinates = np.random.default_rng(3).integers(-60, 60, (rows, AXES)).astype(np.int8)
    (partial,) = fold(events_of("a", np.full(rows, START_MS), coordinates), MINUTE)
    dense = rows > layout.MAX_ROWS
    assert (len(partial.sketch.rows), len(partial.sketch.moment)) == (
        (0, layout.MOMENT) if dense else (rows, 0)
    )


def test_sums_are_those_of_each_group_s_events() -> None:
    events = random_events(300, seed=4)
    for partial in fold(events, 10 * MINUTE):
        rows = np.flatnonzero(
            (events.account == partial.account)
            & (events.payment == partial.payment)
            & (events.time_ms // (10 * MINUTE) == partial.sketch.first_ms // (10 * MINUTE))
        )
        own = events.take(rows)
        limit, blocked = own.max_output_tokens, np.isin(own.status, [403, 429])
        expected = {
            Sum.EVENTS: len(rows),
            Sum.VECTORS: (own.cells != NO_CELL).sum(),
            Sum.INPUT_TOKENS: own.input_tokens.sum(),
            Sum.REASONING_TOKENS: own.reasoning_tokens.sum(),
            Sum.SATURATED: ((limit > 0) & (own.output_tokens >= limit)).sum(),
            Sum.COST_MICROUSD: own.cost_microusd.sum(),
            Sum.BLOCKED: blocked.sum(),
            Sum.TOOL_REQUESTS: (own.tools > 0).sum(),
            Sum.CONTINUED: ((own.turn > 0) & (own.conversation > 0)).sum(),
            Sum.WITH_CONVERSATION: (own.conversation > 0).sum(),
        }
        assert {slot: partial.sketch.sums[slot] for slot in expected} == expected
        opened = own.account_created_ms[own.account_created_ms > 0]
        assert partial.sketch.created_ms == min(opened.tolist(), default=layout.NEVER_MS)


def test_hours_of_the_week_start_on_monday_at_midnight_utc() -> None:
    monday = 1_780_272_000_000  # 2026-06-01T00:00:00Z
    times = monday + np.array([0, 25, 167]) * layout.HOUR_MS
    events = events_of("a", times, np.zeros((3, AXES), np.int8))
    week = merge([p.sketch for p in fold(events, MINUTE)]).histogram(
        Bins.HOUR_OF_WEEK, Bins.PREFIX_SCAFFOLD
    )
    assert np.flatnonzero(week).tolist() == [0, 25, 167]


@pytest.mark.parametrize(("tokens", "octave"), [(1, 0), (2, 1), (3, 1), (1024, 10), (2**40, 23)])
def test_token_counts_fall_in_octaves(tokens: int, octave: int) -> None:
    events = events_of("a", np.array([START_MS]), np.zeros((1, AXES), np.int8), input_tokens=tokens)
    (partial,) = fold(events, MINUTE)
    sizes = partial.sketch.histogram(Bins.INPUT_SIZE, Bins.TRAIL)
    assert np.flatnonzero(sizes).tolist() == [octave]


def test_what_an_event_does_not_say_leaves_no_trace() -> None:
    events = events_of("a", np.array([START_MS]), np.zeros((1, AXES), np.int8))
    (partial,) = fold(events, MINUTE)
    filled = {kind for kind in Items if len(partial.sketch.items(kind)[0])}
    assert filled == {Items.MINUTE, Items.HOUR}
    assert partial.sketch.vectors == 0
    assert len(partial.sketch.cell_counts()) == 0
    assert partial.sketch.created_ms == layout.NEVER_MS


def test_items_are_sorted_and_the_smallest_of_each_set() -> None:
    events = random_events(2_000, seed=5, accounts=1, payments=0, span_ms=MINUTE)
    (partial,) = fold(events, 60 * MINUTE)
    assert all(a < b for a, b in pairwise(partial.sketch.item_key.tolist()))
    hashes, counts = partial.sketch.items(Items.PROMPT)
    exact = Counter(int(p) >> 8 for p in events.prompt if p)
    assert hashes.tolist() == sorted(exact)[: layout.CAPACITY[Items.PROMPT]]
    assert counts.tolist() == [exact[int(h)] for h in hashes]


def test_conversations_and_ten_minute_slots_of_two_accounts_stay_apart() -> None:
    rng = np.random.default_rng(6)
    coordinates = rng.integers(-60, 60, (4, AXES)).astype(np.int8)
    parts = [
        merge([p.sketch for p in fold(events_of(name, np.full(4, START_MS), coordinates), MINUTE)])
        for name in ("a", "b")
    ]
    both = merge(parts)
    assert both.group_count.tolist() == [4, 4]
    assert np.array_equal(both.group_sum, np.tile(coordinates.astype(np.int64).sum(axis=0), (2, 1)))
