"""Each feature against a brute-force computation on the events themselves."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS, random_events
from tests.support.sketches import (
    TOPICS,
    events_of,
    harvester,
    person,
    sketch_of,
    to_int8,
    token,
    topic_coordinates,
)
from transforms.coverage import features as f
from transforms.coverage.layout import DAY_MS, HOUR_MS, MINUTE_MS, Items
from transforms.coverage.sketch import CoverageSketch, empty
from transforms.embedding.space import (
    AXES,
    NO_CELL,
    UNIT,
    fourier_features,
    fourier_mean,
    random_signs,
    to_coordinates,
    to_integers,
)
from transforms.ingest.batch import Events

Feature = Callable[[f.SketchBlock], np.ndarray]
SEEDS = range(6)


def value_of(feature: Feature, sketch: CoverageSketch) -> float:
    """A feature of one key."""
    (value,) = feature(f.SketchBlock([sketch]))
    return float(value)


VALUES = {name.name: partial(value_of, name.compute) for name in f.FEATURES}


def one_account(n: int, seed: int, span_ms: int = 7 * DAY_MS) -> Events:
    return random_events(n, seed, accounts=1, span_ms=span_ms)


def cell_counts(events: Events) -> list[int]:
    return list(Counter(int(c) for c in events.cells if c != NO_CELL).values())


def unit_rows(events: Events) -> np.ndarray:
    return events.coordinates[events.cells != NO_CELL].astype(float) / UNIT


def on_topics(topics: list[int] | np.ndarray, seed: int = 0, spread: float = 0.6) -> Events:
    rng = np.random.default_rng(seed)
    at = np.asarray(topics)
    time = START_MS + np.arange(len(at)) * HOUR_MS
    return events_of("a", time, topic_coordinates(at, rng, spread))


def at_times(time_ms: np.ndarray) -> CoverageSketch:
    return sketch_of(events_of("a", np.asarray(time_ms), np.zeros((len(time_ms), AXES), np.int8)))


# --- breadth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_of_cells_give_hill_good_turing_and_chao(seed: int) -> None:
    events = one_account(150, seed)
    counts = cell_counts(events)
    n, sketch = sum(counts), sketch_of(events)
    once, twice = counts.count(1), counts.count(2)
    entropy = -sum(c / n * math.log(c / n) for c in counts)
    assert value_of(f.hill_number, sketch) == pytest.approx(entropy, rel=1e-12)
    assert value_of(f.unseen_share, sketch) == pytest.approx(once / n, rel=1e-12)
    chao = len(counts) + once * (once - 1) / (2 * (twice + 1))
    assert value_of(f.chao_richness, sketch) == pytest.approx(math.log(chao), rel=1e-12)


def test_heaps_slope_is_the_growth_from_half_of_the_events_to_all() -> None:
    events = one_account(200, seed=1)
    cells = events.cells[events.cells != NO_CELL]
    rng = np.random.default_rng(0)
    halves = [len(np.unique(cells[rng.random(len(cells)) < 0.5])) for _ in range(600)]
    expected = math.log(len(np.unique(cells)) / np.mean(halves)) / math.log(2)
    assert value_of(f.heaps_slope, sketch_of(events)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n", [6, 33, 120])
def test_effective_rank_is_the_corrected_mean_squared_cosine_of_pairs(n: int) -> None:
    events = on_topics(np.arange(n) % 5, seed=n)
    x = unit_rows(events)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    squares = [(x[i] @ x[j]) ** 2 for i, j in itertools.combinations(range(n), 2)]
    expected = -math.log((np.mean(squares) - 1 / AXES) / (1 + 1 / AXES))
    assert value_of(f.effective_rank, sketch_of(events)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("rank", [4, 12, 40])
@pytest.mark.parametrize("n", [200, 2_000])
def test_effective_rank_finds_the_rank_of_the_unprojected_vectors(rank: int, n: int) -> None:
    rng = np.random.default_rng([rank, n])
    directions = np.linalg.qr(rng.standard_normal((384, rank)))[0].T
    signs = rng.choice([-1.0, 1.0], (n, 1))
    vectors = (directions[rng.integers(0, rank, n)] * signs).astype(np.float32)
    coordinates = to_coordinates(to_integers(vectors) @ random_signs(384), np.zeros(AXES))
    sketch = sketch_of(events_of("a", START_MS + np.arange(n) * HOUR_MS, coordinates))
    assert math.exp(value_of(f.effective_rank, sketch)) == pytest.approx(rank, rel=0.25)


@pytest.mark.parametrize("n", [20, 40, 300])
def test_own_rank_is_the_effective_rank_of_the_unbiased_covariance(n: int) -> None:
    events = on_topics(np.random.default_rng(n).integers(0, 30, n), seed=n)
    x = unit_rows(events)
    covariance = np.cov(x, rowvar=False)
    trace = np.trace(covariance)
    left = (covariance**2).sum() - trace**2 / (n - 1)
    expected = -math.log((left / trace**2 - 1 / AXES) / (1 + 1 / AXES))
    assert value_of(f.own_rank, sketch_of(events)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("n", [28, 400])
def test_own_rank_sees_through_a_fixed_prompt_and_effective_rank_does_not(n: int) -> None:
    rng = np.random.default_rng(n)
    questions = topic_coordinates(rng.integers(0, 60, n), rng) / UNIT
    fixed = topic_coordinates(np.array([70]), rng, spread=0.0) / UNIT
    mixed = 0.85 * fixed + 0.5 * questions
    wrapped = to_int8(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
    time = START_MS + np.arange(n) * HOUR_MS
    bare, hidden = (sketch_of(events_of("a", time, rows)) for rows in (to_int8(questions), wrapped))
    lost = value_of(f.effective_rank, bare) - value_of(f.effective_rank, hidden)
    kept = value_of(f.own_rank, bare) - value_of(f.own_rank, hidden)
    assert lost > 1.5
    assert abs(kept) < 0.5


def test_strangeness_is_the_mean_distance_from_the_nearest_cell() -> None:
    events = one_account(80, seed=2)
    near = events.nearness[events.cells != NO_CELL] / 1000
    assert value_of(f.strangeness, sketch_of(events)) == pytest.approx(1 - near.mean(), rel=1e-9)


def test_what_nobody_asked_is_strange() -> None:
    rng = np.random.default_rng(4)
    time = START_MS + np.arange(50) * HOUR_MS
    nowhere = rng.standard_normal((50, AXES))
    nowhere /= np.linalg.norm(nowhere, axis=1, keepdims=True)
    usual = value_of(f.strangeness, sketch_of(on_topics(np.arange(50))))
    assert value_of(f.strangeness, sketch_of(events_of("a", time, to_int8(nowhere)))) > 2 * usual


def test_effective_rank_does_not_grow_with_the_number_of_events() -> None:
    def mean_rank(n: int) -> float:
        draws = np.random.default_rng(n).integers(0, 10, (30, n))
        return float(
            np.mean([value_of(f.effective_rank, sketch_of(on_topics(d, n))) for d in draws])
        )

    assert mean_rank(20) == pytest.approx(mean_rank(400), abs=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_log_volume_and_common_direction_are_those_of_the_vectors(seed: int) -> None:
    events = on_topics(np.random.default_rng(seed).integers(0, 9, 70), seed)
    x = unit_rows(events)
    n = len(x)
    eigenvalues = np.linalg.eigvalsh(x.T @ x / n)
    volume = np.log1p(AXES * eigenvalues).sum() / AXES
    assert value_of(f.log_volume, sketch_of(events)) == pytest.approx(volume, rel=1e-9)
    cosines = [x[i] @ x[j] for i, j in itertools.combinations(range(n), 2)]
    assert value_of(f.common_direction, sketch_of(events)) == pytest.approx(
        np.mean(cosines), abs=1e-3
    )


def test_log_volume_is_largest_when_every_direction_is_used_alike() -> None:
    axes = to_int8(np.eye(AXES) / 2)  # int8 holds half a unit on one axis
    time = START_MS + np.arange(AXES) * HOUR_MS
    even = value_of(f.log_volume, sketch_of(events_of("a", time, axes)))
    narrow = value_of(f.log_volume, sketch_of(events_of("a", time, axes[np.arange(AXES) % 8])))
    assert narrow < even <= math.log(2)


BREADTH = ("hill_cells", "effective_rank", "unseen_share", "chao_cells", "heaps_slope",
           "log_volume")  # fmt: skip


@pytest.mark.parametrize("name", BREADTH)
def test_a_sweep_is_broader_than_a_few_topics_at_the_same_volume(name: str) -> None:
    rng = np.random.default_rng(2)
    narrow = sketch_of(on_topics(rng.integers(0, 4, 80), 1))
    wide = sketch_of(on_topics(rng.permutation(TOPICS)[:80], 2))
    assert VALUES[name](wide) > VALUES[name](narrow)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 200), st.integers(0, 10_000))
def test_breadths_keep_their_bounds_and_order(n: int, seed: int) -> None:
    events = one_account(n, seed)
    counts, sketch = cell_counts(events), sketch_of(events)
    if sum(counts) < 4:
        return
    seen = math.log(len(counts))
    assert 0 <= value_of(f.hill_number, sketch) <= seen + 1e-12
    assert value_of(f.chao_richness, sketch) >= seen - 1e-12
    assert 0 <= value_of(f.unseen_share, sketch) <= 1
    assert 0 <= value_of(f.heaps_slope, sketch) <= 1
    assert 0 < value_of(f.log_volume, sketch) <= math.log(2) + 0.01


# --- order and time -----------------------------------------------------------------------------


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


# --- templates, repetition and what is asked for ------------------------------------------------


def test_top_scaffold_share_takes_the_commoner_of_beginnings_and_ends() -> None:
    n = 20
    prefix = np.array([token("p0")] * 7 + [token(f"p{i}") for i in range(1, 14)])
    suffix = np.array([token("s0")] * 12 + [token(f"s{i}") for i in range(1, 9)])
    events = events_of("a", START_MS + np.arange(n) * HOUR_MS, np.zeros((n, AXES), np.int8))
    sketch = sketch_of(replace(events, prefix_scaffold=prefix, suffix_scaffold=suffix))
    assert value_of(f.top_scaffold_share, sketch) == pytest.approx(12 / 20)
    sketch = sketch_of(replace(events, prefix_scaffold=prefix))
    assert value_of(f.top_scaffold_share, sketch) == pytest.approx(7 / 20)


def test_repeated_prompts_counts_all_but_the_first_of_each() -> None:
    words = ["a"] * 5 + ["b"] * 3 + ["c", "d"]
    events = events_of("a", START_MS + np.arange(10), np.zeros((10, AXES), np.int8))
    sketch = sketch_of(replace(events, prompt=np.array([token(w) for w in words])))
    assert value_of(f.repeated_prompts, sketch) == pytest.approx(6 / 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_and_sizes_are_those_of_the_events(seed: int) -> None:
    events = one_account(120, seed)
    row = dict(
        zip(VALUES, (compute(sketch_of(events)) for compute in VALUES.values()), strict=True)
    )
    limit, named = events.max_output_tokens, events.conversation > 0
    expected = {
        "continued_share": (events.turn[named] > 0).mean(),
        "code_share": (events.code > 0).mean(),
        "tool_share": (events.tools > 0).mean(),
        "reasoning_share": events.reasoning_tokens.sum() / events.output_tokens.sum(),
        "structured_share": events.structured.mean(),
        "saturated_share": ((limit > 0) & (events.output_tokens >= limit)).mean(),
        "output_tokens": math.log(events.output_tokens[events.output_tokens > 0].mean() + 1),
        "output_ratio": math.log(events.output_tokens.sum() / events.input_tokens.sum()),
        "blocked_share": np.isin(events.status, [403, 429]).mean(),
        "clients": math.log(len(set(events.client.tolist()) - {0})),
        "account_age": math.log1p((events.time_ms.max() - (START_MS - DAY_MS)) / DAY_MS),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    sizes = Counter(int(math.log2(t)) for t in events.input_tokens if t > 0)
    total = sum(sizes.values())
    entropy = -sum(c / total * math.log(c / total) for c in sizes.values())
    assert row["size_entropy"] == pytest.approx(entropy, rel=1e-9)


def test_follow_up_turns_of_no_named_conversation_do_not_count() -> None:
    n = 8
    events = events_of(
        "a", START_MS + np.arange(n), np.zeros((n, AXES), np.int8), turn=2,
        conversation=np.array([token("c")] * 4 + [np.uint64(0)] * 4),
    )  # fmt: skip
    assert VALUES["continued_share"](sketch_of(events)) == 1


def test_networks_are_counted_exactly_when_few_and_closely_when_many() -> None:
    n = 600
    network = np.array([token(f"n{i}") for i in range(n)])
    zeros = np.zeros((n, AXES), np.int8)
    few = sketch_of(
        events_of("a", START_MS + np.arange(n), zeros, network=network[np.arange(n) % 9])
    )
    many = sketch_of(events_of("a", START_MS + np.arange(n), zeros, network=network))
    assert value_of(f.log_networks, few) == pytest.approx(math.log(9))
    assert value_of(f.log_networks, many) == pytest.approx(
        math.log(n), abs=0.5
    )  # k = 32: 18 % a deviation


# --- distance from the peer group ---------------------------------------------------------------


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of four Gaussian kernels at 0.5, 1, 2 and 4 times √2."""
    square = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    return np.mean([np.exp(-square / (2 * (w * 2**0.5) ** 2)) for w in (0.5, 1, 2, 4)], axis=0)


def exact_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    def within(z: np.ndarray) -> float:
        k = kernel(z, z)
        return float((k.sum() - np.trace(k)) / (len(z) * (len(z) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def reference_of(events: Events) -> f.Reference:
    rows = events.coordinates
    total = fourier_features(rows).sum(axis=0, dtype=np.int64)
    return f.Reference(fourier_mean(total, len(rows)), float(len(rows)))


def mmd2_of(sketch: CoverageSketch, reference: f.Reference) -> float:
    (value,) = f.mmd2(f.SketchBlock([sketch]), [reference])
    return float(value)


@pytest.mark.parametrize("topics", [2, 5, 20])
@pytest.mark.parametrize("n", [20, 150])
def test_mmd2_is_near_the_exact_kernel_value(topics: int, n: int) -> None:
    rng = np.random.default_rng([topics, n])
    own = on_topics(rng.integers(0, topics, n), seed=n)
    others = on_topics(rng.integers(0, TOPICS, 400), seed=n + 1)
    reference = reference_of(others)
    value = mmd2_of(sketch_of(own), reference)
    exact = exact_mmd2(unit_rows(own), unit_rows(others))
    # 128 waves: the kernel's error is at most 1/√128 and mostly cancels between the three terms.
    assert value == pytest.approx(exact, abs=0.01 + 0.25 * abs(exact))


def test_mmd2_has_mean_zero_for_draws_from_the_peer_group_itself() -> None:
    rng = np.random.default_rng(6)
    reference = reference_of(on_topics(rng.integers(0, 30, 4_000), 1))
    values = [
        mmd2_of(sketch_of(on_topics(rng.integers(0, 30, 40), i)), reference) for i in range(60)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 60**0.5
    assert min(values) < 0 < max(values)


def test_mmd2_without_a_reference_is_unknown_and_fills_the_last_column() -> None:
    sketch = sketch_of(on_topics(np.arange(20)))
    reference = reference_of(on_topics(np.arange(TOPICS), 1))
    rows = f.feature_matrix([sketch, sketch], [None, reference])
    assert np.isnan(rows[0, -1])
    assert rows[1, -1] == mmd2_of(sketch, reference)
    assert f.column_index()["mmd2"] == len(f.COLUMNS) - 1


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_tiny_inputs_are_finite_or_unknown_and_never_warn(n: int, seed: int) -> None:
    sketch = sketch_of(one_account(n, seed)) if n else empty()
    reference = reference_of(on_topics(np.arange(9)))
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        row = f.feature_matrix([sketch], [reference])[0]
    assert not np.isinf(row).any()
    if n < 2:
        assert {f.COLUMNS[i].name for i in np.flatnonzero(~np.isnan(row))} <= {
            "networks", "clients", "account_age", "output_ratio", "reasoning_share",
        }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), st.integers(0, 10_000), st.sampled_from([1, 60_000, 5 * DAY_MS]))
def test_no_input_makes_a_feature_infinite_or_warn(n: int, seed: int, span_ms: int) -> None:
    sketch = sketch_of(one_account(n, seed, span_ms)) if n else empty()
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert not np.isinf(f.feature_matrix([sketch], [None])).any()


def test_without_vectors_topics_are_unknown_and_the_rest_is_told() -> None:
    n = 30
    sketch = sketch_of(
        events_of("a", START_MS + np.arange(n) * DAY_MS, np.zeros((n, AXES), np.int8))
    )
    row = dict(zip(VALUES, f.feature_matrix([sketch], [None])[0], strict=False))
    assert all(math.isnan(row[name]) for name in (*BREADTH, "common_direction", "coherence"))
    assert row["idle_gap_hours"] == 23
    assert row["code_share"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_events_does_not_matter_to_the_bit(seed: int) -> None:
    events = one_account(90, seed)
    shuffled = events.take(np.random.default_rng(seed).permutation(90))
    rows = [f.feature_matrix([sketch_of(e)], [None]).tobytes() for e in (events, shuffled)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("count", [2, 7, 600])
def test_a_row_does_not_depend_on_the_other_keys_to_the_bit(count: int) -> None:
    rng = np.random.default_rng(count)
    sizes = np.exp(rng.uniform(0, 5, min(count, 60))).astype(int)
    few = [empty(), *(sketch_of(one_account(int(n), i)) for i, n in enumerate(sizes))]
    known = [None, *(reference_of(on_topics(np.arange(9), i)) for i in range(2))]
    sketches = [few[i % len(few)] for i in range(count)]
    references = [known[i % len(known)] for i in range(count)]
    together = f.feature_matrix(sketches, references)
    for i in range(0, count, max(1, count // 60)):
        alone = f.feature_matrix(sketches[i : i + 1], references[i : i + 1])
        assert alone.tobytes() == together[i : i + 1].tobytes()


def test_no_keys_have_no_rows_and_each_key_needs_its_reference() -> None:
    assert f.feature_matrix([], []).shape == (0, len(f.COLUMNS))
    with pytest.raises(ValueError, match="1 references for 2 sketches"):
        f.feature_matrix([empty(), empty()], [None])


@pytest.mark.parametrize("n", [3, 5, 31, 32, 33, 90])
def test_a_few_rows_and_moments_of_many_give_the_same_scatter(n: int) -> None:
    events = on_topics(np.arange(n) % 7, seed=n)
    x = unit_rows(events)
    s = x.T @ x
    scatter = f.SketchBlock([sketch_of(events)]).scatter
    assert scatter.square[0] == pytest.approx((s**2).sum(), rel=1e-9)
    expected = np.linalg.slogdet(np.eye(AXES) + s * AXES / n)[1]
    assert scatter.log_det[0] == pytest.approx(expected, rel=1e-9)


LOW_FOR_A_HARVEST = ("idle_gap_hours", "circadian_amplitude", "continued_share")


@pytest.mark.parametrize("name", [*BREADTH, "hour_entropy", "busy_hours", *LOW_FOR_A_HARVEST])
def test_a_harvest_lies_on_the_side_that_the_table_calls_suspicious(name: str) -> None:
    column = f.COLUMNS[f.column_index()[name]]
    benign = column.compute(f.SketchBlock([sketch_of(person(f"p{i}", 1, 60)) for i in range(25)]))
    attack = column.compute(
        f.SketchBlock([sketch_of(harvester(f"h{i}", 1, 60)) for i in range(25)])
    )
    assert column.suspicious.value * (np.nanmedian(attack) - np.nanmedian(benign)) > 0


def test_names_are_unique_and_every_feature_says_what_it_is() -> None:
    names = [column.name for column in f.COLUMNS]
    assert len(set(names)) == len(names)
    assert all(column.words for column in f.COLUMNS)
    assert {column.scale for column in f.COLUMNS} <= {"plain", "share", "exp"}


def test_peer_items_name_the_group_of_most_requests() -> None:
    _, counts = sketch_of(person("a", 1, 30)).items(Items.PEER)
    assert list(counts) == [30]
