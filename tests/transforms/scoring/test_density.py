"""Densities by matrix products are the densities that PyOD's model stands for."""

from __future__ import annotations

import numpy as np
import pytest
from pyod.models.kde import KDE
from pyod.models.knn import KNN
from scipy.special import logsumexp

from transforms.scoring.density import DirectDensity, faster


def _rows(seed: int, n: int, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 5)) * spread


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_densities_are_those_of_the_formula_near_and_far(bandwidth: float) -> None:
    keys, rows = _rows(0, 300), np.concatenate([_rows(1, 150), _rows(2, 50, 20.0)])
    model = faster(KDE(bandwidth=bandwidth).fit(keys))
    assert isinstance(model, DirectDensity)
    exponent = -((rows[:, None] - keys[None]) ** 2).sum(axis=2) / (2 * bandwidth**2)
    norm = np.log(len(keys)) + 5 * (np.log(bandwidth) + 0.5 * np.log(2 * np.pi))
    expected = norm - logsumexp(exponent, axis=1)
    np.testing.assert_allclose(model.decision_function(rows), expected, rtol=1e-7, atol=2e-7)


def test_among_the_training_keys_they_are_pyods() -> None:
    keys = _rows(3, 2_000)
    fitted = KDE(bandwidth=0.5).fit(keys)
    near = fitted.decision_function(_rows(4, 200))
    np.testing.assert_allclose(faster(fitted).decision_function(_rows(4, 200)), near, atol=1e-6)


@pytest.mark.parametrize("block", [500, 7_000])
def test_a_row_has_one_density_in_any_company(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a block holds fewer pairs than there are keys, or not all rows at once."""
    monkeypatch.setattr("transforms.scoring.density._BLOCK", block)
    model = faster(KDE(bandwidth=0.5).fit(_rows(5, 1_000)))
    rows = _rows(6, 20)
    alone = [model.decision_function(row[None])[0] for row in rows]
    np.testing.assert_allclose(model.decision_function(rows), alone, rtol=1e-9)


def test_what_is_no_gaussian_kernel_of_distances_stays_as_it_is() -> None:
    keys = _rows(7, 60)
    for model in (KNN().fit(keys), KDE(metric="manhattan").fit(keys),
                  KDE(metric="minkowski", metric_params={"p": 1}).fit(keys)):  # fmt: skip
        assert faster(model) is model
