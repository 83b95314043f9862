"""Sketches in columns: merged and encoded to the bit as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from tests.support.events import random_events
from tests.support.sketches import person, sketch_of
from transforms.coverage.fold import fold
from transforms.coverage.layout import DAY_MS
from transforms.coverage.merging import merge_groups, sort_coordinates
from transforms.coverage.sketch import CoverageSketch, empty, encode, merge, sort_rows
from transforms.coverage.stack import (
    SketchStack,
    decode_stack,
    encode_stack,
)

MINUTE = 60_000


def pieces(seed: int, events: int = 300, accounts: int = 4) -> list[CoverageSketch]:
    """Sketches of all sizes, an empty one and some with moments among them."""
    made = random_events(events, seed, accounts, span_ms=DAY_MS)
    small = [partial.sketch for partial in fold(made, 30 * MINUTE)]
    large = [sketch_of(person(f"p{i}", seed, 20 + 15 * i)) for i in range(3)]
    return [*small[:60], empty(), *large]


def encoded(stack: SketchStack) -> list[bytes]:
    return [encode(sketch) for sketch in stack.sketches()]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_groups_merge_to_the_bit_as_each_would_alone(seed: int, count: int) -> None:
    sketches = pieces(seed)
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.resize(np.arange(min(count, len(sketches))), len(sketches)))
    found = merge_groups(SketchStack.of(sketches), group, int(group.max()) + 1)
    for g, data in enumerate(encoded(found)):
        assert data == encode(merge([sketches[i] for i in np.flatnonzero(group == g)]))


def test_more_items_and_conversations_than_are_kept_are_dropped_as_in_a_single_merge() -> None:
    sketches = [sketch_of(random_events(400, i, accounts=1, span_ms=DAY_MS)) for i in range(6)]
    found = merge_groups(SketchStack.of(sketches), np.array([0, 1, 0, 1, 0, 1]), 2)
    assert encoded(found) == [encode(merge(sketches[0::2])), encode(merge(sketches[1::2]))]


@pytest.mark.parametrize("seed", range(4))
def test_a_stack_survives_its_bytes_and_gives_back_its_sketches(seed: int) -> None:
    sketches = pieces(seed)
    stack = SketchStack.of(sketches)
    data = encode_stack(stack)
    assert encoded(stack) == [encode(sketch) for sketch in sketches]
    assert encoded(decode_stack(data)) == encoded(stack)
    assert encode_stack(decode_stack(data)) == data


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=30), st.integers(0, 5))
def test_taken_sketches_are_the_same_ones(index: list[int], seed: int) -> None:
    sketches = pieces(seed)
    taken = SketchStack.of(sketches).take(np.array(index, np.int64) % len(sketches))
    assert encoded(taken) == [encode(sketches[i % len(sketches)]) for i in index]


def test_stacks_joined_are_the_stack_of_all() -> None:
    parts = [pieces(1)[:7], [empty()], pieces(2)[-3:], pieces(3)]
    joined = SketchStack.concat([SketchStack.of(part) for part in parts])
    assert encoded(joined) == [encode(sketch) for part in parts for sketch in part]


def test_empty_sketches_alone_merge_to_an_empty_one() -> None:
    found = merge_groups(SketchStack.of([empty(), empty()]), np.array([0, 0]), 1)
    assert encoded(found) == [encode(empty())]
    assert encoded(decode_stack(encode_stack(found))) == [encode(empty())]


def test_another_layout_is_refused() -> None:
    data = encode_stack(SketchStack.of([empty()]))
    with pytest.raises(DistilwatchError, match="layout 9"):
        decode_stack(b"\x09" + data[1:])


def test_more_groups_than_sixteen_bits_count_are_merged_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sketches = pieces(5)
    stack, group = SketchStack.of(sketches), np.arange(len(sketches)) % 7
    few = encode_stack(merge_groups(stack, group, 7))
    monkeypatch.setattr("transforms.coverage.merging._RADIX", 6)
    assert encode_stack(merge_groups(stack, group, 7)) == few


def test_rows_that_agree_in_their_last_eight_axes_are_sorted_by_the_others() -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(-127, 128, (200, 64), dtype=np.int8)
    rows[:, 56:] = rows[rng.integers(0, 5, 200), 56:]
    rows[100:] = rows[:100][rng.permutation(100)]
    owner = rng.integers(0, 4, 200)
    found = sort_coordinates(rows, owner, np.ones(4, np.int64)).rows
    alone = [sort_rows(rows[owner == i]) for i in range(4)]
    assert np.array_equal(found, np.concatenate(alone))
