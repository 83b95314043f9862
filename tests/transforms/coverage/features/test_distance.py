"""Distance from the peer group and from all that was asked before."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.events import START_MS
from tests.support.features import (
    on_topics,
    one_account,
    reference_of,
    unit_rows,
    value_of,
)
from tests.support.sketches import (
    TOPICS,
    events_of,
    sketch_of,
    to_int8,
)
from transforms.coverage import features as f
from transforms.coverage.layout import HOUR_MS
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.space import (
    AXES,
    NO_CELL,
)


def test_strangeness_is_the_mean_distance_from_the_nearest_cell() -> None:
    events = one_account(80, seed=2)
    near = events.nearness[events.cells != NO_CELL] / 1000
    assert value_of(f.novelty, sketch_of(events)) == pytest.approx(1 - near.mean(), rel=1e-9)


def test_what_nobody_asked_is_strange() -> None:
    rng = np.random.default_rng(4)
    time = START_MS + np.arange(50) * HOUR_MS
    nowhere = rng.standard_normal((50, AXES))
    nowhere /= np.linalg.norm(nowhere, axis=1, keepdims=True)
    usual = value_of(f.novelty, sketch_of(on_topics(np.arange(50))))
    assert value_of(f.novelty, sketch_of(events_of("a", time, to_int8(nowhere)))) > 2 * usual


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of four Gaussian kernels at 0.5, 1, 2 and 4 times √2."""
    square = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    return np.mean([np.exp(-square / (2 * (w * 2**0.5) ** 2)) for w in (0.5, 1, 2, 4)], axis=0)


def exact_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    def within(z: np.ndarray) -> float:
        k = kernel(z, z)
        return float((k.sum() - np.trace(k)) / (len(z) * (len(z) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def mmd2_of(sketch: CoverageSketch, reference: f.Reference) -> float:
    (value,) = f.mmd2(f.SketchBlock([sketch]), [reference])
    return float(value)


@pytest.mark.parametrize("topics", [2, 5, 20])
@pytest.mark.parametrize("n", [20, 150])
def test_mmd2_is_near_the_exact_kernel_value(topics: int, n: int) -> None:
    rng = np.random.default_rng([topics, n])
    own = on_topics(rng.integers(0, topics, n), seed=n)
    others = on_topics(rng.integers(0, TOPICS, 400), seed=n + 1)
    reference = reference_of(others)
    value = mmd2_of(sketch_of(own), reference)
    exact = exact_mmd2(unit_rows(own), unit_rows(others))
    # 128 waves: the kernel's error is at most 1/√128 and mostly cancels between the three terms.
    assert value == pytest.approx(exact, abs=0.01 + 0.25 * abs(exact))


def test_mmd2_has_mean_zero_for_draws_from_the_peer_group_itself() -> None:
    rng = np.random.default_rng(6)
    reference = reference_of(on_topics(rng.integers(0, 30, 4_000), 1))
    values = [
        mmd2_of(sketch_of(on_topics(rng.integers(0, 30, 40), i)), reference) for i in range(60)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 60**0.5
    assert min(values) < 0 < max(values)


def test_mmd2_without_a_reference_is_unknown_and_has_a_column_of_its_own() -> None:
    sketch = sketch_of(on_topics(np.arange(20)))
    reference = reference_of(on_topics(np.arange(TOPICS), 1))
    rows = f.feature_matrix([sketch, sketch], [None, reference])
    at = f.column_index()["mmd2"]
    assert np.isnan(rows[0, at])
    assert rows[1, at] == mmd2_of(sketch, reference)
