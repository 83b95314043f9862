"""What is normal depends on volume and peer group, and a z-score no longer does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from transforms.scoring.conditioning import EVERYONE, MIN_GROUP, Conditioner, fit_conditioner

SIZES = {"alone": 1_500, "company": 900, "reseller": 300, "few": MIN_GROUP - 5}
OFFSET = {"alone": 0.0, "company": 1.5, "reseller": -1.0, "few": 4.0}
SCALE = {"alone": 1.0, "company": 1.3, "reseller": 0.8, "few": 1.0}


def history(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Breadth grows with volume, in each group from another level and with another spread."""
    rng = np.random.default_rng(seed)
    groups = [name for name, size in SIZES.items() for _ in range(size)]
    volume = rng.uniform(np.log(10), np.log(1_000), len(groups))
    noise = rng.standard_normal(len(groups)) * [SCALE[g] for g in groups]
    breadth = 1.2 * volume + [OFFSET[g] for g in groups] + noise
    skewed = rng.exponential(1, len(groups))
    return np.stack([breadth, skewed], axis=1), volume[:, None], groups


@pytest.fixture(scope="module")
def fitted() -> Conditioner:
    return fit_conditioner(*history())


@pytest.mark.parametrize("group", ["alone", "company", "reseller"])
@pytest.mark.parametrize("third", [0, 1, 2])
def test_z_has_zero_median_and_unit_spread_in_every_group_and_volume_third(
    fitted: Conditioner, group: str, third: int
) -> None:
    features, volume, groups = history(seed=1)
    z = fitted.standardise(features, volume, groups)[:, 0]
    edges = np.quantile(volume, [third / 3, (third + 1) / 3])
    inside = (volume[:, 0] >= edges[0]) & (volume[:, 0] <= edges[1])
    own = z[inside & (np.array(groups) == group)]
    low, median, high = np.quantile(own, [0.1587, 0.5, 0.8413])
    assert abs(median) < 0.35
    assert 0.65 < (high - low) / 2 < 1.3


def test_without_conditioning_the_same_feature_would_depend_on_volume_and_group() -> None:
    features, volume, groups = history()
    assert np.corrcoef(features[:, 0], volume[:, 0])[0, 1] > 0.5
    z = fit_conditioner(features, volume, groups).standardise(features, volume, groups)[:, 0]
    assert abs(np.corrcoef(z, volume[:, 0])[0, 1]) < 0.1


def test_a_long_but_normal_tail_stays_within_few_deviations(fitted: Conditioner) -> None:
    features, volume, groups = history(seed=2)
    z = fitted.standardise(features, volume, groups)[:, 1]
    assert np.quantile(z, 0.99) < 4


def test_too_small_a_group_has_no_normal_of_its_own(fitted: Conditioner) -> None:
    assert fitted.groups[0] == EVERYONE
    assert "few" not in fitted.groups
    at = np.array([[4.0]])
    own, everyone = fitted.normal(at, ["few"]), fitted.normal(at, [EVERYONE])
    assert np.array_equal(own, everyone)


def test_an_unknown_group_counts_as_everyone(fitted: Conditioner) -> None:
    at = np.linspace(2, 7, 9)[:, None]
    assert np.array_equal(fitted.normal(at, ["new"] * 9), fitted.normal(at, [EVERYONE] * 9))


def borrowed_median(size: int) -> float:
    """Median of a group that lies ten above everyone's zero."""
    rng = np.random.default_rng(size)
    values = np.concatenate([rng.standard_normal(5_000), 10 + rng.standard_normal(size)])
    groups = ["many"] * 5_000 + ["own"] * size
    fitted = fit_conditioner(values[:, None], rng.uniform(0, 1, (len(groups), 1)), groups)
    return float(fitted.normal(np.array([[0.5]]), ["own"])[0][0, 0])


def test_a_small_group_is_drawn_towards_everyone_and_a_large_one_is_not() -> None:
    medians = [borrowed_median(size) for size in (30, 60, 240, 2_000)]
    assert medians == sorted(medians)
    assert abs(medians[0]) < 0.5  # below MIN_GROUP: everyone's
    assert 3 < medians[1] < 7  # as much weight as what it borrows
    assert medians[3] > 9.5


def test_two_covariates_are_both_taken_out() -> None:
    rng = np.random.default_rng(3)
    covariates = np.stack([rng.uniform(0, 7, 3_000), rng.uniform(0, 4, 3_000)], axis=1)
    features = (covariates @ [1.0, -2.0] + rng.standard_normal(3_000))[:, None]
    fitted = fit_conditioner(features, covariates, [""] * 3_000)
    z = fitted.standardise(features, covariates, [""] * 3_000)[:, 0]
    for column in covariates.T:
        raw = abs(np.corrcoef(features[:, 0], column)[0, 1])
        assert abs(np.corrcoef(z, column)[0, 1]) < 0.5 * raw  # what is left is at the edges
    assert 0.5 < np.std(z) < 1.3


def test_between_two_nodes_the_normal_is_interpolated() -> None:
    axes = (np.array([0.0, 1.0]),)
    nodes = np.array([[[0.0], [10.0]]]), np.array([[[1.0], [3.0]]])
    conditioner = Conditioner((EVERYONE,), axes, *nodes)
    median, spread = conditioner.normal(np.array([[0.25], [-5.0], [7.0]]), [""] * 3)
    assert median[:, 0] == pytest.approx([2.5, 0, 10])
    assert spread[:, 0] == pytest.approx([1.5, 1, 3])


def test_a_feature_that_was_never_known_says_nothing() -> None:
    features, volume, groups = history()
    features = np.column_stack([features, np.full(len(features), np.nan)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit_conditioner(features, volume, groups)
        z = fitted.standardise(np.full((2, 3), 1e6), volume[:2], groups[:2])
    assert z[:, 2] == pytest.approx([0, 0])


def test_an_unknown_value_is_normal_and_an_absurd_one_is_clipped(fitted: Conditioner) -> None:
    rows = np.array([[np.nan, 1e12], [-1e12, np.nan]])
    z = fitted.standardise(rows, np.array([[4.0], [4.0]]), ["alone", "alone"])
    assert z.tolist() == [[0, 8], [-8, 0]]


def test_a_constant_feature_never_divides_by_zero() -> None:
    features = np.zeros((100, 1))
    fitted = fit_conditioner(features, np.linspace(0, 1, 100)[:, None], [""] * 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z = fitted.standardise(np.array([[0.0], [1.0]]), np.array([[0.5], [0.5]]), ["", ""])
    assert z.tolist() == [[0], [8]]


def test_the_order_of_the_history_does_not_matter_even_where_volumes_tie() -> None:
    features, volume, groups = history()
    volume = np.log(np.rint(np.exp(volume) / 50) + 1)
    order = np.random.default_rng(4).permutation(len(groups))
    one = fit_conditioner(features, volume, groups)
    other = fit_conditioner(features[order], volume[order], [groups[i] for i in order])
    assert np.array_equal(one.median, other.median)
    assert one.spread == pytest.approx(other.spread, rel=1e-12)


def test_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="no keys"):
        fit_conditioner(np.empty((0, 2)), np.empty((0, 1)), [])


def test_a_history_of_one_volume_still_has_a_grid() -> None:
    fitted = fit_conditioner(np.arange(50.0)[:, None], np.full((50, 1), 3.0), [""] * 50)
    median, _ = fitted.normal(np.array([[3.0], [9.0]]), ["", ""])
    assert median[:, 0] == pytest.approx([24.5, 24.5])
