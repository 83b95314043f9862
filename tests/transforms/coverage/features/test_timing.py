"""Order and time, against brute force over the events."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from tests.support.events import START_MS
from tests.support.features import (
    SEEDS,
    VALUES,
    at_times,
    unit_rows,
    value_of,
)
from tests.support.sketches import (
    events_of,
    sketch_of,
    token,
    topic_coordinates,
)
from transforms.coverage import features as f
from transforms.coverage.layout import DAY_MS, HOUR_MS, MINUTE_MS


def mean_cosine(x: np.ndarray, groups: list[object]) -> float:
    pairs = itertools.combinations(range(len(x)), 2)
    return float(np.mean([x[i] @ x[j] for i, j in pairs if groups[i] == groups[j]]))


@pytest.mark.parametrize("named", [True, False], ids=["conversations", "ten-minute slots"])
def test_coherence_is_the_mean_cosine_within_a_talk_minus_that_of_any_two(named: bool) -> None:
    rng = np.random.default_rng(3)
    talk = np.arange(60) // 6
    coordinates = topic_coordinates(rng.integers(0, 50, 10)[talk], rng)
    time = START_MS + talk * 2 * HOUR_MS + rng.integers(0, 9 * MINUTE_MS, 60)
    conversation = np.array([token(f"c{i}") for i in talk]) if named else 0
    events = events_of("a", time, coordinates, conversation=conversation)
    x = unit_rows(events)
    expected = mean_cosine(x, list(talk)) - mean_cosine(x, [0] * 60)
    assert value_of(f.coherence, sketch_of(events)) == pytest.approx(expected, abs=2e-3)
    assert expected > 0.2


def test_coherence_is_about_zero_when_every_prompt_is_drawn_afresh() -> None:
    rng = np.random.default_rng(4)
    n = 600
    events = events_of(
        "a", START_MS + np.arange(n) * MINUTE_MS, topic_coordinates(rng.integers(0, 60, n), rng),
        conversation=np.array([token(f"c{i // 50}") for i in range(n)]),
    )  # fmt: skip
    assert abs(value_of(f.coherence, sketch_of(events))) < 0.02


def idle_hours(active: set[int]) -> int:
    """Longest run of idle hours on the clock's circle, counted hour by hour over two days."""
    longest = run = 0
    for hour in range(48):
        run = 0 if hour % 24 in active else run + 1
        longest = max(longest, run)
    return min(longest, 24)


@pytest.mark.parametrize("seed", SEEDS)
def test_hours_give_idle_gap_entropy_and_rhythm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hours = rng.choice(24, 1 + seed * 2, replace=False)
    n = 90
    days = np.concatenate([[0, 6], rng.integers(0, 7, n - 2)])
    time = START_MS + days * DAY_MS + rng.choice(hours, n) * HOUR_MS + rng.integers(0, HOUR_MS, n)
    sketch = at_times(time)
    clock = ((time // HOUR_MS) % 24).astype(int)
    assert value_of(f.longest_idle_gap, sketch) == idle_hours(set(clock.tolist()))
    week = Counter((time // HOUR_MS % 168).tolist())
    entropy = -sum(c / n * math.log(c / n) for c in week.values())
    assert value_of(f.hour_entropy, sketch) == pytest.approx(entropy, rel=1e-12)
    angles = 2 * math.pi * clock / 24
    cosines = [math.cos(angles[i] - angles[j]) for i, j in itertools.combinations(range(n), 2)]
    expected = math.sqrt(max(0.0, np.mean(cosines)))
    assert value_of(f.circadian_amplitude, sketch) == pytest.approx(expected, abs=1e-6)


def test_a_single_hour_of_the_day_leaves_twenty_three_idle() -> None:
    assert value_of(f.longest_idle_gap, at_times(START_MS + np.arange(5) * DAY_MS)) == 23


@pytest.mark.parametrize("name", ["idle_gap_hours", "hour_entropy", "circadian_amplitude"])
def test_less_than_a_day_says_nothing_about_the_day(name: str) -> None:
    sketch = at_times(START_MS + np.arange(20) * HOUR_MS)
    assert math.isnan(VALUES[name](sketch))


@pytest.mark.parametrize("seed", SEEDS)
def test_minutes_give_dispersion_and_evenness_exactly_while_they_are_few(seed: int) -> None:
    rng = np.random.default_rng(seed)
    time = START_MS + np.append(rng.integers(0, 50 * MINUTE_MS, 80), [0, 50 * MINUTE_MS - 1])
    counts = np.bincount((time - START_MS) // MINUTE_MS, minlength=50)
    spread = math.sqrt(counts.var() / counts.mean())
    sketch = at_times(time)
    assert value_of(f.burstiness, sketch) == pytest.approx((spread - 1) / (spread + 1), abs=2e-3)
    active = counts[counts > 0]
    assert value_of(f.pace_evenness, sketch) == pytest.approx(
        active.std() / active.mean(), rel=1e-12
    )


def test_burstiness_tells_a_clock_from_chance_and_chance_from_bursts() -> None:
    rng = np.random.default_rng(5)
    n, span = 2_000, 2_000 * MINUTE_MS
    clock = value_of(f.burstiness, at_times(START_MS + np.arange(n) * MINUTE_MS))
    chance = value_of(f.burstiness, at_times(START_MS + rng.integers(0, span, n)))
    talk = rng.integers(0, span, n // 20).repeat(20) + rng.integers(0, 2 * MINUTE_MS, n)
    bursts = value_of(f.burstiness, at_times(START_MS + talk))
    assert -1 <= clock < -0.9
    assert abs(chance) < 0.25
    assert 0.3 < bursts <= 1


def test_busy_hours_is_the_share_of_hours_with_a_request() -> None:
    hours = np.array([0, 0, 1, 5, 9, 9, 9, 12])
    sketch = at_times(START_MS + hours * HOUR_MS)
    assert value_of(f.busy_hours, sketch) == pytest.approx(5 / 13)
