"""Breadth, against brute force over the events and what it should tell apart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS
from tests.support.features import (
    BREADTH,
    SEEDS,
    VALUES,
    cell_counts,
    on_topics,
    one_account,
    unit_rows,
    value_of,
)
from tests.support.sketches import (
    TOPICS,
    events_of,
    sketch_of,
    to_int8,
    topic_coordinates,
)
from transforms.coverage import features as f
from transforms.coverage.layout import HOUR_MS
from transforms.embedding.space import (
    AXES,
    NO_CELL,
    UNIT,
    random_signs,
    to_coordinates,
    to_integers,
)


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_of_cells_give_hill_good_turing_and_chao(seed: int) -> None:
    events = one_account(150, seed)
    counts = cell_counts(events)
    n, sketch = sum(counts), sketch_of(events)
    once, twice = counts.count(1), counts.count(2)
    entropy = -sum(c / n * math.log(c / n) for c in counts)
    assert value_of(f.hill_number, sketch) == pytest.approx(entropy, rel=1e-12)
    assert value_of(f.unseen_share, sketch) == pytest.approx(once / n, rel=1e-12)
    chao = len(counts) + once * (once - 1) / (2 * (twice + 1))
    assert value_of(f.chao_richness, sketch) == pytest.approx(math.log(chao), rel=1e-12)


def test_heaps_slope_is_the_growth_from_half_of_the_events_to_all() -> None:
    events = one_account(200, seed=1)
    cells = events.cells[events.cells != NO_CELL]
    rng = np.random.default_rng(0)
    halves = [len(np.unique(cells[rng.random(len(cells)) < 0.5])) for _ in range(600)]
    expected = math.log(len(np.unique(cells)) / np.mean(halves)) / math.log(2)
    assert value_of(f.heaps_slope, sketch_of(events)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n", [6, 33, 120])
def test_effective_rank_is_the_corrected_mean_squared_cosine_of_pairs(n: int) -> None:
    events = on_topics(np.arange(n) % 5, seed=n)
    x = unit_rows(events)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    squares = [(x[i] @ x[j]) ** 2 for i, j in itertools.combinations(range(n), 2)]
    expected = -math.log((np.mean(squares) - 1 / AXES) / (1 + 1 / AXES))
    assert value_of(f.effective_rank, sketch_of(events)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("rank", [4, 12, 40])
@pytest.mark.parametrize("n", [200, 2_000])
def test_effective_rank_finds_the_rank_of_the_unprojected_vectors(rank: int, n: int) -> None:
    rng = np.random.default_rng([rank, n])
    directions = np.linalg.qr(rng.standard_normal((384, rank)))[0].T
    signs = rng.choice([-1.0, 1.0], (n, 1))
    vectors = (directions[rng.integers(0, rank, n)] * signs).astype(np.float32)
    coordinates = to_coordinates(to_integers(vectors) @ random_signs(384), np.zeros(AXES))
    sketch = sketch_of(events_of("a", START_MS + np.arange(n) * HOUR_MS, coordinates))
    assert math.exp(value_of(f.effective_rank, sketch)) == pytest.approx(rank, rel=0.25)


@pytest.mark.parametrize("n", [20, 40, 300])
def test_own_rank_is_the_effective_rank_of_the_unbiased_covariance(n: int) -> None:
    events = on_topics(np.random.default_rng(n).integers(0, 30, n), seed=n)
    x = unit_rows(events)
    covariance = np.cov(x, rowvar=False)
    trace = np.trace(covariance)
    left = (covariance**2).sum() - trace**2 / (n - 1)
    expected = -math.log((left / trace**2 - 1 / AXES) / (1 + 1 / AXES))
    assert value_of(f.own_rank, sketch_of(events)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("n", [28, 400])
def test_own_rank_sees_through_a_fixed_prompt_and_effective_rank_does_not(n: int) -> None:
    rng = np.random.default_rng(n)
    questions = topic_coordinates(rng.integers(0, 60, n), rng) / UNIT
    fixed = topic_coordinates(np.array([70]), rng, spread=0.0) / UNIT
    mixed = 0.85 * fixed + 0.5 * questions
    wrapped = to_int8(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
    time = START_MS + np.arange(n) * HOUR_MS
    bare, hidden = (sketch_of(events_of("a", time, rows)) for rows in (to_int8(questions), wrapped))
    lost = value_of(f.effective_rank, bare) - value_of(f.effective_rank, hidden)
    kept = value_of(f.own_rank, bare) - value_of(f.own_rank, hidden)
    assert lost > 1.5
    assert abs(kept) < 0.5


def test_effective_rank_does_not_grow_with_the_number_of_events() -> None:
    def mean_rank(n: int) -> float:
        draws = np.random.default_rng(n).integers(0, 10, (30, n))
        return float(
            np.mean([value_of(f.effective_rank, sketch_of(on_topics(d, n))) for d in draws])
        )

    assert mean_rank(20) == pytest.approx(mean_rank(400), abs=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_log_volume_and_common_direction_are_those_of_the_vectors(seed: int) -> None:
    events = on_topics(np.random.default_rng(seed).integers(0, 9, 70), seed)
    x = unit_rows(events)
    n = len(x)
    eigenvalues = np.linalg.eigvalsh(x.T @ x / n)
    volume = np.log1p(AXES * eigenvalues).sum() / AXES
    assert value_of(f.log_volume, sketch_of(events)) == pytest.approx(volume, rel=1e-9)
    cosines = [x[i] @ x[j] for i, j in itertools.combinations(range(n), 2)]
    assert value_of(f.common_direction, sketch_of(events)) == pytest.approx(
        np.mean(cosines), abs=1e-3
    )


def test_log_volume_is_largest_when_every_direction_is_used_alike() -> None:
    axes = to_int8(np.eye(AXES) / 2)  # int8 holds half a unit on one axis
    time = START_MS + np.arange(AXES) * HOUR_MS
    even = value_of(f.log_volume, sketch_of(events_of("a", time, axes)))
    narrow = value_of(f.log_volume, sketch_of(events_of("a", time, axes[np.arange(AXES) % 8])))
    assert narrow < even <= math.log(2)


@pytest.mark.parametrize("name", BREADTH)
def test_a_sweep_is_broader_than_a_few_topics_at_the_same_volume(name: str) -> None:
    rng = np.random.default_rng(2)
    narrow = sketch_of(on_topics(rng.integers(0, 4, 80), 1))
    wide = sketch_of(on_topics(rng.permutation(TOPICS)[:80], 2))
    assert VALUES[name](wide) > VALUES[name](narrow)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 200), st.integers(0, 10_000))
def test_breadths_keep_their_bounds_and_order(n: int, seed: int) -> None:
    events = one_account(n, seed)
    counts, sketch = cell_counts(events), sketch_of(events)
    if sum(counts) < 4:
        return
    seen = math.log(len(counts))
    assert 0 <= value_of(f.hill_number, sketch) <= seen + 1e-12
    assert value_of(f.chao_richness, sketch) >= seen - 1e-12
    assert 0 <= value_of(f.unseen_share, sketch) <= 1
    assert 0 <= value_of(f.heaps_slope, sketch) <= 1
    assert 0 < value_of(f.log_volume, sketch) <= math.log(2) + 0.01
