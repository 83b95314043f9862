"""Sessions from partial sketches are those that single events would give, in whatever order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS, random_events
from tests.support.profiles import profiles_of
from transforms.coverage.fold import fold
from transforms.coverage.sketch import encode, merge
from transforms.ingest.batch import Events
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey, session_id
from transforms.sessions.transforms import (
    FoldEvents,
    FoldTogether,
    ProfileBounded,
    Session,
    Sessionize,
    SessionizeBounded,
    SessionOptions,
    at_ms,
    each_profile,
    each_session,
)

MINUTE = 60_000
OPTIONS = SessionOptions(
    gap_ms=30 * MINUTE,
    max_length_ms=360 * MINUTE,
    slice_ms=5 * MINUTE,
    early_firing_ms=0,
    allowed_lateness_ms=60 * MINUTE,
)
STREAMING = replace(OPTIONS, early_firing_ms=MINUTE)


def expected_sessions(events: Events) -> dict[tuple[str, str, int, int], bytes]:
    """Event by event: sort, cut at pauses and at block ends, sketch each piece."""
    found = {}
    for kind, column in ((ACCOUNT, events.account), (PAYMENT, events.payment)):
        rows = defaultdict(list)
        for i in np.argsort(events.time_ms, kind="stable"):
            if column[i]:
                rows[column[i]].append(i)
        for key, index in rows.items():
            piece: list[int] = []
            for i in [*index, None]:
                if piece and (
                    i is None
                    or events.time_ms[i] - events.time_ms[piece[-1]] >= OPTIONS.gap_ms
                    or events.time_ms[i] // OPTIONS.max_length_ms
                    != events.time_ms[piece[-1]] // OPTIONS.max_length_ms
                ):
                    part = events.take(np.array(piece))
                    sketch = merge([p.sketch for p in fold(part, OPTIONS.slice_ms)])
                    found[kind, key, sketch.first_ms, sketch.last_ms] = encode(sketch)
                    piece = []
                if i is not None:
                    piece.append(i)
    return found


def matches(expected: dict[tuple[str, str, int, int], bytes]):
    def check(sessions: Iterable[Session]) -> None:
        got = {(s.kind, s.key, s.start_ms, s.end_ms): encode(s.sketch) for s in sessions}
        assert got.keys() == expected.keys()
        assert got == expected

    return check


@settings(max_examples=24, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 120),
    st.integers(0, 10_000),
    st.sampled_from([2, 12, 40]),
    st.integers(1, 5),
    st.booleans(),
)
def test_sessions_do_not_depend_on_order_or_bundles(
    n: int, seed: int, hours: int, batches: int, together: bool
) -> None:
    events = random_events(n, seed, accounts=3, payments=2, span_ms=hours * 60 * MINUTE)
    order = np.random.default_rng(seed).permutation(n)
    pieces = [events.take(part) for part in np.array_split(order, batches) if len(part)]
    with TestPipeline() as pipeline:
        made = pipeline | beam.Create(pieces, reshuffle=False)
        if together:
            sessions = (
                made
                | "Fold" >> FoldTogether(OPTIONS)
                | "Sessionize" >> SessionizeBounded(OPTIONS)
                | "Each" >> beam.FlatMap(each_session)
            )
        else:
            sessions = made | "Fold" >> FoldEvents(OPTIONS) | "Sessionize" >> Sessionize(OPTIONS)
        assert_that(sessions, matches(expected_sessions(events)))


class _WithWindow(beam.DoFn):
    def process(self, element, window=beam.DoFn.WindowParam):
        account, sketch = element
        yield account, window.start.micros // 1000, window.end.micros // 1000, encode(sketch)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 120), st.integers(0, 10_000), st.integers(1, 5))
def test_a_profile_is_all_that_an_account_did_in_a_window(n: int, seed: int, batches: int) -> None:
    day = 1440 * MINUTE
    events = random_events(n, seed, accounts=4, span_ms=3 * day)
    pieces = [events.take(part) for part in np.array_split(np.arange(n), batches) if len(part)]
    expected = sorted(
        (account, number * day, (number + 1) * day, sketch)
        for (account, number), sketch in profiles_of(events, day, OPTIONS.slice_ms).items()
    )

    def check(profiles: Iterable[object]) -> None:
        assert sorted(profiles) == expected  # type: ignore[type-var]

    with TestPipeline() as pipeline:
        profiles = (
            pipeline
            | beam.Create(pieces, reshuffle=False)
            | FoldTogether(OPTIONS)
            | SessionizeBounded(OPTIONS)
            | ProfileBounded(day, MINUTE)
            | beam.FlatMap(each_profile)
        )
        named = profiles | "WithWindow" >> beam.ParDo(_WithWindow())
        assert_that(named | "Leave" >> beam.WindowInto(beam.window.GlobalWindows()), check)


def at(*minutes: float) -> Events:
    """Events of one account without payment, at minutes after the start."""
    events = random_events(len(minutes), accounts=1, payments=1)
    times = np.array([START_MS + round(m * MINUTE) for m in minutes], np.int64)
    fields = {f: getattr(events, f) for f in events.__dataclass_fields__}
    fields |= {"time_ms": times, "payment": np.array([""] * len(minutes), object)}
    return Events(**fields)


def run_stream(stream: TestStream, check) -> None:
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True
    with TestPipeline(options=options) as pipeline:
        sessions = (
            pipeline
            | stream
            | "Fold" >> FoldEvents(STREAMING)
            | "Sessionize" >> Sessionize(STREAMING)
        )
        assert_that(sessions, check)


def add(stream: TestStream, *minutes: float) -> TestStream:
    batch = at(*minutes)
    return stream.add_elements(
        [beam.window.TimestampedValue(batch, at_ms(int(batch.time_ms.min())))]
    )


def watermark(stream: TestStream, minute: float) -> TestStream:
    return stream.advance_watermark_to(at_ms(START_MS + round(minute * MINUTE)))


def test_a_bridging_late_event_joins_two_sessions() -> None:
    # 0 and 50 minutes are two sessions; an event at 25, late but allowed, makes them one.
    stream = watermark(TestStream(), 0)
    stream = watermark(add(stream, 0, 50), 81)
    stream = add(stream, 25)
    run_stream(
        stream.advance_watermark_to_infinity(),
        lambda sessions: _joined(list(sessions)),
    )


def _joined(sessions: list[Session]) -> None:
    first = [s for s in sessions if s.pane == "on_time"]
    assert [(s.start_ms - START_MS, s.sketch.events) for s in first] in (
        [(0, 1), (50 * MINUTE, 1)],
        [(50 * MINUTE, 1), (0, 1)],
    )
    late = [s for s in sessions if s.pane == "late"]
    assert [(s.start_ms - START_MS, s.sketch.events) for s in late][-1] == (0, 3)
    assert late[-1].session_id == next(s for s in first if s.start_ms == START_MS).session_id


def test_early_firings_report_an_open_session_and_the_last_pane_has_all() -> None:
    stream = watermark(TestStream(), 0)
    stream = add(stream, 0, 1).advance_processing_time(120)
    stream = add(stream, 2).advance_processing_time(120)

    def check(sessions: Iterable[Session]) -> None:
        seen = sorted((s.sketch.events, s.pane) for s in sessions)
        assert seen[0] == (2, "early")
        assert seen[-1] == (3, "on_time")
        assert len({s.session_id for s in sessions}) == 1

    run_stream(stream.advance_watermark_to_infinity(), check)


def test_what_is_beyond_the_allowed_lateness_changes_nothing() -> None:
    stream = watermark(TestStream(), 0)
    stream = watermark(add(stream, 0), 400)
    stream = add(stream, 5)
    run_stream(
        stream.advance_watermark_to_infinity(),
        lambda sessions: _assert_counts(sessions, [1]),
    )


def _assert_counts(sessions: Iterable[Session], counts: list[int]) -> None:
    assert sorted(s.sketch.events for s in sessions) == counts


def test_a_key_that_never_pauses_is_cut_at_block_ends() -> None:
    events = at(*range(0, 1440, 20))
    with TestPipeline() as pipeline:
        sessions = (
            pipeline
            | beam.Create([events], reshuffle=False)
            | "Fold" >> FoldEvents(OPTIONS)
            | "Sessionize" >> Sessionize(OPTIONS)
        )
        assert_that(sessions, lambda found: _assert_counts(found, [18, 18, 18, 18]))


@pytest.mark.parametrize("key", ["plain", "with\x1fseparator", "", "ключ"])
def test_session_keys_round_trip(key: str) -> None:
    original = SessionKey(ACCOUNT, 82_000, key)
    assert SessionKey.decode(original.encode()) == original


def test_session_ids_differ_by_kind_key_and_start() -> None:
    ids = {
        session_id(kind, key, start)
        for kind in (ACCOUNT, PAYMENT)
        for key in ("a", "b")
        for start in (0, 1)
    }
    assert len(ids) == 8
    assert session_id(ACCOUNT, "a", 0) == session_id(ACCOUNT, "a", 0)
