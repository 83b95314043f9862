"""Sessions that are cut while events still come; no runner."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS, random_events
from tests.support.state import Bag, Timer
from transforms.coverage.fold import fold, fold_together
from transforms.coverage.layout import Sum
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.coverage.stack import SketchStack
from transforms.ingest.batch import Events
from transforms.sessions.endless import (
    IntoSessionShardsFn,
    OpenSessions,
    Reported,
    Settled,
    settle,
)
from transforms.sessions.shards import Named, cut_stack, keyed_together
from transforms.sessions.sketch_log import Rows

MINUTE = 60_000
SLICE, BLOCK = 5 * MINUTE, 6 * 60 * MINUTE
GAP = 30 * MINUTE
LATENESS = 60 * MINUTE


def at(*minutes: float) -> Rows:
    """A part of a session with events at minutes after the start."""
    events = random_events(len(minutes), seed=len(minutes), accounts=1, payments=1)
    fields = {f: getattr(events, f) for f in events.__dataclass_fields__}
    fields["time_ms"] = np.array([START_MS + round(m * MINUTE) for m in minutes], np.int64)
    whole = [partial.sketch for partial in fold(Events(**fields), 5 * MINUTE)]
    return Rows(Named(["key"], SketchStack.of([merge(whole)])), np.zeros(1, np.uint8))


def settled(
    *parts: Rows | None, watermark_ms: int | None = None, late_ms: int = LATENESS
) -> Settled:
    """What becomes of parts, of which there may be none."""
    return settle(Rows.concat([p for p in parts if p is not None]), GAP, late_ms, watermark_ms)


def minute(at: float) -> int:
    return START_MS + round(at * MINUTE)


def seen(found: Settled) -> list[tuple[float, int, str]]:
    """Start, events and pane of what is reported."""
    if found.reported is None:
        return []
    (_, stack), panes = found.reported
    starts = ((stack.first_ms - START_MS) / MINUTE).tolist()
    return list(zip(starts, stack.sums[:, Sum.EVENTS].tolist(), panes, strict=True))


def test_what_changed_is_reported_early_and_what_did_not_is_not() -> None:
    first = settled(at(0), at(50, 51))
    assert seen(first) == [(0, 1, "early"), (50, 2, "early")]
    again = settled(first.kept, at(60))
    assert seen(again) == [(50, 3, "early")]
    assert not seen(settled(again.kept))


def test_a_session_is_on_time_once_when_the_watermark_passes_its_end() -> None:
    early = settled(at(0))
    assert not seen(settled(early.kept, watermark_ms=minute(29)))
    closed = settled(early.kept, watermark_ms=minute(30))
    assert seen(closed) == [(0, 1, "on_time")]
    assert not seen(settled(closed.kept, watermark_ms=minute(31)))


def test_a_late_event_updates_a_closed_session_until_that_is_forgotten() -> None:
    closed = settled(at(0), watermark_ms=minute(30))
    late = settled(closed.kept, at(10))
    assert seen(late) == [(0, 2, "late")]
    assert settled(late.kept, watermark_ms=minute(99)).kept is not None
    assert settled(late.kept, watermark_ms=minute(100)).kept is None


def test_a_bridging_event_makes_one_session_of_two() -> None:
    two = settled(at(0), at(50), watermark_ms=minute(81))
    assert seen(two) == [(0, 1, "on_time"), (50, 1, "on_time")]
    one = settled(two.kept, at(25))
    assert seen(one) == [(0, 3, "late")]


def test_nothing_is_dropped_before_it_was_reported() -> None:
    found = settled(at(0), watermark_ms=minute(500), late_ms=0)
    assert seen(found) == [(0, 1, "on_time")]
    assert found.kept is None


def whole(rows: Rows | None) -> list[tuple[str, bytes]]:
    assert rows is not None
    names, stack = rows.named
    return [(n, encode(s)) for n, s in zip(names, stack.sketches(), strict=True)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 300), min_size=1, max_size=12), st.randoms(use_true_random=False),
)  # fmt: skip
def test_sessions_do_not_depend_on_when_one_looks(
    minutes: list[float], dice: random.Random
) -> None:
    parts = [at(m) for m in minutes]
    once = whole(settled(*parts).kept)
    dice.shuffle(parts)
    kept: Rows | None = None
    newest: dict[int, bytes] = {}
    for part in parts:
        found = settled(kept, part)
        kept = found.kept
        if found.reported is not None:
            sketches = found.reported.sessions.stack.sketches()
            newest |= {sketch.first_ms: encode(sketch) for sketch in sketches}
    assert whole(kept) == once
    # The last report of each session that is left had all of it.
    assert kept is not None
    assert [newest[ms] for ms in kept.named.stack.first_ms.tolist()] == [data for _, data in once]


# --- many keys at once ----------------------------------------------------------------------------


class Shard:
    """A shard and its state, by hand; it has what was reported: key, sketch and pane."""

    def __init__(self, lateness_ms: int = LATENESS, timeless: bool = False) -> None:
        self.into = IntoSessionShardsFn(BLOCK, 1, timeless)
        self.fn = OpenSessions(GAP, lateness_ms, SLICE, 10**12)
        self.news, self.kept, self.report, self.close = Bag(), Bag(), Timer(), Timer()
        self.reports: list[tuple[str, CoverageSketch, str]] = []

    def add(self, events: Events) -> None:
        for one in self.into.process(fold_together(events, SLICE)):
            assert one.timestamp.micros == int(events.time_ms.min()) * 1000
            self.fn.process(one.value, self.news, self.report, self.close)

    def _said(self, found: Iterable[Reported]) -> None:
        for (names, stack), panes in found:
            self.reports += zip(names, stack.sketches(), panes, strict=True)

    def tell(self) -> None:
        self._said(self.fn.tell(self.news, self.kept))

    def until(self, watermark_ms: int) -> None:
        """Timers fire in the order of their times."""
        while due := [
            (t, tag) for tag, t in self.close.at.items() if t.micros <= watermark_ms * 1000
        ]:
            time, tag = min(due)
            del self.close.at[tag]
            self._said(self.fn.end(time, self.news, self.kept, self.close))

    @property
    def is_empty(self) -> bool:
        return not (self.news.held or self.kept.held or self.close.at)


def events_of(count: int, seed: int, minutes: int = 300) -> Events:
    """Of two dozen accounts with a few cards, over some hours, in the order of time."""
    events = random_events(count, seed=seed, accounts=24, payments=5)
    times = np.random.default_rng(seed).integers(0, minutes * MINUTE, count)
    return replace(events, time_ms=START_MS + np.sort(times))


@pytest.mark.parametrize("seed", range(6))
def test_a_shard_has_the_sessions_of_its_keys_whenever_one_looks(seed: int) -> None:
    events = events_of(200, seed)
    names, stack = cut_stack(keyed_together(fold_together(events, SLICE), BLOCK), GAP)
    wanted = {(n, s.first_ms): encode(s) for n, s in zip(names, stack.sketches(), strict=True)}
    assert len(wanted) > 40
    dice = np.random.default_rng(seed)
    # Out of order by up to twenty minutes, which the watermark waits for.
    order = np.argsort(events.time_ms + dice.integers(0, 20 * MINUTE, len(events)))
    shard = Shard()
    while len(order):
        size = int(dice.integers(1, 20))
        bundle, order = order[:size], order[size:]
        shard.add(events.take(bundle))
        if dice.random() < 0.5:
            shard.tell()
        if len(order):
            shard.until(int(events.time_ms[order].min()) - MINUTE)
    shard.until(START_MS + 1_000 * MINUTE)
    assert shard.is_empty
    newest = {(name, sketch.first_ms): encode(sketch) for name, sketch, _ in shard.reports}
    assert {at: newest[at] for at in wanted} == wanted
    on_time = [(name, sketch.first_ms) for name, sketch, pane in shard.reports if pane == "on_time"]
    assert sorted(on_time) == sorted(wanted)


def test_a_shard_has_few_timers_and_closes_up_to_a_slice_late() -> None:
    shard = Shard()
    shard.add(events_of(500, 3, minutes=20))
    assert 4 <= len(shard.close.at) <= 6
    assert len(shard.report.at) == 1
    shard.tell()
    before = len(shard.reports)
    shard.until(START_MS + 29 * MINUTE)
    assert len(shard.reports) == before
    shard.until(START_MS + 60 * MINUTE)
    assert {pane for *_, pane in shard.reports[before:]} == {"on_time"}
    # Of what is kept for what is late, there are no more timers than slices.
    assert 1 <= len(shard.close.at) <= 6


def test_on_prism_elements_have_no_time_and_elsewhere_that_of_their_first_event() -> None:
    folded = fold_together(events_of(9, 1), SLICE)
    for timeless, at in (
        (True, MIN_TIMESTAMP),
        (False, Timestamp(micros=int(folded.stack.first_ms.min()) * 1000)),
    ):
        [one] = IntoSessionShardsFn(BLOCK, 1, timeless).process(folded)
        assert one.timestamp == at


def test_what_is_new_of_other_keys_waits_when_one_closes() -> None:
    events = events_of(60, 7, minutes=4)
    others = replace(
        events,
        time_ms=events.time_ms + 20 * MINUTE,
        account=np.full(60, "other", object),
        payment=np.full(60, "another", object),
    )
    shard = Shard()
    shard.add(events)
    shard.add(others)
    shard.until(START_MS + 35 * MINUTE)
    assert {pane for *_, pane in shard.reports} == {"on_time"}
    assert not [name for name, *_ in shard.reports if name.endswith("other")]
    shard.reports.clear()
    shard.tell()
    assert [(sketch.events, pane) for _, sketch, pane in shard.reports] == [(60, "early")] * 2


def test_what_is_late_for_a_closed_session_changes_it_until_that_is_forgotten() -> None:
    events = events_of(60, 5, minutes=4)
    shard = Shard()
    shard.add(events.take(np.arange(59)))
    shard.until(START_MS + 40 * MINUTE)
    shard.reports.clear()
    shard.add(events.take(np.array([59])))
    shard.tell()
    assert len(shard.reports) == 2
    assert {pane for *_, pane in shard.reports} <= {"late", "early"}
    shard.until(START_MS + 200 * MINUTE)
    assert shard.is_empty
