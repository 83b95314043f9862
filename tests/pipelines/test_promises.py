"""What was promised of benign accounts, and what was observed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from pipelines.promises import (
    CLASS,
    EVERYONE,
    FLAGGED,
    GRID,
    OWN,
    PEER_GROUP,
    Benign,
    curves,
    exact_interval,
    promises,
)

PEOPLE = [Benign("person", "api|", (i + 1) / 201, i < 2) for i in range(200)]
FIRMS = [Benign("firm", "", p, p < 0.02) for p in (0.0005, 0.004, 0.004, 0.009, 0.2, math.nan)]


@given(st.integers(0, 60), st.integers(0, 60))
def test_intervals_are_those_of_clopper_and_pearson(observed: int, others: int) -> None:
    n = observed + others
    if not n:
        assert exact_interval(0, 0) == (0.0, 1.0)
        return
    exact = binomtest(observed, n).proportion_ci(0.95, "exact")
    assert exact_interval(observed, n) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("n", "share"), [(20, 0.01), (300, 0.01), (2_000, 0.001)])
def test_a_promise_that_is_kept_is_seldom_called_broken(n: int, share: float) -> None:
    observed = np.arange(n + 1)
    called = np.array([exact_interval(int(k), n)[0] > share for k in observed])
    assert binom.pmf(observed, n, share)[called].sum() <= 0.025
    assert called[-1]  # and one that is broken badly is called so


def test_every_class_and_peer_group_has_its_promises() -> None:
    found = {(p.kind, p.name, p.measure, p.promised): p for p in promises(PEOPLE + FIRMS, 0.008)}
    assert len(found) == 5 * 3  # everyone, two classes, two peer groups
    firm = found[CLASS, "firm", OWN, 0.01]
    assert (firm.accounts, firm.observed, firm.share, firm.broken) == (5, 4, 0.8, True)
    assert found[PEER_GROUP, "", OWN, 0.01].observed == 4
    # Being flagged is of an account that was never scored, too.
    assert found[CLASS, "firm", FLAGGED, 0.008].accounts == 6
    person = found[CLASS, "person", OWN, 0.01]
    assert (person.observed, person.broken) == (2, False)
    assert found[PEER_GROUP, "api|", FLAGGED, 0.008].observed == 2
    assert found[EVERYONE, "", OWN, 0.001].accounts == 205


def test_where_nothing_was_flagged_nothing_is_said_of_it() -> None:
    assert {p.measure for p in promises(PEOPLE, math.nan)} == {OWN}
    assert promises([], 0.01) == ()


def test_curves_grow_to_one_and_agree_with_the_promises() -> None:
    found = {(c.kind, c.name): c for c in curves(PEOPLE + FIRMS)}
    for curve in found.values():
        assert list(curve.observed) == sorted(curve.observed)
        assert curve.observed[-1] == 1.0
    person = found[CLASS, "person"]
    assert person.promised == GRID
    for promised, observed in zip(person.promised, person.observed, strict=True):
        assert observed == np.mean([a.own_p <= promised for a in PEOPLE])
    assert curves([Benign("silent", "", math.nan, False)]) == ()
