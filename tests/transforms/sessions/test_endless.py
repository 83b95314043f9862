"""Sessions that are cut while events still come; no runner."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS, random_events
from transforms.coverage.fold import fold
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.ingest.batch import Events
from transforms.sessions.endless import Piece, Report, next_tick, settle

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
