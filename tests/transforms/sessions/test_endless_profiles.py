"""Profiles that grow while events still come, many accounts at once; no runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from apache_beam.transforms.window import FixedWindows, IntervalWindow, WindowFn

from tests.support.events import START_MS, random_events
from tests.support.profiles import profiles_of
from tests.support.state import Bag, Timer
from transforms.coverage.fold import fold_together
from transforms.coverage.sketch import encode
from transforms.ingest.batch import Events
from transforms.sessions import sketch_log
from transforms.sessions.endless_profiles import IntoProfileShardsFn, MergeProfilesFn
from transforms.sessions.transforms import PANES

MINUTE, DAY = 60_000, 86_400_000
SLICE = 5 * MINUTE
Said = tuple[str, int, str, bytes]


class Stream:
    """Some shards and their state in all windows, by hand; a report is an account, a window, a
    pane and a sketch."""

    def __init__(self, shards: int = 3) -> None:
        self.into = IntoProfileShardsFn(DAY, shards)
        self.fn = MergeProfilesFn(10**12, 60 * MINUTE)
        self.windows = FixedWindows(DAY / 1000)
        self.state: dict[tuple[int, IntervalWindow], tuple[Bag, Bag]] = {}
        self.timers = Timer(), Timer(), Timer()

    def add(self, events: Events) -> None:
        for one in self.into.process(fold_together(events, SLICE)):
            at = WindowFn.AssignContext(one.timestamp)
            [window] = self.windows.assign(at)
            news, _ = self.state.setdefault((one.value[0], window), (Bag(), Bag()))
            self.fn.process(one.value, window, one.timestamp, news, *self.timers[:2])

    def _all(self, call: Callable[..., Any], *more: Any) -> list[Said]:
        said = []
        for (_, window), bags in self.state.items():
            for one in call(window, *bags, *more):
                names, stack = one.value
                pane = PANES[one.pane_info.timing]
                start = int(window.start) * 1000 // DAY
                said += [
                    (name, start, pane, encode(sketch))
                    for name, sketch in zip(names, stack.sketches(), strict=True)
                ]
        return said

    def tell(self) -> list[Said]:
        return self._all(self.fn.tell)

    def end(self) -> list[Said]:
        return self._all(self.fn.end, self.timers[2])

    def forget(self) -> list[Said]:
        return self._all(self.fn.forget)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at_once", [1_000, 2])
def test_profiles_are_all_that_accounts_did_however_it_comes_and_whenever_one_looks(
    seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MergeProfilesFn, "_AT_ONCE", at_once)
    monkeypatch.setattr(sketch_log, "_SLACK", 2)  # so that it is written anew often
    events = random_events(300, seed, accounts=12, span_ms=3 * DAY)
    wanted = profiles_of(events, DAY, SLICE)
    dice = np.random.default_rng(seed)
    order = dice.permutation(len(events))
    stream, newest = Stream(), {}
    for part in np.array_split(order, 25):
        stream.add(events.take(part))
        said = stream.tell() if dice.random() < 0.4 else []
        newest |= {(name, window): data for name, window, _, data in said}
        assert {pane for _, _, pane, _ in said} <= {"early"}
    closing = stream.end()
    assert {(name, window): data for name, window, _, data in closing} == wanted
    assert {pane for _, _, pane, _ in closing} == {"on_time"}
    assert newest.keys() <= wanted.keys()
    assert stream.end() == stream.tell() == []
    assert stream.forget() == []
    assert not any(bag.held for bags in stream.state.values() for bag in bags)


def test_nothing_comes_later_than_its_window_closes() -> None:
    events = random_events(3, 1, accounts=1)
    end = (START_MS // DAY + 1) * DAY
    for before_ms, back_ms in ((1, 17), (16, 17), (17, 17), (500, 500)):
        late = replace(events, time_ms=np.full(3, end - before_ms))
        [one] = IntoProfileShardsFn(DAY, 1).process(fold_together(late, SLICE))
        assert one.timestamp.micros == (end - back_ms) * 1000


def test_only_what_changed_is_reported_and_late_once_the_window_was_closed() -> None:
    events = random_events(40, 1, accounts=5, span_ms=2 * 60 * MINUTE)
    events = replace(events, time_ms=events.time_ms - START_MS % DAY)  # all on one day
    one = events.take(np.flatnonzero(events.account == events.account[0])[:1])
    stream = Stream()
    stream.add(events)
    assert len(stream.tell()) == 5
    stream.add(one)
    assert [(name, pane) for name, _, pane, _ in stream.tell()] == [(one.account[0], "early")]
    assert len(stream.end()) == 5
    stream.add(one)
    other = replace(one, account=np.array(["new"], object))
    stream.add(other)
    # Who is new to a window that has closed is told of as it closes for them.
    assert [(name, pane) for name, _, pane, _ in stream.end()] == [("new", "on_time")]
    # What is late waits for its tick.
    assert [(name, pane) for name, _, pane, _ in stream.tell()] == [(one.account[0], "late")]
    stream.add(one)
    assert [(name, pane) for name, _, pane, _ in stream.forget()] == [(one.account[0], "late")]
