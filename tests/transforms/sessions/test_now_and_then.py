"""Windows that are reported now and then, many keys at once; no runner."""

from __future__ import annotations

import random
from typing import Any

import pytest
from apache_beam import CombineFn
from apache_beam.transforms.window import GlobalWindow, IntervalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfoTiming, WindowedValue

from tests.support.state import Bag, Timer
from transforms.sessions import now_and_then
from transforms.sessions.now_and_then import _CombineFn, _IntoShardsFn, next_tick
from transforms.sessions.shard_log import unpack

NEVER_MS = 10**12  # till the next tick of the clock
WINDOW, FOREVER = IntervalWindow(0, 60), GlobalWindow()
EARLY, ON_TIME, LATE = PaneInfoTiming.EARLY, PaneInfoTiming.ON_TIME, PaneInfoTiming.LATE


class Shard:
    """A shard and its state in one window, by hand."""

    def __init__(
        self, at: Any = WINDOW, order: int = 0, holds: bool = False, combine: Any = sum
    ) -> None:
        self.at = at
        combine = CombineFn.from_callable(combine)
        self.into = _IntoShardsFn(combine, order, 1)
        self.fn = _CombineFn(combine, NEVER_MS, 10_000, order, holds)
        self.news, self.kept = Bag(), Bag()
        self.report, self.close, self.to_forget = Timer(), Timer(), Timer()

    def add(self, *elements: tuple[str | int, int, float]) -> None:
        """Keys, values and times, which come in one bundle."""
        self.into.start_bundle()
        for name, value, at in elements:
            assert not list(self.into.process((name, value), self.at, Timestamp(at)))
        for one in self.into.finish_bundle():
            assert one.windows == (self.at,)
            self.fn.process(one.value, self.at, one.timestamp, self.news, self.report, self.close)

    def tell(self) -> list[WindowedValue]:
        return list(self.fn.tell(self.at, self.news, self.kept))

    def end(self) -> list[WindowedValue]:
        return list(self.fn.end(self.at, self.news, self.kept, self.to_forget))

    def forget(self) -> list[WindowedValue]:
        return list(self.fn.forget(self.at, self.news, self.kept))


def said(reports: list[WindowedValue]) -> list[tuple[Any, int]]:
    return [(*one.value, one.pane_info.timing) for one in reports]


def test_ticks_are_whole_multiples_of_the_period() -> None:
    assert next_tick(3_000, 10.0).micros == 12_000_000
    assert next_tick(3_000, 11.999).micros == 12_000_000
    assert next_tick(3_000, 12.0).micros == 15_000_000


def test_only_what_changed_is_reported_and_all_of_it() -> None:
    shard = Shard()
    shard.add(("a", 1, 5), ("b", 2, 6), ("a", 4, 7), (0, 8, 8))
    assert said(shard.tell()) == [("a", 5, EARLY), ("b", 2, EARLY), (0, 8, EARLY)]
    assert shard.tell() == []
    shard.add(("b", 16, 9))
    assert said(shard.tell()) == [("b", 18, EARLY)]


def test_what_is_new_comes_after_what_was_reported() -> None:
    shard = Shard(combine=lambda values: [*values][-1])
    shard.add(("k", 1, 5), ("k", 2, 5))
    assert said(shard.tell()) == [("k", 2, EARLY)]
    shard.add(("k", 3, 5))
    shard.add(("k", 4, 5))
    assert said(shard.tell()) == [("k", 4, EARLY)]
    shard.add(("k", 5, 5))
    assert said(shard.end()) == [("k", 5, ON_TIME)]


def test_all_keys_close_with_the_window_each_once() -> None:
    shard = Shard()
    shard.add(("a", 1, 5), ("b", 2, 6))
    shard.tell()
    shard.add(("c", 4, 7), ("a", 8, 8))
    assert sorted(said(shard.end())) == [("a", 9, ON_TIME), ("b", 2, ON_TIME), ("c", 4, ON_TIME)]
    # A key that is late for the closing has one of its own; the others are late.
    shard.add(("d", 1, 9), ("a", 16, 9))
    assert shard.close.at[""] == Timestamp(micros=59_984_000)
    assert said(shard.end()) == [("d", 1, ON_TIME)]
    assert shard.end() == []
    # What is late waits for its tick.
    assert said(shard.tell()) == [("a", 25, LATE)]
    assert shard.end() == shard.tell() == []


def test_a_window_is_not_forgotten_before_it_was_told_of() -> None:
    shard = Shard()
    shard.add(("k", 1, 5))
    assert said(shard.end()) == [("k", 1, ON_TIME)]
    # Later than the window's end, and the clock has not come to the next report.
    shard.add(("k", 2, 59))
    assert said(shard.forget()) == [("k", 3, LATE)]
    assert shard.news.held == shard.kept.held == []
    assert shard.forget() == []


def test_steps_that_follow_each_other_close_one_after_the_other() -> None:
    closes, forgets = [], []
    for order in range(3):
        shard = Shard(order=order)
        shard.add(("k", 1, 59.999))
        [closed] = shard.end()
        closes += shard.close.at.values()
        forgets += shard.to_forget.at.values()
        assert [closed.timestamp] == closes[-1:]
    assert [c.micros for c in closes] == [59_984_000, 59_985_000, 59_986_000]
    assert [f.micros for f in forgets] == [70_000_000, 70_001_000, 70_002_000]


@pytest.mark.parametrize(("at", "time"), [(WINDOW, 59_983_000), (FOREVER, 59_999_000)])
def test_nothing_comes_later_than_the_closing_of_its_window(at: Any, time: int) -> None:
    into = Shard(at).into
    into.start_bundle()
    list(into.process(("k", 1), at, Timestamp(59.999)))
    [one] = into.finish_bundle()
    assert one.timestamp.micros == time


@pytest.mark.parametrize("limit", ["_MOST", "_FULL"])
def test_a_bundle_that_brings_much_is_handed_on_before_its_end(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    into = Shard().into
    monkeypatch.setattr(into, limit, 15)
    into.start_bundle()
    passed = [one for n in range(40) for one in into.process((f"k{n}", n), WINDOW, Timestamp(n))]
    assert (limit == "_MOST") == bool(passed)
    passed += into.finish_bundle()
    assert len(passed) > 2
    names = [name for one in passed for name, _ in unpack(one.value[1])]
    assert sorted(names) == sorted(f"k{n}" for n in range(40))
    assert not list(into.finish_bundle())


def test_what_a_bundle_brings_of_a_key_is_one_entry() -> None:
    shard = Shard()
    shard.add(("a", 1, 5), ("b", 2, 4), ("a", 4, 3))
    [piece] = shard.news.read()
    assert len(list(unpack(piece))) == 2
    assert said(shard.tell()) == [("a", 5, EARLY), ("b", 2, EARLY)]


def test_a_tick_that_is_due_does_not_make_place_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for holds in (False, True):
        shard = Shard(holds=holds)
        monkeypatch.setattr(now_and_then.time, "time", lambda: 10.0)
        shard.add(("k", 1, 5))
        monkeypatch.setattr(now_and_then.time, "time", lambda: 10.0 + NEVER_MS / 1000)
        shard.add(("k", 1, 5))
        assert len(shard.report.at) == 2


def test_what_goes_back_in_time_is_held_for_by_every_element() -> None:
    for holds, timers in ((False, 1), (True, 2)):
        shard = Shard(FOREVER, holds=holds)
        shard.add(("k", 1, 50))
        shard.add(("k", 1, 5), ("x", 1, 20))
        assert len(shard.report.at) == timers
        assert not shard.close.at


def test_a_report_that_holds_has_the_time_of_the_oldest_that_it_is_news_of() -> None:
    shard = Shard(FOREVER, holds=True)
    shard.add(("k", 1, 50), ("x", 1, 7))
    shard.add(("k", 2, 5), ("k", 4, 20))
    first, other = shard.tell()
    assert (first.value, first.timestamp) == (("k", 7), Timestamp(5))
    assert (other.value, other.timestamp) == (("x", 1), Timestamp(7))
    # The timers of the other times find nothing new.
    assert shard.tell() == []
    shard.add(("k", 8, 40), ("k", 16, 30))
    [second] = shard.tell()
    assert (second.value, second.timestamp) == (("k", 31), Timestamp(30))


def test_other_reports_have_the_time_of_the_end_of_their_window() -> None:
    for holds in (False, True):
        shard = Shard(holds=holds)
        shard.add(("k", 1, 5))
        [early] = shard.tell()
        assert early.timestamp == (Timestamp(5) if holds else shard.close.at[""])
        # All was told before; that the window is over is said as it closes, within the window.
        [closed] = shard.end()
        assert said([closed]) == [("k", 1, ON_TIME)]
        assert closed.timestamp == shard.close.at[""] < WINDOW.max_timestamp()


@pytest.mark.parametrize("seed", range(5))
def test_the_last_reports_have_everything_however_it_came(seed: int) -> None:
    dice = random.Random(seed)
    elements = [(f"k{dice.randrange(20)}", 1 << dice.randrange(9), 5.0) for _ in range(300)]
    wanted: dict[str, int] = {}
    for name, value, _ in elements:
        wanted[name] = wanted.get(name, 0) + value
    shard, newest, closings = Shard(), {}, 0
    while elements:
        bundle = [elements.pop() for _ in range(min(len(elements), dice.randrange(1, 30)))]
        shard.add(*bundle)
        reports = (
            shard.tell() if dice.random() < 0.6 else shard.end() if dice.random() < 0.2 else []
        )
        newest |= {one.value[0]: one.value[1] for one in reports}
        closings += sum(one.pane_info.timing == ON_TIME for one in reports)
    last = [*shard.end(), *shard.tell()]
    newest |= {one.value[0]: one.value[1] for one in last}
    assert newest == wanted
    assert closings + sum(one.pane_info.timing == ON_TIME for one in last) == len(wanted)
