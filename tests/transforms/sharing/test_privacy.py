"""What the noise promises, measured; and that no account can add more than its share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from schemas.errors import DistilwatchError
from tests.support.sketches import sketch_of_cells
from transforms.sharing.coverage import UNIT, contribution, contributions, noisy_coverage
from transforms.sharing.privacy import add_noise, epsilon_of, rho_of, sigma_for

CELLS = st.lists(st.tuples(st.integers(0, 1023), st.integers(1, 10**6)), min_size=1, max_size=60)


def delta_of_a_gaussian(sigma: float, epsilon: float) -> float:
    """The exact δ of Gaussian noise at sensitivity 1 (Balle and Wang, ICML 2018)."""
    low = norm.cdf(0.5 / sigma - epsilon * sigma)
    return float(low - math.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma))


@given(CELLS)
def test_no_account_contributes_more_than_one(cells: list[tuple[int, int]]) -> None:
    one = contribution(sketch_of_cells(dict(cells)))
    length = math.sqrt(sum(int(v) ** 2 for v in one))
    assert 0.97 * UNIT < length <= UNIT


def test_volume_buys_no_more_weight_and_order_does_not_matter() -> None:
    little, much = sketch_of_cells({3: 1, 9: 1}), sketch_of_cells({3: 10**5, 9: 10**5})
    assert (contribution(little) == contribution(much)).all()
    other = sketch_of_cells({500: 7})
    assert (contributions([little, other]) == contributions([other, little])).all()
    assert not contributions([]).any()


@pytest.mark.parametrize(("epsilon", "delta"), [(0.25, 1e-6), (1.0, 1e-6), (4.0, 1e-8), (8, 1e-5)])
def test_the_noise_is_enough_and_not_much_more_than_that(epsilon: float, delta: float) -> None:
    sigma = sigma_for(epsilon, delta)
    assert epsilon_of(rho_of(sigma), delta) <= epsilon
    assert delta_of_a_gaussian(sigma, epsilon) <= delta
    assert delta_of_a_gaussian(sigma * 0.75, epsilon) > delta
    rho = rho_of(sigma)
    assert epsilon <= 1.001 * (rho + 2 * math.sqrt(rho * math.log(1 / delta)))


def test_releases_add_up() -> None:
    rho = rho_of(sigma_for(1.0, 1e-6))
    assert epsilon_of(0, 1e-6) == 0
    assert 1.0 < epsilon_of(2 * rho, 1e-6) < 2.0
    assert epsilon_of(16 * rho, 1e-6) > 4.0


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0, 1e-6), (-1, 1e-6), (21, 1e-6), (1, 0), (1, 0.1)]
)
def test_promises_that_are_none_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(DistilwatchError, match="promise nothing"):
        sigma_for(epsilon, delta)


def test_noise_has_the_spread_that_is_stated_and_differs_each_time() -> None:
    zero = np.zeros(4096, np.int64)
    first, second = add_noise(zero, UNIT, 4.0), add_noise(zero, UNIT, 4.0)
    assert (first != second).any()
    for noise in (first, second):
        assert abs(noise.std() / UNIT / 4.0 - 1) < 0.08  # seven standard errors
        assert abs(noise.mean() / UNIT) < 0.5


def test_an_account_cannot_be_told_from_the_sketch_but_a_campaign_can() -> None:
    account = sketch_of_cells(dict.fromkeys(range(30), 5))
    others = [sketch_of_cells({100 + i: 3, 400 + i: 2}) for i in range(40)]
    campaign = [account] * 200

    def evidence(total: np.ndarray) -> float:
        """How many standard deviations the noisy sum lies along the account's own vector."""
        sketch = noisy_coverage(total, "s", "m", 1.0, 1e-6)
        own = contribution(account) / UNIT
        return float(sketch.sums() @ own / np.linalg.norm(own) / sketch.sigma)

    with_it = [evidence(contributions([*others, account])) for _ in range(60)]
    without = [evidence(contributions(others)) for _ in range(60)]
    # The best test that there is gets at most 1/σ of a standard deviation out of it.
    assert abs(np.mean(with_it) - np.mean(without)) < 1 / sigma_for(1.0, 1e-6) + 4 * math.sqrt(
        2 / 60
    )
    assert evidence(contributions([*others, *campaign])) > 20
