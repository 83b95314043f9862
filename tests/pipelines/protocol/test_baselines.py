"""Baselines on data with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.protocol.baselines import distance, kernel


def rows(rng: np.random.Generator, n: int, d: int = 8, shift: float = 0.0) -> np.ndarray:
    return (rng.standard_normal((n, d)) + shift).astype(np.float32)


def mmd2(window: np.ndarray, reference: np.ndarray, median: float) -> float:
    def within(x: np.ndarray) -> np.ndarray:
        return kernel.within(np.ones((1, len(x)), np.float32), kernel.kernel(x, x, median))

    cross = kernel.mean_kernel(window, reference, median).mean()
    return float(kernel.mmd2(within(window), float(within(reference)[0]), np.array([cross]))[0])


def test_mmd_is_unbiased_under_the_null_and_positive_for_a_shift() -> None:
    rng = np.random.default_rng(1)
    median = kernel.median_distance(rows(rng, 500))
    null = np.array([mmd2(rows(rng, 60), rows(rng, 80), median) for _ in range(200)])
    assert abs(null.mean()) < 3 * null.std() / len(null) ** 0.5
    assert (null < 0).any()
    assert mmd2(rows(rng, 60, shift=1.0), rows(rng, 80), median) > null.max()


def test_mmd_of_points_is_the_formula() -> None:
    x, y = np.array([[0.0], [1.0]], np.float32), np.array([[0.0], [2.0]], np.float32)

    def k(a: float, b: float) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2) / (2 * s * s)) for s in kernel.BANDWIDTHS]))

    expected = k(0, 1) + k(0, 2) - 2 * np.mean([k(0, 0), k(0, 2), k(1, 0), k(1, 2)])
    assert mmd2(x, y, 1.0) == pytest.approx(expected, abs=1e-6)


def test_sparse_and_dense_windows_agree() -> None:
    rng = np.random.default_rng(2)
    matrix = rows(rng, 400, 30)
    weights = np.zeros((10, 400), np.float32)
    for row in weights:
        row[rng.permutation(400)[:9]] = 1.0
    np.testing.assert_allclose(
        kernel.times(weights, matrix), weights @ matrix, rtol=1e-4, atol=1e-4
    )


def test_mahalanobis_of_gaussians_is_chi_squared() -> None:
    rng = np.random.default_rng(3)
    found = distance.mahalanobis(rows(rng, 4_000), rows(rng, 4_000), ridge=0.0)
    assert found.mean() == pytest.approx(8, abs=0.3)
    assert found.var() == pytest.approx(16, abs=2.5)


def test_prada_tells_a_spread_of_two_kinds_from_a_normal_one() -> None:
    rng = np.random.default_rng(4)
    wide = rows(rng, 300, 64)
    natural = distance.prada(wide)
    # Half of them repeat an earlier one almost: distances to the nearest fall in two heaps.
    copied = wide.copy()
    copied[150:] = copied[:150] + 0.01 * rows(rng, 150, 64)
    assert natural < 0.06 < distance.prada(copied)
    assert distance.prada(np.zeros((20, 4), np.float32)) == 1.0


def test_nearest_before_looks_back_only() -> None:
    points = np.array([[0.0], [3.0], [1.0]], np.float32)
    assert distance.nearest_before(points) == pytest.approx([3.0, 1.0])


def test_pairs_and_cells_are_counted() -> None:
    points = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    weights = np.array([[1, 1, 1, 1], [0, 1, 1, 1]], np.float32)
    assert distance.pair_count(weights, distance.alike(points, 0.9)) == pytest.approx([1 / 6, 0])
    cells = np.array([0, 0, 3, 65535])
    assert distance.cells_covered(weights, cells, 4) == pytest.approx([0.5, 0.5])
