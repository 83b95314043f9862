"""The sample that the embedding space is fitted to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.embedding.sample import SmallestHashes

SIZE, DIM = 12, 3
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def batch(hashes: list[int]) -> Batch:
    """Events whose vectors and labels follow from their hashes."""
    values = np.array(hashes, np.uint64)
    rows = np.repeat(values[:, None], DIM, axis=1).astype(np.float32)
    return values, rows, (values % 16).astype(np.int8)


def smallest(batches: list[list[int]]) -> list[int]:
    return sorted({h for hashes in batches for h in hashes})[:SIZE]


def rows(sample: Batch) -> list[int]:
    hashes, vectors, labels = sample
    assert vectors.shape[1] == DIM
    assert vectors[:, 0].tolist() == hashes.tolist()
    assert labels.tolist() == (hashes % 16).tolist()
    return [int(row[0]) for row in vectors]


BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=15), max_size=8)


@given(BATCHES, BATCHES)
def test_it_is_the_smallest_hashes_however_the_events_are_split(
    one: list[list[int]], other: list[list[int]]
) -> None:
    combine = SmallestHashes(SIZE, DIM)
    accumulators = []
    for batches in (one, other):
        accumulator = combine.create_accumulator()
        for hashes in batches:
            accumulator = combine.add_input(accumulator, batch(hashes))
        accumulators.append(accumulator)
    merged = combine.merge_accumulators(accumulators)
    assert rows(combine.extract_output(merged)) == smallest([*one, *other])


@pytest.mark.parametrize("order", [1, -1])
def test_a_full_sample_still_takes_what_is_smaller(order: int) -> None:
    combine = SmallestHashes(SIZE, DIM)
    accumulator = combine.create_accumulator()
    for low in range(0, 100, 10)[::order]:
        accumulator = combine.add_input(accumulator, batch(list(range(low, low + 10))))
    assert rows(combine.extract_output(accumulator)) == list(range(SIZE))
