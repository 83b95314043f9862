"""Sessions that are cut while events still come; no runner."""

from __future__ import annotations

import numpy as np
from apache_beam import CombineFn
from apache_beam.transforms.window import GlobalWindow, IntervalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfoTiming
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS, random_events
from transforms.coverage.fold import fold
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.ingest.batch import Events
from transforms.sessions.endless import Piece, Report, _CombineFn, next_tick, settle

MINUTE = 60_000
GAP = 30 * MINUTE
LATENESS = 60 * MINUTE


def at(*minutes: float) -> Piece:
    """A piece with events at minutes after the start."""
    events = random_events(len(minutes), seed=len(minutes), accounts=1, payments=1)
    fields = {f: getattr(events, f) for f in events.__dataclass_fields__}
    fields["time_ms"] = np.array([START_MS + round(m * MINUTE) for m in minutes], np.int64)
    whole = [partial.sketch for partial in fold(Events(**fields), 5 * MINUTE)]
    return Piece(merge(whole))


def minute(at: float) -> int:
    return START_MS + round(at * MINUTE)


def seen(reports: list[Report]) -> list[tuple[float, int, str]]:
    return [((r.sketch.first_ms - START_MS) / MINUTE, r.sketch.events, r.pane) for r in reports]


def test_what_changed_is_reported_early_and_what_did_not_is_not() -> None:
    first = settle([at(0), at(50, 51)], GAP, LATENESS, None)
    assert seen(first.reports) == [(0, 1, "early"), (50, 2, "early")]
    again = settle([*first.kept, at(60)], GAP, LATENESS, None)
    assert seen(again.reports) == [(50, 3, "early")]
    assert not settle(again.kept, GAP, LATENESS, None).reports


def test_a_session_is_on_time_once_when_the_watermark_passes_its_end() -> None:
    early = settle([at(0)], GAP, LATENESS, None)
    assert not settle(early.kept, GAP, LATENESS, minute(29)).reports
    closed = settle(early.kept, GAP, LATENESS, minute(30))
    assert seen(closed.reports) == [(0, 1, "on_time")]
    assert not settle(closed.kept, GAP, LATENESS, minute(31)).reports


def test_a_late_event_updates_a_closed_session_until_that_is_forgotten() -> None:
    closed = settle([at(0)], GAP, LATENESS, minute(30))
    late = settle([*closed.kept, at(10)], GAP, LATENESS, None)
    assert seen(late.reports) == [(0, 2, "late")]
    assert len(settle(late.kept, GAP, LATENESS, minute(99)).kept) == 1
    assert not settle(late.kept, GAP, LATENESS, minute(100)).kept


def test_a_bridging_event_makes_one_session_of_two() -> None:
    two = settle([at(0), at(50)], GAP, LATENESS, minute(81))
    assert seen(two.reports) == [(0, 1, "on_time"), (50, 1, "on_time")]
    one = settle([*two.kept, at(25)], GAP, LATENESS, None)
    assert seen(one.reports) == [(0, 3, "late")]


def test_nothing_is_dropped_before_it_was_reported() -> None:
    settled = settle([at(0)], GAP, 0, minute(500))
    assert seen(settled.reports) == [(0, 1, "on_time")]
    assert not settled.kept


def whole(pieces: list[Piece]) -> list[bytes]:
    return [encode(p.sketch) for p in settle(pieces, GAP, LATENESS, None).kept]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 300), min_size=1, max_size=12), st.randoms(use_true_random=False),
)  # fmt: skip
def test_sessions_do_not_depend_on_when_one_looks(minutes: list[float], random: object) -> None:
    pieces = [at(m) for m in minutes]
    once = whole(pieces)
    random.shuffle(pieces)  # type: ignore[attr-defined]
    kept: list[Piece] = []
    newest: dict[int, CoverageSketch] = {}
    for piece in pieces:
        settled = settle([*kept, piece], GAP, LATENESS, None)
        kept = settled.kept
        newest |= {r.sketch.first_ms: r.sketch for r in settled.reports}
    assert whole(kept) == once
    # The last report of each session that is left had all of it.
    assert [encode(newest[p.sketch.first_ms]) for p in kept] == once


def test_ticks_are_whole_multiples_of_the_period() -> None:
    assert next_tick(3_000, 10.0).micros == 12_000_000
    assert next_tick(3_000, 11.999).micros == 12_000_000
    assert next_tick(3_000, 12.0).micros == 15_000_000


# --- aligned windows ------------------------------------------------------------------------------


class Bag(list[bytes]):
    """State of one key and window."""

    read = list.copy
    add = list.append


class Timer:
    """Remembers what it was set to, by tag."""

    def __init__(self) -> None:
        self.at: dict[str, Timestamp] = {}

    def set(self, at: Timestamp, dynamic_timer_tag: str = "") -> None:
        self.at[dynamic_timer_tag] = at


def combining(order: int = 0, holds: bool = False) -> tuple[_CombineFn, Bag, Timer, Timer, Timer]:
    fn = _CombineFn(CombineFn.from_callable(sum), 2_000, 10_000, order, holds)
    return fn, Bag(), Timer(), Timer(), Timer()


WINDOW = IntervalWindow(0, 60)


def test_a_window_is_not_forgotten_before_it_was_told_of() -> None:
    fn, bag, report, close, forget = combining()
    fn.process(("k", 1), WINDOW, Timestamp(5), bag, report, close)
    [closed] = fn.end("k", WINDOW, bag, forget)
    assert closed.value == ("k", 1)
    # Later than the window's end, and the clock has not come to the next report.
    fn.process(("k", 2), WINDOW, Timestamp(59), bag, report, close)
    [late] = fn.forget("k", WINDOW, bag)
    assert late.value == ("k", 3)
    assert late.pane_info.timing == PaneInfoTiming.LATE
    assert bag == []
    assert list(fn.forget("k", WINDOW, bag)) == []


def test_steps_that_follow_each_other_close_one_after_the_other() -> None:
    closes, forgets = [], []
    for order in range(3):
        fn, bag, report, close, forget = combining(order)
        fn.process(("k", 1), WINDOW, Timestamp(5), bag, report, close)
        list(fn.end("k", WINDOW, bag, forget))
        closes += close.at.values()
        forgets += forget.at.values()
    assert [c.micros for c in closes] == [59_984_000, 59_985_000, 59_986_000]
    assert [f.micros for f in forgets] == [70_000_000, 70_001_000, 70_002_000]


def test_what_goes_back_in_time_is_held_for_by_every_element() -> None:
    for holds, timers in ((False, 1), (True, 2)):
        fn, bag, report, close, _ = combining(holds=holds)
        for at in (50, 5):
            fn.process(("k", 1), GlobalWindow(), Timestamp(at), bag, report, close)
        assert len(report.at) == timers
        assert not close.at


def test_a_report_that_holds_has_the_time_of_the_oldest_that_it_is_news_of() -> None:
    fn, bag, report, close, _ = combining(holds=True)
    forever = GlobalWindow()
    for value, at in ((1, 50), (2, 5), (4, 20)):
        fn.process(("k", value), forever, Timestamp(at), bag, report, close)
    [first] = fn.tell("k", forever, bag)
    assert (first.value, first.timestamp) == (("k", 7), Timestamp(5))
    # The timers of the other times find nothing new.
    assert list(fn.tell("k", forever, bag)) == []
    for value, at in ((8, 40), (16, 30)):
        fn.process(("k", value), forever, Timestamp(at), bag, report, close)
    [second] = fn.tell("k", forever, bag)
    assert (second.value, second.timestamp) == (("k", 31), Timestamp(30))


def test_other_reports_have_the_time_of_the_end_of_their_window() -> None:
    for holds in (False, True):
        fn, bag, report, close, forget = combining(holds=holds)
        fn.process(("k", 1), WINDOW, Timestamp(5), bag, report, close)
        [early] = fn.tell("k", WINDOW, bag)
        assert early.timestamp == (Timestamp(5) if holds else close.at[""])
        # All was told before; that the window is over is said as it closes, within the window.
        [closed] = fn.end("k", WINDOW, bag, forget)
        assert closed.value == ("k", 1)
        assert closed.timestamp == close.at[""] < WINDOW.max_timestamp()
