"""Combining by key in aligned windows, reported now and then and closed by the watermark.

Beam says this with windows and triggers, and Prism, the streaming runner of one machine, cannot
follow: it keeps and sends again every element that a window ever had. So here is the same with
state and timers, which all runners know, of many keys at once; see `shard_log`.

Reports come at whole multiples of their period by the clock, so that an element sets its timer
without looking whether it is set, and what changed together is reported together.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam import coders
from apache_beam.transforms import userstate, window
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming, WindowedValue

from transforms.sessions.shard_log import SHARDS, Name, ShardLog, pack, unpack
from transforms.sessions.sharding import IntoShardsFn, Shard

PANE_ORDER = EARLY, ON_TIME, LATE = "early", "on_time", "late"
_TIMINGS = {
    EARLY: PaneInfoTiming.EARLY,
    ON_TIME: PaneInfoTiming.ON_TIME,
    LATE: PaneInfoTiming.LATE,
}
_OPEN, _CLOSED = b"\0", b"\1"
_STEPS = 16  # that may close a window one after the other
_SPARE_MS = 1_000
_TIME = struct.Struct("<q")  # microseconds


def next_tick(period_ms: int, now_s: float) -> Timestamp:
    """The first multiple of a period that lies ahead of the clock."""
    return Timestamp(micros=(int(now_s * 1000) // period_ms + 1) * period_ms * 1000)


@dataclass(eq=False)
class CombineNowAndThen(beam.PTransform):  # type: ignore[misc]
    """Combines by key in aligned windows, and reports early what a window has so far.

    Attributes:
      combine: a CombineFn.
      window_ms: length of the windows; 0 for one that never ends.
      early_firing_ms: how often a key that changed is reported, by the clock; 0: never, for input
        that ends, where Beam's own combining does the same for less.
      allowed_lateness_ms: how far behind the watermark an element still counts.
      order: of such steps that follow each other, 0 for the first, below 16. Each closes its
        windows a millisecond after the one before it: at one and the same time a runner may close
        the later one first, and what the earlier one says then would be late. All close within
        their window, the first of them 16 ms before its end: Prism 2.77 forgets a window's state
        when its end has passed, whatever lateness is allowed, and a timer after the end finds
        nothing. What has a later time than that, as all has that comes from Beam's RunInference,
        is taken back to it.
      holds: whether what follows takes elements back to times before the end of their window, which
        must not be late then. A report has the time of the oldest that it is news of, and not that
        of its window's end.
      shards: over which keys, strings or integers, are spread; part of a running job's state.
    """

    combine: beam.CombineFn
    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    order: int = 0
    holds: bool = False
    shards: int = SHARDS

    def expand(self, keyed: beam.PCollection[tuple[Name, Any]]) -> beam.PCollection[Any]:
        spare_ms = _SPARE_MS if self.early_firing_ms else 0
        windowed = keyed | "Windows" >> aligned_windows(
            self.window_ms, self.allowed_lateness_ms + spare_ms
        )
        if not self.early_firing_ms:
            return windowed | "Combine" >> beam.CombinePerKey(self.combine)
        into = _IntoShardsFn(self.combine, self.order, self.shards)
        return (
            windowed
            | f"Into{self.shards}Shards" >> beam.ParDo(into).with_output_types(Shard)
            | "Combine"
            >> beam.ParDo(
                _CombineFn(
                    self.combine,
                    self.early_firing_ms,
                    self.allowed_lateness_ms,
                    self.order,
                    self.holds,
                )
            )
        )


def stream_windows(window_ms: int, allowed_lateness_ms: int) -> beam.PTransform:
    """The windows of `CombineNowAndThen` in a stream, for what is to be flattened with its input.

    The runner clears the state of a window that has expired, which must not be before we have.
    """
    return aligned_windows(window_ms, allowed_lateness_ms + _SPARE_MS)


def aligned_windows(window_ms: int, allowed_lateness_ms: int) -> beam.PTransform:
    """Windows of a length, or for length 0 the one that never ends."""
    windows = window.FixedWindows(window_ms / 1000) if window_ms else window.GlobalWindows()
    return beam.WindowInto(windows, allowed_lateness=Duration(micros=allowed_lateness_ms * 1000))


def _closing_time(at: window.IntervalWindow, order: int) -> Timestamp:
    """When the step of this order closes the window, and the time of its reports."""
    assert order < _STEPS
    return at.end - Duration(micros=(_STEPS - order) * 1000)


def last_ms_before_closing(end_ms: int, order: int = 0) -> int:
    """The latest time that an element may have whose window ends then.

    On Prism elements and timers of a key go in the order of their times: once a window has a timer
    that closes it, what is later than that would wait for it.
    """
    return end_ms - (_STEPS - order) - 1


def micros_before_closing(at: Any, time_of: Timestamp, order: int) -> int:
    """The time of an element of a window, taken back to before its closing where it is later; see
    `last_ms_before_closing`."""
    if isinstance(at, window.GlobalWindow):
        return int(time_of.micros)
    latest_ms = last_ms_before_closing(at.end.micros // 1000, order)
    return int(min(time_of.micros, latest_ms * 1000))


class _IntoShardsFn(IntoShardsFn):
    """An entry for what a bundle brings of a key. What has a later time than the closing of its
    window is taken back to just before it; see `last_ms_before_closing`."""

    _MOST = 10_000  # elements

    def __init__(self, combine: beam.CombineFn, order: int, shards: int) -> None:
        super().__init__(shards)
        self._combine = combine
        self._coder = combine.get_accumulator_coder()
        self._order = order

    def start_bundle(self) -> None:
        super().start_bundle()
        self._combined: dict[tuple[Any, Name], tuple[Any, int]] = {}
        self._count = 0

    def process(
        self,
        element: tuple[Name, Any],
        at: Any = beam.DoFn.WindowParam,
        time_of: Any = beam.DoFn.TimestampParam,
    ) -> Iterator[WindowedValue]:
        name, value = element
        micros = micros_before_closing(at, time_of, self._order)
        accumulator, earliest = self._combined.get((at, name), (None, micros))
        if accumulator is None:
            accumulator = self._combine.create_accumulator()
        added = self._combine.add_input(accumulator, value)
        self._combined[at, name] = added, min(micros, earliest)
        self._count += 1
        if self._count >= self._MOST:
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        combined, self._combined, self._count = self._combined, {}, 0
        for (at, name), (accumulator, micros) in combined.items():
            self.add(at, micros, name, _TIME.pack(micros) + self._coder.encode(accumulator))
            yield from self.when_full()
        yield from super().finish_bundle()


class NowAndThenFn(beam.DoFn):  # type: ignore[misc]
    """When the windows of a shard are reported: what it is of, and what is said, is up to who
    derives.

    NEWS are elements that no report has had, KEPT is what reports leave there.
    """

    NEWS = userstate.BagStateSpec("news", coders.BytesCoder())
    KEPT = userstate.BagStateSpec("kept", coders.BytesCoder())
    REPORT = userstate.TimerSpec("report", TimeDomain.REAL_TIME)
    CLOSE = userstate.TimerSpec("close", TimeDomain.WATERMARK)
    FORGET = userstate.TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(self, period_ms: int, lateness_ms: int, order: int = 0, holds: bool = False):
        """See `CombineNowAndThen`."""
        self._period_ms = period_ms
        self._lateness_ms = lateness_ms
        self._order = order
        self._holds = holds

    def report(self, at: Any, news: Any, kept: Any, closes: bool) -> Iterator[WindowedValue]:
        """What is to be said of a window; it leaves both bags as they are to be.

        Args:
          at: the window.
          news, kept: bags.
          closes: whether all is said of what has not been closed, or only of what is new.
        """
        raise NotImplementedError

    def process(
        self,
        element: Shard,
        at: Any = beam.DoFn.WindowParam,
        time_of: Any = beam.DoFn.TimestampParam,
        news: Any = beam.DoFn.StateParam(NEWS),
        report: Any = beam.DoFn.TimerParam(REPORT),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> None:
        news.add(element[1])
        # A timer by the clock holds the watermark at its element until it fires; one of the same
        # tag takes the place, and the hold, of the one before, and if that is due, it never fires.
        tick = next_tick(self._period_ms, time.time())
        tag = f"{tick.micros}/{time_of.micros}" if self._holds else str(tick.micros)
        report.set(tick, dynamic_timer_tag=tag)
        if not isinstance(at, window.GlobalWindow):
            close.set(_closing_time(at, self._order))

    @userstate.on_timer(REPORT)  # type: ignore[untyped-decorator]
    def tell(
        self,
        at: Any = beam.DoFn.WindowParam,
        news: Any = beam.DoFn.StateParam(NEWS),
        kept: Any = beam.DoFn.StateParam(KEPT),
    ) -> Iterator[WindowedValue]:
        yield from self.report(at, news, kept, closes=False)

    @userstate.on_timer(CLOSE)  # type: ignore[untyped-decorator]
    def end(
        self,
        at: Any = beam.DoFn.WindowParam,
        news: Any = beam.DoFn.StateParam(NEWS),
        kept: Any = beam.DoFn.StateParam(KEPT),
        forget: Any = beam.DoFn.TimerParam(FORGET),
    ) -> Iterator[WindowedValue]:
        forget.set(at.end + Duration(micros=(self._lateness_ms + self._order) * 1000))
        yield from self.report(at, news, kept, closes=True)

    @userstate.on_timer(FORGET)  # type: ignore[untyped-decorator]
    def forget(
        self,
        at: Any = beam.DoFn.WindowParam,
        news: Any = beam.DoFn.StateParam(NEWS),
        kept: Any = beam.DoFn.StateParam(KEPT),
    ) -> Iterator[WindowedValue]:
        # By the watermark it may be time before the clock has come to the last report.
        yield from self.report(at, news, kept, closes=False)
        kept.clear()

    def said(
        self, what: Any, pane: str, at: Any, time_of: Timestamp | None = None
    ) -> WindowedValue:
        """A report of a window, in its last moment if nothing else is said."""
        if time_of is None:
            # When the window closes here, so that it is never late to whoever closes it next.
            forever = isinstance(at, window.GlobalWindow)
            time_of = at.max_timestamp() if forever else _closing_time(at, self._order)
        return WindowedValue(what, time_of, (at,), PaneInfo(False, False, _TIMINGS[pane], 0, 0))


class _CombineFn(NowAndThenFn):
    """Reports of the keys of a shard.

    NEWS has a time and an accumulator in each entry, KEPT is a log of whether the window had
    closed, and an accumulator.
    """

    def __init__(self, combine: beam.CombineFn, *when: Any) -> None:
        super().__init__(*when)
        self._combine = combine
        self._coder = combine.get_accumulator_coder()

    def report(self, at: Any, news: Any, kept: Any, closes: bool) -> Iterator[WindowedValue]:
        fresh = _by_name(news)
        if not fresh and not closes:
            return
        log = ShardLog(kept)
        late: dict[Name, list[bytes]] = {}
        if closes:
            # What is late waits for its tick.
            late = {n: fresh.pop(n) for n in [*fresh] if log.get(n)[:1] == _CLOSED}
            still_open = (name for name in log if log.get(name)[:1] == _OPEN)
            fresh = {name: fresh.get(name, []) for name in still_open} | fresh
        changed: dict[Name, bytes] = {}
        for name, entries in fresh.items():
            before = log.get(name)
            pane = LATE if before[:1] == _CLOSED else ON_TIME if closes else EARLY
            # What came first is first: of what is equal otherwise, some combiners keep the last.
            parts = [before[1:]] if before else []
            parts += [entry[_TIME.size :] for entry in entries]
            merged = self._combine.merge_accumulators([self._coder.decode(part) for part in parts])
            merged = self._combine.compact(merged)
            changed[name] = (_OPEN if pane == EARLY else _CLOSED) + self._coder.encode(merged)
            time_of = None
            if self._holds and entries:
                # On its way to a step with state of its own, it is what holds the watermark there.
                time_of = Timestamp(micros=min(_TIME.unpack_from(entry)[0] for entry in entries))
            yield self.said((name, self._combine.extract_output(merged)), pane, at, time_of)
        news.clear()
        for piece in pack((name, entry) for name, entries in late.items() for entry in entries):
            news.add(piece)
        log.update(changed)


def _by_name(news: Any) -> dict[Name, list[bytes]]:
    """All entries of a bag, by their names."""
    fresh: dict[Name, list[bytes]] = {}
    for piece in news.read():
        for name, data in unpack(piece):
            fresh.setdefault(name, []).append(data)
    return fresh
