"""Made-up events and their features, for the tests of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from tests.support.events import START_MS, random_events
from tests.support.sketches import (
    events_of,
    sketch_of,
    topic_coordinates,
)
from transforms.coverage import features as f
from transforms.coverage.layout import DAY_MS, HOUR_MS
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.space import AXES, NO_CELL, UNIT, fourier_features, fourier_mean
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


def reference_of(events: Events) -> f.Reference:
    rows = events.coordinates
    total = fourier_features(rows).sum(axis=0, dtype=np.int64)
    return f.Reference(fourier_mean(total, len(rows)), float(len(rows)))


BREADTH = ("hill_cells", "effective_rank", "unseen_share", "chao_cells", "heaps_slope",
           "log_volume")  # fmt: skip
