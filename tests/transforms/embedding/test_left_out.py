"""What a space was fitted to is measured as what comes later will be."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.embedding.left_out import LeftOut, leave_out
from transforms.embedding.space import NO_CELL, UNIT, EmbeddingSpace, fit_space

DIM = 32


def topics_like(n: int, seed: int) -> np.ndarray:
    """Vectors of people who come back to the same forty topics."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((40, DIM))
    drawn = centres[rng.integers(0, 40, n)] + 0.6 * rng.standard_normal((n, DIM))
    return drawn.astype(np.float32)


def nearness_of(space: EmbeddingSpace, vectors: np.ndarray) -> np.ndarray:
    return space.nearest(space.coordinates(vectors))[1]


def hashes(n: int) -> np.ndarray:
    return np.random.default_rng(2).permutation(10 * n)[:n].astype(np.uint64)


@pytest.mark.parametrize("size", [1_000, 8_000])
def test_the_sample_is_as_near_as_what_comes_later(size: int) -> None:
    sample, later = topics_like(size, 3), topics_like(4_000, 4)
    space = fit_space(sample, "made-up", 256, 7)
    seen, coming = nearness_of(space, sample), nearness_of(space, later)
    names = hashes(size)
    corrected = leave_out(space, names, sample).correct(names, seen)
    gap = seen.mean() - coming.mean()
    assert gap > 3 * coming.std() / 4_000**0.5  # what is to be mended
    assert abs(corrected.mean() - coming.mean()) < gap / 2


def test_a_cell_of_two_keeps_the_other_one() -> None:
    first, second = np.zeros(64), np.zeros(64)
    first[0] = second[1] = 1.0
    third = -np.ones(64) / 8
    vectors = np.stack([first, second, third]).astype(np.float32)
    middle = np.rint((first + second) / 2**0.5 * UNIT)
    book = np.stack([middle, np.rint(third * UNIT)]).astype(np.int8)
    axes = np.eye(64, dtype=np.float32) * 1_000
    space = EmbeddingSpace("made-up", 64, axes, np.zeros(64), book)
    names = np.array([30, 10, 20], np.uint64)
    plain = nearness_of(space, vectors)
    assert plain.tolist() == pytest.approx([707, 707, 1000], abs=1)
    found = leave_out(space, names, vectors).correct(names, plain)
    # Of the first two each has the other one left, at a right angle; the third had a cell alone,
    # and the other centre lies behind it.
    behind = third @ (first + second) / 2**0.5
    assert found.tolist() == pytest.approx([0, 0, 1000 * behind], abs=12)


def test_what_was_asked_twice_is_there_without_either() -> None:
    sample = topics_like(500, 5)
    twice = np.concatenate([sample, sample[:50]])
    names = hashes(550)
    space = fit_space(twice, "made-up", 64, 7)
    plain = nearness_of(space, twice)
    found = leave_out(space, names, twice).correct(names, plain)
    repeated = np.r_[:50, 500:550]
    assert (found[repeated] == plain[repeated]).all()
    assert (found[50:500] < plain[50:500]).mean() > 0.9


def test_other_events_stay_as_they_are_and_order_does_not_matter() -> None:
    sample, names = topics_like(600, 6), hashes(600)
    space = fit_space(sample, "made-up", 64, 7)
    plain = nearness_of(space, sample)
    some = leave_out(space, names, sample)
    order = np.random.default_rng(8).permutation(600)
    other = leave_out(space, names[order], sample[order])
    assert (some.events == other.events).all()
    assert (some.nearness == other.nearness).all()
    assert (some.correct(names[order], plain[order]) == some.correct(names, plain)[order]).all()
    assert (some.correct(names + np.uint64(10_000), plain) == plain).all()
    assert len(LeftOut().correct(names, plain)) == 600
    assert len(some.correct(names[:0], plain[:0])) == 0


def test_nothing_is_left_out_of_a_sample_without_vectors() -> None:
    space = fit_space(topics_like(200, 9), "made-up", 16, 7)
    nothing = np.zeros((3, DIM), np.float32)
    found = leave_out(space, hashes(3), nothing)
    assert len(found.events) == 0
    assert (space.nearest(space.coordinates(nothing))[0] == NO_CELL).all()
