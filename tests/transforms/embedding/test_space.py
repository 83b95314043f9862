"""The learnt space: exact whatever the batch, topics told apart, strangers left room."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.embedding.space import (
    AXES,
    NO_CELL,
    EmbeddingSpace,
    fit_space,
    learn_projection,
    random_signs,
    to_coordinates,
    to_integers,
)

DIM = 96


def texts_like(n: int, seed: int, style: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """n vectors of 12 topics that all share a style, float32 (n, 96), and their topics."""
    directions = np.random.default_rng(0).standard_normal((13, DIM))
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, 12, n)
    strength = style * rng.standard_normal((n, 1))
    rows = directions[topics] + strength * directions[12] + rng.standard_normal((n, DIM))
    return rows.astype(np.float32), topics


def separation(coordinates: np.ndarray, topics: np.ndarray) -> float:
    """Difference of the mean cosines within and between topics, in spreads of the latter."""
    x = coordinates.astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = x @ x.T
    same = topics[:, None] == topics
    np.fill_diagonal(same, False)
    other = topics[:, None] != topics
    return float((cosine[same].mean() - cosine[other].mean()) / cosine[other].std())


@pytest.fixture(scope="module")
def space() -> EmbeddingSpace:
    return fit_space(texts_like(4_000, 1)[0], "made-up", 64, 7)


def test_an_event_gets_the_same_place_alone_and_in_any_batch(space: EmbeddingSpace) -> None:
    rows, _ = texts_like(500, 2)
    together = space.coordinates(rows)
    alone = np.concatenate([space.coordinates(rows[i : i + 1]) for i in range(500)])
    assert np.array_equal(together, alone)
    cells, nearness = space.nearest(together)
    one_by_one = [space.nearest(together[i : i + 1]) for i in range(500)]
    assert np.array_equal(cells, np.concatenate([c for c, _ in one_by_one]))
    assert np.array_equal(nearness, np.concatenate([n for _, n in one_by_one]))


def test_products_stay_exact_in_single_precision() -> None:
    rows, _ = texts_like(4_000, 3)
    axes = learn_projection(rows)
    integers = to_integers(rows)
    assert np.array_equal(axes, np.rint(axes))
    assert np.abs(integers).astype(np.float64).dot(np.abs(axes)).max() < 2**24
    exact = integers.astype(np.int64) @ axes.astype(np.int64)
    assert np.array_equal((integers @ axes).astype(np.int64), exact)


@pytest.mark.parametrize("length", [1e-44, 1e-25, 1e-16, 1e16, 1e25, 3e38])
def test_a_vectors_length_says_nothing_however_extreme(length: float) -> None:
    rows = texts_like(3, 4)[0]
    rows[1] = 0  # an event without a vector
    if length < 1e-40:  # of which float32 holds only whole multiples of 1.4e-45
        rows = np.sign(rows)
    scaled = rows.copy()
    scaled[[0, 2]] *= np.float32(length) / np.abs(rows[[0, 2]]).max(axis=1, keepdims=True)
    before = scaled.copy()
    assert np.abs(to_integers(scaled) - to_integers(rows)).max() <= 1  # rounded elsewhere
    assert np.array_equal(scaled, before)


def test_learnt_axes_tell_topics_apart_better_than_random_ones() -> None:
    rows, topics = texts_like(600, 4)
    learnt = learn_projection(texts_like(4_000, 5)[0])
    found = [
        separation(to_coordinates((p := to_integers(rows) @ axes), p.mean(axis=0)), topics)
        for axes in (learnt, random_signs(DIM))
    ]
    assert found[0] > 1.3 * found[1]


def test_what_the_history_never_had_still_has_a_place_of_its_own() -> None:
    axes = learn_projection(texts_like(4_000, 6)[0])
    strangers = np.random.default_rng(8).standard_normal((40, DIM)).astype(np.float32)
    projected = to_integers(strangers) @ axes
    x = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    cosine = np.abs(x @ x.T - np.eye(40))
    assert cosine.max() < 0.75


def test_a_small_history_or_a_short_vector_needs_no_learning() -> None:
    assert np.array_equal(learn_projection(texts_like(300, 7)[0]), random_signs(DIM))
    short = np.random.default_rng(1).standard_normal((4_000, AXES)).astype(np.float32)
    assert np.array_equal(learn_projection(short), random_signs(AXES))


def test_a_history_in_which_everybody_asks_a_few_things_needs_no_learning() -> None:
    few = texts_like(300, 7)[0][:5]
    assert np.array_equal(learn_projection(np.tile(few, (1_600, 1))), random_signs(DIM))


def test_zero_rows_have_no_cell(space: EmbeddingSpace) -> None:
    rows = np.zeros((3, DIM), np.float32)
    rows[1] = 1.0
    cells, nearness = space.nearest(space.coordinates(rows))
    assert (cells == NO_CELL).tolist() == [True, False, True]
    assert nearness[0] == nearness[2] == 0


def test_no_vector_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no vectors"):
        fit_space(np.zeros((5, DIM), np.float32), "made-up", 8, 7)


def test_what_a_few_accounts_asked_has_a_cell_too() -> None:
    """One fixed prompt with small changes, 1 % of the history, far from all else in it."""
    rows, _ = texts_like(6_000, 9)
    rng = np.random.default_rng(10)
    fixed = 3 * rng.standard_normal(DIM) + 0.3 * rng.standard_normal((60, DIM))
    history = np.concatenate([rows, fixed.astype(np.float32)])
    found = fit_space(history, "made-up", 256, 7)
    cells, nearness = found.nearest(found.coordinates(fixed.astype(np.float32)))
    assert np.median(nearness) > 700
    assert len(set(cells.tolist())) < 20
