"""Days: shifts, surges and peaks, against counts of the events."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.support.events import START_MS
from tests.support.features import VALUES, one_account, value_of
from tests.support.sketches import events_of, sketch_of, token, topic_coordinates
from transforms.coverage import features as f
from transforms.coverage.layout import DAY_MS
from transforms.coverage.sketch import CoverageSketch, merge

DAY0 = START_MS // DAY_MS * DAY_MS


def asks(
    topics: list[int], a_day: int = 40, days: int = 6, seed: int = 0, start: int = 0
) -> CoverageSketch:
    """An account that asks about some topics, as many requests each day."""
    rng = np.random.default_rng(seed)
    topic = rng.choice(topics, a_day * days)
    time = (
        DAY0
        + (start + np.repeat(np.arange(days), a_day)) * DAY_MS
        + rng.integers(0, DAY_MS, a_day * days)
    )
    return sketch_of(events_of("a", np.sort(time), topic_coordinates(topic, rng, 0.3)))


def at_days(requests: list[int], opened_days_before: int = 0) -> CoverageSketch:
    day = np.repeat(np.arange(len(requests)), requests)
    time = DAY0 + day * DAY_MS + np.arange(len(day))
    coordinates = topic_coordinates(np.zeros(len(day), int), np.random.default_rng(0), 0.3)
    opened = DAY0 - opened_days_before * DAY_MS
    return sketch_of(events_of("a", time, coordinates, account_created_ms=opened))


def test_the_trail_counts_each_request_on_its_day() -> None:
    events = one_account(300, 5, span_ms=9 * DAY_MS)
    block = f.SketchBlock([sketch_of(events)])
    day = (events.time_ms - events.time_ms.min() // DAY_MS * DAY_MS) // DAY_MS
    expected = np.bincount(day, minlength=32).tolist()
    assert block.daily[0].tolist() == expected
    assert block.trail(np.array([0])).sum(axis=2)[0].tolist() == expected


def test_who_goes_on_as_before_does_not_shift_whatever_the_volume() -> None:
    for a_day in (5, 40, 200):
        found = [value_of(f.topic_shift, asks([1, 2, 3, 4], a_day, seed=s)) for s in range(6)]
        assert np.mean(found) < 0.12


def test_a_sudden_change_of_topics_is_a_shift() -> None:
    quiet = asks([1, 2, 3], seed=1)
    taken_over = merge([quiet, asks(list(range(20, 60)), seed=2, start=6)])
    assert value_of(f.topic_shift, taken_over) > 0.4


def test_one_day_cannot_shift() -> None:
    assert math.isnan(value_of(f.topic_shift, asks([1], days=1)))


def test_a_surge_is_the_busiest_day_over_the_days_before() -> None:
    assert value_of(f.surge, at_days([4, 2, 6, 80])) == pytest.approx(math.log(81 / 5))
    assert math.isnan(value_of(f.surge, at_days([80, 2, 6, 4])))


def test_the_peak_is_counted_from_the_accounts_opening() -> None:
    assert value_of(f.days_to_peak, at_days([4, 2, 60, 8], 10)) == pytest.approx(math.log(13))
    assert value_of(f.days_to_peak, at_days([50])) == 0


def test_models_that_the_history_had_are_not_new() -> None:
    n = 20
    model = np.array([token("old")] * 15 + [token("new")] * 5)
    events = events_of("a", START_MS + np.arange(n), np.zeros((n, 64), np.int8), model=model)
    sketch = sketch_of(events)
    old = np.array([token("old") >> np.uint64(8)])

    def share(models: np.ndarray) -> float:
        reference = f.Reference(np.zeros(256), 10.0, models)
        return float(f.new_model_share(f.SketchBlock([sketch]), [reference])[0])

    assert share(old) == 0.25
    assert share(np.unique(np.append(old, token("new") >> np.uint64(8)))) == 0
    assert math.isnan(share(np.empty(0, np.uint64)))
    assert "new_model_share" not in VALUES
