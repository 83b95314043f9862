"""P-values promise no more than the calibration keys can keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.scoring.calibration import Calibration, calibrate, combine_with_cluster

Draw = Callable[[np.random.Generator, int], np.ndarray]
DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "exponential": lambda rng, n: rng.exponential(1, n),
    "with ties": lambda rng, n: rng.integers(0, 12, n).astype(float),
    "uniform": lambda rng, n: rng.random(n),
}


def pooled_p_values(draw: Draw, n: int, rounds: int, enough: int = 1) -> np.ndarray:
    """P-values of exchangeable keys, ten against each of many calibration sets of n."""
    rng = np.random.default_rng(n)
    out = []
    for _ in range(rounds):
        calibration = calibrate(draw(rng, n), ["g"] * n, enough)
        out.append(calibration.p_values(draw(rng, 10), ["g"] * 10))
    return np.concatenate(out)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.3, 0.7])
def test_p_values_of_exchangeable_keys_are_super_uniform(name: str, alpha: float) -> None:
    p = pooled_p_values(DRAWS[name], 150, 400)
    # Ten keys share a calibration set, so a mean of ten counts once.
    bound = alpha + 3 * (alpha * (1 - alpha) / 400) ** 0.5 * 0.6
    assert (p <= alpha).mean() <= bound


@pytest.mark.parametrize("name", ["normal", "exponential"])
def test_p_values_are_not_needlessly_large(name: str) -> None:
    p = pooled_p_values(DRAWS[name], 150, 400)
    assert (p <= 0.1).mean() > 0.08


@pytest.mark.parametrize("name", ["normal", "exponential", "uniform"])
def test_the_continued_tail_keeps_its_promise_for_light_tails(name: str) -> None:
    p = pooled_p_values(DRAWS[name], 400, 3_000)
    alpha = 1 / 401 / 4
    assert (p <= alpha).mean() < 2 * alpha


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=120),
    st.lists(st.floats(-9, 60), min_size=2, max_size=30),
    st.sampled_from([1, 50, 400]),
)
def test_a_higher_score_never_has_a_higher_p_value(
    calibration: list[float], scores: list[float], enough: int
) -> None:
    groups = ["a" if i % 3 else "b" for i in range(len(calibration))]
    fitted = calibrate(np.array(calibration), groups, enough)
    for group in ("a", "b", "", "unknown"):
        p = fitted.p_values(np.sort(scores), [group] * len(scores))
        assert (np.diff(p) <= 0).all()
        assert ((p > 0) & (p <= 1)).all()


def test_p_is_one_plus_the_number_at_least_as_high_over_n_plus_one() -> None:
    fitted = calibrate(np.array([1.0, 2.0, 2.0, 3.0]), ["g"] * 4, enough=1)
    scores = np.array([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
    assert fitted.p_values(scores, ["g"] * 7) == pytest.approx(np.array([5, 5, 4, 4, 2, 2, 1]) / 5)


@pytest.mark.parametrize("n", [200, 2_000])
def test_the_tail_is_continuous_falls_and_stops_at_a_fiftieth(n: int) -> None:
    fitted = calibrate(np.random.default_rng(n).standard_normal(n), ["g"] * n, enough=1)
    top = fitted.scores["g"][-1]
    beyond = np.linspace(top + 1e-9, top + 20, 20_001)
    p = fitted.p_values(beyond, ["g"] * len(beyond))
    least = 1 / (n + 1)
    assert p[0] <= least
    assert (p[:-1] / p[1:]).max() < 1.02  # no jump from one step of 0.001 to the next
    assert p[-1] == p.min() == pytest.approx(least / 50)


def test_few_calibration_keys_promise_nothing_beyond_their_number() -> None:
    fitted = calibrate(np.arange(30.0), ["g"] * 30, enough=1)
    assert fitted.p_values(np.array([1e6]), ["g"]) == pytest.approx([1 / 31])


def test_a_small_group_borrows_from_everyone_and_a_large_one_does_not() -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.standard_normal(1_000), 3 + rng.standard_normal(20)])
    groups = ["many"] * 1_000 + ["few"] * 20
    small, own = calibrate(scores, groups, 400), calibrate(scores, groups, 20)
    at = np.array([3.0])
    assert own.p_values(at, ["few"])[0] > 0.3  # the middle of its own group
    assert small.p_values(at, ["few"])[0] < 0.1  # but rare among the 400 it borrows to be
    assert np.array_equal(small.p_values(at, ["many"]), own.p_values(at, ["many"]))


def test_an_unknown_group_is_judged_among_everyone() -> None:
    scores = np.arange(600.0)
    fitted = calibrate(scores, ["a"] * 300 + ["b"] * 300, enough=400)
    at = np.array([100.0, 299.5, 550.0])
    unknown, everyone = fitted.p_values(at, ["new"] * 3), fitted.p_values(at, [""] * 3)
    assert unknown == pytest.approx(everyone, abs=1 / 400)


def test_a_small_group_of_the_same_kind_stays_super_uniform() -> None:
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(600):
        fitted = calibrate(rng.standard_normal(330), ["g"] * 30 + ["h"] * 300, enough=200)
        hits.append((fitted.p_values(rng.standard_normal(20), ["g"] * 20) <= 0.05).mean())
    assert np.mean(hits) < 0.05 + 3 * np.std(hits) / 600**0.5


def test_the_order_and_mix_of_groups_in_a_batch_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    fitted = calibrate(rng.standard_normal(900), ["a", "b", ""] * 300)
    scores, groups = rng.standard_normal(60), ["a", "b", "", "c"] * 15
    together = fitted.p_values(scores, groups)
    alone = [fitted.p_values(scores[i : i + 1], groups[i : i + 1])[0] for i in range(60)]
    assert together.tolist() == alone


def test_without_any_calibration_key_everything_is_normal() -> None:
    assert Calibration({}).p_values(np.array([5.0]), ["g"]).tolist() == [1.0]


@pytest.mark.parametrize("dependence", ["independent", "the same", "opposite", "half the same"])
def test_a_combined_p_value_holds_whatever_ties_an_account_to_its_cluster(dependence: str) -> None:
    rng = np.random.default_rng(4)
    account, other = rng.random((2, 40_000))
    cluster = {
        "independent": other,
        "the same": account,
        "opposite": 1 - account,
        "half the same": np.where(rng.random(len(other)) < 0.5, account, other),
    }[dependence]
    combined = np.array(list(map(combine_with_cluster, account, cluster)))
    for level in (0.2, 0.05, 0.01):
        assert (combined <= level).mean() <= level + 3 * (level * (1 - level) / 40_000) ** 0.5


def test_company_alone_does_not_make_a_member_suspicious_and_evidence_of_both_kinds_does() -> None:
    assert combine_with_cluster(0.9, 0.0002) > 0.02
    assert combine_with_cluster(0.01, 0.0002) < 0.001
    assert combine_with_cluster(1.0, 1.0) == 1.0


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_more_evidence_never_makes_a_combined_p_value_larger(a: float, b: float, c: float) -> None:
    low, high = sorted([a, b])
    assert combine_with_cluster(low, c) <= combine_with_cluster(high, c) <= 1
    assert combine_with_cluster(c, low) <= combine_with_cluster(c, high)


def test_a_kind_borrows_from_its_peer_group_before_everyone() -> None:
    rng = np.random.default_rng(8)
    scores = np.concatenate([rng.normal(0, 1, 1_000), rng.normal(5, 1, 500), rng.normal(5, 1, 20)])
    groups = ["b"] * 1_000 + ["a"] * 500 + ["a#1"] * 20
    fitted = calibrate(scores, groups)
    usual = np.array([5.0])
    for name in ("a#1", "a#7"):  # a small kind, and one that nobody has seen
        assert fitted.p_values(usual, [name])[0] == pytest.approx(0.5, abs=0.1)
    assert fitted.p_values(usual, ["c#1"])[0] == pytest.approx(0.17, abs=0.03)
