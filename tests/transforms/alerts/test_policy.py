"""Budget arithmetic and severities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.alerts.policy import DAY_MS, SEVERITIES, AlertPolicy, budgeted_max_p

POLICY = AlertPolicy(
    max_p=0.003, high_exposure_usd=1_000, critical_exposure_usd=20_000, high_accounts=50
)


@pytest.mark.parametrize(
    ("max_p", "pages", "window_days", "tests", "expected"),
    [
        (0.01, 10, 1, 100_000, 1e-4),  # ten of a hundred thousand
        (0.01, 10, 7, 100_000, 7e-4),  # a week's window may page for a week
        (0.01, 10, 1, 100, 0.01),  # never above what was asked for
        (0.01, 0, 1, 100, 0.0),  # no pages at all
        (0.01, 0.5, 1, 1_000, 5e-4),  # a page every other day
        (0.5, 1, 1, 0, 0.5),  # nothing to test divides by nothing
    ],
)
def test_budget_is_pages_over_tests(
    max_p: float, pages: float, window_days: int, tests: int, expected: float
) -> None:
    assert budgeted_max_p(max_p, pages, window_days * DAY_MS, tests) == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 100), st.integers(1, 30 * DAY_MS), st.integers(0, 10**7))
def test_chance_alone_stays_within_the_budget(
    max_p: float, pages: float, window_ms: int, tests: int
) -> None:
    p = budgeted_max_p(max_p, pages, window_ms, tests)
    assert 0 <= p <= max_p
    assert p * tests <= pages * window_ms / DAY_MS * (1 + 1e-9) + 1e-300  # below that floats fray


@pytest.mark.parametrize(("p", "flagged"), [(0.0, True), (0.003, True), (0.00301, False)])
def test_a_p_value_is_flagged_up_to_the_threshold(p: float, flagged: bool) -> None:
    assert POLICY.flags(p) is flagged


@pytest.mark.parametrize(
    ("p", "exposure", "accounts", "severity"),
    [
        (0.003, 0, 1, "low"),
        (0.001, 0, 1, "medium"),  # a third of the threshold
        (0.0011, 0, 1, "low"),
        (0.003, 999, 49, "low"),
        (0.003, 1_000, 1, "medium"),
        (0.003, 0, 50, "medium"),
        (0.0001, 1_000, 1, "high"),
        (0.0001, 0, 50, "high"),
        (0.0001, 1_000, 50, "high"),  # size and money are one step, not two
        (0.003, 20_000, 1, "high"),
        (0.0001, 20_000, 1, "critical"),
        (0.0001, 10**9, 10**6, "critical"),
    ],
)
def test_severity_follows_p_value_exposure_and_size(
    p: float, exposure: float, accounts: int, severity: str
) -> None:
    assert POLICY.severity(p, exposure, accounts) == severity


@given(st.floats(0, 0.003), st.floats(0, 1e6), st.integers(1, 10_000))
def test_severity_never_falls_when_anything_gets_worse(
    p: float, exposure: float, accounts: int
) -> None:
    rank = SEVERITIES.index(POLICY.severity(p, exposure, accounts))
    for worse in (
        (p / 2, exposure, accounts),
        (p, exposure * 2, accounts),
        (p, exposure, accounts * 2),
    ):
        assert SEVERITIES.index(POLICY.severity(*worse)) >= rank
