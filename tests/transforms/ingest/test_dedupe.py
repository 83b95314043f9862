from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from tests.support.events import random_events
from transforms.ingest import dedupe
from transforms.ingest.batch import Events
from transforms.ingest.dedupe import Dedupe, _ascending, _opened, _ShardFn, first_seen


class _Late(beam.DoFn):  # type: ignore[misc]
    """Events that are before the element's own time: behind a watermark that it may hold."""

    def process(self, events: Events, at: Any = beam.DoFn.TimestampParam) -> Iterator[int]:
        yield from (t for t in events.time_ms.tolist() if t < at.micros // 1000)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_seen_before_or_comes_twice_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen: list[np.ndarray] = []
    known: set[int] = set()
    for _ in range(40):
        batch = rng.integers(0, 400, int(rng.integers(1, 30))).astype(np.uint64) << np.uint64(50)
        expected = []
        for i, value in enumerate(batch.tolist()):
            if value not in known:
                expected.append(i)
                known.add(value)
        rows = first_seen(batch, seen)
        assert rows.tolist() == expected
        seen.append(np.sort(batch[rows]))


def test_nothing_was_seen_of_an_empty_array() -> None:
    hashes = np.array([3, 1, 3], np.uint64)
    assert first_seen(hashes, [np.empty(0, np.uint64)]).tolist() == [0, 1]


def test_state_in_order_of_arrival_is_put_in_order_of_hash() -> None:
    block = np.array([[9, 100], [2, 300], [5, 200], [2, 50]], np.uint64)
    expected = [[2, 300], [2, 50], [5, 200], [9, 100]]
    assert _opened(block.astype("<u8").tobytes()).tolist() == expected
    assert _opened(_ascending(block).astype("<u8").tobytes()).tolist() == expected
    assert _opened(b"").tolist() == []


@pytest.mark.parametrize("gathers", [False, True])
def test_each_event_comes_once_and_repeats_are_counted(
    gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ShardFn, "_FULL", 100)  # some in the middle of a bundle, some at its end
    events = random_events(330, 3, accounts=40)
    batches = [events.take(np.arange(at, at + 30)) for at in range(0, 330, 30)]
    again = [events.take(np.arange(0, 45))]
    with TestPipeline() as pipeline:
        found = (
            pipeline
            | beam.Create([*batches, *again], reshuffle=False)
            | Dedupe(horizon_ms=86_400_000, shards=4, gathers=gathers)
        )
        hashes = found.events | beam.FlatMap(lambda e: e.event_hash.tolist())
        repeats = found[Dedupe.DUPLICATES] | beam.CombineGlobally(sum)
        assert_that(hashes, equal_to(events.event_hash.tolist()), label="events")
        assert_that(repeats, equal_to([45]), label="repeats")
        early = found.events | beam.ParDo(_Late())
        assert_that(early, equal_to([]), label="times")


T0, HOUR_MS = 1_780_272_000_000, 3_600_000


def test_a_stream_that_never_pauses_forgets_and_finds_repeats_within_the_horizon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remembered: list[int] = []

    def counted(hashes: np.ndarray, seen: Iterable[np.ndarray]) -> np.ndarray:
        known = list(seen)
        remembered.append(sum(map(len, known)))
        return first_seen(hashes, known)

    monkeypatch.setattr(dedupe, "first_seen", counted)
    stream: Any = TestStream()
    for i in range(24):  # ten new events every half an hour, and those of an hour before once more
        at = T0 + i * HOUR_MS // 2
        new = random_events(20, i, accounts=3)
        names = np.concatenate([np.arange(10) + 100 * i, np.arange(10) + 100 * (i - 2)])
        times = np.where(np.arange(20) < 10, at, at - HOUR_MS)
        batch = replace(new, event_hash=(names + 1_000).astype(np.uint64) << np.uint64(40),
                        time_ms=times)  # fmt: skip
        here = Timestamp(micros=at * 1000)
        stream = stream.advance_watermark_to(here).add_elements([TimestampedValue(batch, here)])
    with TestPipeline() as pipeline:
        found = pipeline | stream.advance_watermark_to_infinity() | Dedupe(HOUR_MS, shards=1)
        sizes = found.events | beam.Map(len)
        # What the first two batches bring once more nobody has seen.
        assert_that(sizes, equal_to([20, 20, *[10] * 22]), label="sizes")
        assert_that(found[Dedupe.DUPLICATES], equal_to([10] * 22), label="repeats")
    assert len(remembered) == 24
    assert max(remembered) <= 70  # two slices, and what comes before the watermark has passed them
