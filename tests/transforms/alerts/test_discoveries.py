"""Online false discovery control: known cases, invariances, and what theory promises, simulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from tests.support.one_by_one import Lond, LordPlusPlus
from transforms.alerts.discoveries import Batch, BatchBH, Float, adjusted, spending
from transforms.scoring.calibration import calibrate

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)
# Benjamini and Hochberg's own example, 1995, section 4.1: four discoveries at 5 %.
PAPER = np.array([
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
    0.5719, 0.6528, 0.7590, 1.0,
])  # fmt: skip


def alone(level: float) -> BatchBH:
    """Whose first batch is tested at `level`."""
    return BatchBH(level / BatchBH(1.0).level(1))


def plain_bh(p_values: Float, level: float) -> int:
    n = len(p_values)
    return max((k for k in range(1, n + 1) if sorted(p_values)[k - 1] <= level * k / n), default=0)


def test_spending_comes_to_one() -> None:
    for power in (1.6, 2.0):
        shares = spending(np.arange(1, 100_001), power)
        tail = shares[0] * 100_000 ** (1 - power) / (power - 1)  # the integral from there on
        assert shares.sum() + tail == pytest.approx(1, abs=1e-6)
        assert spending(np.array([-3, 0]), power).tolist() == [0, 0]


def test_the_example_of_benjamini_and_hochberg() -> None:
    batch = alone(0.05).test(PAPER)
    assert (batch.rejected, batch.cut) == (4, 0.0095)
    assert (adjusted(PAPER) <= 0.05).sum() == 4
    assert adjusted(PAPER)[3] == pytest.approx(0.0095 * 15 / 4)


@given(P_VALUES, st.floats(0.001, 0.5))
def test_a_batch_is_benjamini_hochberg_with_one_p_value_at_nought_at_best(
    p_values: Float, level: float
) -> None:
    state = alone(level)
    batch = state.test(p_values)
    used = state.level(len(p_values))
    assert batch.rejected == plain_bh(p_values, used)
    if batch.rejected:
        assert batch.rejected == (p_values <= batch.cut).sum()
    best = max(
        plain_bh(np.where(np.arange(len(p_values)) == i, 0.0, p_values), used)
        for i in range(len(p_values))
    )
    assert batch.augmented == best


@given(P_VALUES, st.randoms(use_true_random=False))
def test_order_within_a_batch_cannot_matter(p_values: Float, random: object) -> None:
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(p_values))  # type: ignore[attr-defined]
    assert BatchBH(0.2).test(p_values) == BatchBH(0.2).test(p_values[order])
    assert adjusted(p_values)[order].tolist() == adjusted(p_values[order]).tolist()


@given(P_VALUES, st.floats(0, 1))
def test_tests_left_out_count_as_if_their_p_values_were_one(p_values: Float, cap: float) -> None:
    capped = np.where(p_values <= cap, p_values, 1.0)
    few = BatchBH(0.3).test(p_values[p_values <= cap], len(p_values))
    if cap < 1:
        assert few == BatchBH(0.3).test(capped)


@given(st.lists(P_VALUES, max_size=6), st.floats(0.01, 0.5))
def test_the_estimate_of_false_discoveries_never_exceeds_the_rate(
    batches: list[Float], rate: float
) -> None:
    """The invariant that the proof of BatchBH rests on, after every batch."""
    state = BatchBH(rate)
    for p_values in batches:
        state = state.after(state.test(p_values))
        found = sum(b.rejected for b in state.past)
        estimate = sum(b.level * b.augmented / (b.augmented + found - b.rejected)
                       for b in state.past)  # fmt: skip
        assert estimate <= rate * (1 + 1e-9)


def test_nothing_to_test_and_a_state_in_json() -> None:
    state = BatchBH(0.1)
    state = state.after(state.test(np.empty(0)))
    state = state.after(state.test(PAPER))
    kept = json.loads(json.dumps(asdict(state)))
    again = BatchBH(kept["rate"], tuple(Batch(**batch) for batch in kept["past"]))
    assert again == state
    assert again.test(PAPER) == state.test(PAPER)


@pytest.mark.parametrize("start", [Lond(0.1), LordPlusPlus(0.1)])
@given(p_values=P_VALUES, cut=st.integers(0, 60))
def test_a_stream_may_be_cut_anywhere(
    start: Lond | LordPlusPlus, p_values: Float, cut: int
) -> None:
    whole, end = start.test(p_values)
    first, between = start.test(p_values[:cut])
    second, last = between.test(p_values[cut:])
    assert np.concatenate([first, second]).tolist() == whole.tolist()
    assert last == end


def test_levels_of_streams_by_hand() -> None:
    g = spending(np.arange(0, 9), 1.6)
    # Found at 1 and 3. LOND: 0.1·γ₁·1, 0.1·γ₂·2, 0.1·γ₃·2, 0.1·γ₄·3.
    p = np.array([0.1 * g[1], 0.2 * g[2] * 1.001, 0.2 * g[3], 0.3 * g[4] * 1.001])
    assert Lond(0.1).test(p)[0].tolist() == [True, False, True, False]
    # LORD++: the first discovery earns half the rate, later ones all of it.
    levels = [
        0.05 * g[1],
        0.05 * g[2] + 0.05 * g[1],
        0.05 * g[3] + 0.05 * g[2],
        0.05 * g[4] + 0.05 * g[3] + 0.1 * g[1],
    ]
    p = np.array(levels) * [1, 1.001, 1, 1.001]
    assert LordPlusPlus(0.1).test(p)[0].tolist() == [True, False, True, False]


# --- what is promised, simulated ------------------------------------------------------------------

RATE, BATCHES, TESTS, SIGNALS, TRIALS = 0.2, 5, 60, 6, 200
Draw = Callable[[np.random.Generator, Float], Float]
"""p-values of scores."""


def exact(rng: np.random.Generator, scores: Float) -> Float:
    """Uniform under the null: the score's own distribution is known."""
    p: Float = ndtr(-scores)
    return p


def conformal(rng: np.random.Generator, scores: Float) -> Float:
    """All batches against the same few calibration scores: coarse, and dependent."""
    p = calibrate(rng.normal(size=400), [""] * 400).p_values(scores.ravel(), [""] * scores.size)
    return p.reshape(scores.shape)


def coarse(rng: np.random.Generator, scores: Float) -> Float:
    """As conformal, without what continues the tail: p is at least 1/401."""
    past = np.sort(rng.normal(size=400))
    return (1 + 400 - np.searchsorted(past, scores)) / 401


def false_share(control: str, draw: Draw, signals: int, seed: int) -> tuple[float, float, float]:
    """Mean share of false discoveries over trials, its standard error, and the power."""
    rng = np.random.default_rng(seed)
    shares, power = [], []
    for _ in range(TRIALS):
        scores = rng.normal(size=(BATCHES, TESTS))
        scores[:, :signals] += 4
        p = draw(rng, scores)
        if control == "batch":
            state, found = BatchBH(RATE), []
            for row in p:
                batch = state.test(row)
                state = state.after(batch)
                found.append((row <= batch.cut) & (batch.rejected > 0))
            hits = np.array(found)
        else:
            stream = Lond(RATE) if control == "lond" else LordPlusPlus(RATE)
            # In the order of names, which know nothing of the p-values.
            order = np.argsort(rng.random(p.size))
            hits = np.zeros(p.size, bool)
            hits[order] = stream.test(p.ravel()[order])[0]
            hits = hits.reshape(p.shape)
        shares.append(hits[:, signals:].sum() / max(hits.sum(), 1))
        power.append(hits[:, :signals].mean() if signals else 0.0)
    return float(np.mean(shares)), float(np.std(shares) / TRIALS**0.5), float(np.mean(power))


@pytest.mark.parametrize("signals", [0, SIGNALS])
@pytest.mark.parametrize("draw", [exact, conformal, coarse])
@pytest.mark.parametrize("control", ["batch", "lond", "lord"])
def test_false_discoveries_stay_below_the_rate(control: str, draw: Draw, signals: int) -> None:
    share, error, power = false_share(control, draw, signals, seed=3)
    assert share <= RATE + 3 * error
    if signals and (control, draw) != ("lond", coarse):
        # And it is no empty promise; alone, a coarse p-value never passes LOND's level.
        assert power > (0.3 if control == "batch" else 0.01)


def test_more_is_found_in_batches_than_test_by_test() -> None:
    batch, lond, lord = (false_share(c, exact, SIGNALS, 5)[2] for c in ("batch", "lond", "lord"))
    assert batch > lord > lond


def test_without_control_the_same_cut_would_break_the_promise() -> None:
    """The simulation can tell: p ≤ 0.05 alone makes more false discoveries than the rate."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(100):
        scores = rng.normal(size=TESTS)
        scores[:2] += 4
        hits = exact(rng, scores) <= 0.05
        shares.append(hits[2:].sum() / max(hits.sum(), 1))
    assert np.mean(shares) > 1.5 * RATE
