"""Noise that hides each account in a sum, and how much of the promise has been used up.

The mechanism is OpenDP's discrete Gaussian (Canonne, Kamath and Steinke, "The Discrete Gaussian for
Differential Privacy", NeurIPS 2020), drawn from the system's secure source of randomness; integers
all the way, so that no rounding of floating-point numbers tells what was added (Mironov, CCS 2012).

For a sum of contributions of length at most 1, noise of standard deviation σ in every coordinate is
ρ-zCDP with ρ = 1 / (2 σ²) (Bun and Steinke, TCC 2016), and ρ of several releases add up. ρ-zCDP
implies (ε, δ)-differential privacy; OpenDP's conversion is used, which is a little tighter than the
well-known ε = ρ + 2 √(ρ ln(1/δ)).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError, not_installed

_LEAST_SIGMA, _MOST_SIGMA = 0.05, 1e6
_SCALE = 1 << 16  # σ is looked for in these steps


def sigma_for(epsilon: float, delta: float) -> float:
    """Least standard deviation, in contributions, that gives (ε, δ) to each account.

    Raises:
      DistilwatchError: when ε or δ makes no sense.
    """
    _check(epsilon, delta)
    low, high = _LEAST_SIGMA, _MOST_SIGMA
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (
            (low, middle) if epsilon_of(rho_of(middle), delta) <= epsilon else (middle, high)
        )
    return math.ceil(high * _SCALE) / _SCALE


def rho_of(sigma: float) -> float:
    """ρ of one release with noise of σ contributions."""
    return 1 / (2 * sigma * sigma)


def epsilon_of(rho: float, delta: float) -> float:
    """ε that a total of ρ comes to at δ; 0 for nothing released."""
    return _epsilon(rho, delta) if rho > 0 else 0.0


@lru_cache(maxsize=1024)
def _epsilon(rho: float, delta: float) -> float:
    dp = _opendp()
    measurement = _gaussian(dp, 1, 1 / math.sqrt(2 * rho))
    profile = dp.c.make_zCDP_to_approxDP(measurement).map(1.0)
    return float(profile.epsilon(delta))


def add_noise(values: NDArray[np.int64], unit: int, sigma: float) -> NDArray[np.int64]:
    """Adds discrete Gaussian noise to a sum of contributions.

    Args:
      values: int64 of shape (n,), a sum of vectors each of Euclidean length at most `unit`.
      unit: length of a contribution.
      sigma: standard deviation in contributions.

    Returns:
      int64 of shape (n,).
    """
    measurement = _gaussian(_opendp(), len(values), sigma * unit)
    return np.array(measurement(values.tolist()), np.int64)


def _gaussian(dp: Any, size: int, scale: float) -> Any:
    space = dp.vector_domain(dp.atom_domain(T="i64"), size=size), dp.l2_distance(T="f64")
    return dp.m.make_gaussian(*space, scale=scale)


def _opendp() -> Any:
    try:
        import opendp.prelude as dp
    except ImportError as error:
        what = "coverage sketches for other labs"
        raise not_installed(what, "sharing", error.name or "opendp") from None
    dp.enable_features("contrib")
    return dp


def _check(epsilon: float, delta: float) -> None:
    if not 0 < epsilon <= 20 or not 0 < delta <= 1e-3:
        raise DistilwatchError(
            f"ε = {epsilon:g} and δ = {delta:g} promise nothing",
            "policy of sharing",
            "give 0 < ε ≤ 20 and 0 < δ ≤ 0.001",
        )
