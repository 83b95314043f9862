"""Parts of a history: profiles by window, and its two halves, whatever the order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import random_events
from tests.support.sketches import sketch_of
from transforms.coverage.fold import fold
from transforms.coverage.layout import DAY_MS
from transforms.coverage.sketch import encode, merge
from transforms.ingest.batch import Events
from transforms.scoring.history import (
    Part,
    accounts_at_once,
    middle_ms,
    part_ms,
    profiles,
    two_parts,
    whole,
)


def parts_of(events: Events, length: int = DAY_MS) -> list[Part]:
    found: dict[int, list] = {}
    for partial in fold(events, length):
        found.setdefault(partial.sketch.first_ms // length * length, []).append(partial.sketch)
    merged = {start: merge(several) for start, several in found.items()}
    return [Part("a", start, sketch.events, encode(sketch)) for start, sketch in merged.items()]


def one_account(n: int, seed: int, days: int = 12) -> Events:
    return random_events(n, seed, accounts=1, span_ms=days * DAY_MS)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 120), st.integers(0, 1_000), st.sampled_from([1, 2, 5, 28]))
def test_profiles_of_parts_are_those_of_the_events(n: int, seed: int, days: int) -> None:
    events, window_ms = one_account(n, seed), days * DAY_MS
    parts = parts_of(events)
    order = np.random.default_rng(seed).permutation(len(parts))
    found = profiles([parts[i] for i in order], window_ms)
    windows = events.time_ms // window_ms
    expected = [sketch_of(events.take(windows == w)) for w in np.unique(windows)]
    assert [encode(s) for s in found] == [encode(s) for s in expected]
    assert encode(whole(parts)) == encode(sketch_of(events))


def test_the_middle_divides_the_requests_most_evenly() -> None:
    def part(day: int, events: int) -> Part:
        return Part("a", day * DAY_MS, events, b"")

    assert middle_ms([part(0, 10), part(1, 10), part(2, 10), part(3, 10)]) == 2 * DAY_MS
    assert middle_ms([part(3, 1), part(0, 1), part(9, 100)]) == 9 * DAY_MS
    assert middle_ms([part(0, 100), part(1, 1), part(1, 1)]) == DAY_MS
    assert middle_ms([part(4, 5), part(4, 5)]) is None
    assert middle_ms([]) is None


def test_an_account_is_divided_only_when_both_sides_say_something() -> None:
    events = one_account(200, 3)
    parts = parts_of(events)
    middle = middle_ms(parts)
    assert middle is not None
    both = two_parts(parts, middle, 5)
    assert both is not None
    assert encode(both.earlier) == encode(sketch_of(events.take(events.time_ms < middle)))
    assert encode(both.later) == encode(sketch_of(events.take(events.time_ms >= middle)))
    assert two_parts(parts, min(p.start_ms for p in parts), 5) is None
    assert two_parts(parts, middle, 1_000) is None


def test_a_window_that_is_no_number_of_days_is_one_part() -> None:
    assert part_ms(28 * DAY_MS, DAY_MS // 4) == DAY_MS
    assert part_ms(DAY_MS // 4, DAY_MS // 4) == DAY_MS // 4
    # A session of two days lies in one part.
    assert part_ms(28 * DAY_MS, 2 * DAY_MS) == 2 * DAY_MS
    assert part_ms(27 * DAY_MS, 2 * DAY_MS) == 27 * DAY_MS


def test_a_windows_accounts_are_those_that_it_has_at_once() -> None:
    def seen(account: str, *days: int) -> list[Part]:
        return [Part(account, day * DAY_MS, 1, b"") for day in days]

    accounts = [seen("a", 0, 1, 27, 28), seen("b", 3), seen("c", 30), seen("d", 40, 55)]
    assert accounts_at_once(accounts, 28 * DAY_MS) == 3
    assert accounts_at_once([], 28 * DAY_MS) == 0
