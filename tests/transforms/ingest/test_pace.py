"""How fast a watermark passes the ends of windows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.ingest.pace import Pace, PacedWatermark

HOUR = 3_600_000
PACE = Pace(window_ms=24 * HOUR, lateness_ms=HOUR, settle_ms=70_000)
DAY = PACE.window_ms


def seen(paced: PacedWatermark, *hours: float) -> None:
    paced.saw(np.array([int(h * HOUR) for h in hours], np.int64))


def test_a_watermark_that_goes_with_the_clock_is_not_held_up() -> None:
    paced = PacedWatermark(PACE, None, (), 0)
    for second in range(0, 100_000, 10):
        paced.saw(np.array([second * 1000], np.int64))
        assert paced.advance(second * 1000, second * 1000) == second * 1000


def test_one_that_jumps_waits_at_each_window_that_has_events() -> None:
    paced = PacedWatermark(PACE, None, (), 0)
    seen(paced, 1, 30, 100)
    assert paced.advance(101 * HOUR, 0) == 25 * HOUR
    assert paced.advance(101 * HOUR, 69_999) == 25 * HOUR
    assert paced.advance(101 * HOUR, 70_000) == 49 * HOUR
    # The days without events are passed at once.
    assert paced.advance(101 * HOUR, 140_000) == 101 * HOUR


def test_late_events_of_a_window_that_has_settled_hold_nothing_up() -> None:
    paced = PacedWatermark(PACE, None, (), 0)
    seen(paced, 1)
    paced.advance(25 * HOUR, 0)
    paced.advance(25 * HOUR, 70_000)
    seen(paced, 23)
    assert paced.advance(30 * HOUR, 70_500) == 30 * HOUR


def test_events_that_claim_to_be_of_the_future_hold_nothing_up() -> None:
    paced = PacedWatermark(PACE, None, (), 0)
    seen(paced, 1, 24 * 20_000)
    assert paced.advance(2 * HOUR, 0) == 2 * HOUR


def test_a_new_worker_takes_for_unsettled_what_may_be() -> None:
    paced = PacedWatermark(PACE, 25 * HOUR, (75 * HOUR, 30 * HOUR), 0)
    assert paced.advance(200 * HOUR, 0) == 25 * HOUR  # of the first day, which may still be known
    assert paced.advance(200 * HOUR, 70_000) == 49 * HOUR
    assert paced.advance(200 * HOUR, 140_000) == 73 * HOUR
    assert paced.advance(200 * HOUR, 210_000) == 97 * HOUR
    assert paced.advance(200 * HOUR, 280_000) == 200 * HOUR


def test_a_new_worker_is_not_held_up_by_each_day_until_the_far_future() -> None:
    paced = PacedWatermark(PACE, 10 * HOUR, (DAY * 1_000_000,), 0)
    found, clock = 0, 0
    while found < DAY * 1_000_000 and clock < 2_000:
        found = paced.advance(DAY * 1_000_001, clock * PACE.settle_ms)
        clock += 1
    assert clock < 1_010


@given(
    st.integers(0, 3),
    st.lists(
        st.tuples(st.lists(st.integers(0, 100), max_size=4), st.integers(0, 60), st.integers(0, 9)),
        max_size=30,
    ),
)
def test_no_window_is_given_up_before_it_has_settled(
    lateness: int, steps: list[tuple[list[int], int, int]]
) -> None:
    pace = Pace(10, lateness, 5)
    paced = PacedWatermark(pace, None, (), 0)
    clock, wanted, before = 0, 0, None
    passed: dict[int, int] = {}  # end: clock
    ends: set[int] = set()
    for times, further, passes in steps:
        on_time = [t for t in times if before is None or t >= before]
        paced.saw(np.array(on_time, np.int64))
        ends |= {pace.end_of(t) for t in on_time}
        wanted, clock = wanted + further, clock + passes
        at = paced.advance(wanted, clock)
        assert before is None or at >= before
        assert at <= max(wanted, before or 0)
        for end in ends:
            if at >= end:
                passed.setdefault(end, clock)
            if at > end + lateness:
                assert clock >= passed[end] + pace.settle_ms
        before = at
    for _ in range(200):
        clock += 1_000
        before = paced.advance(10_000, clock)
    assert before == 10_000
