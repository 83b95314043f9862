"""What grows without an end: combined by key, reported now and then, closed by the watermark.

Beam says this with windows and triggers, and Prism, the streaming runner of one machine, cannot
follow: it refuses triggers on session windows, and on other windows it keeps and sends again every
element that a window ever had. So here is the same with state and timers, which all runners know.
State is a bag of pieces that are only ever added to; a report merges them into one.

Reports come at whole multiples of their period by the clock, so that an element sets its timer
without looking whether it is set, and what changed together is reported together.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import coders, typehints
from apache_beam.transforms import userstate, window
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming, WindowedValue

from transforms.coverage.sketch import CoverageSketch, decode, encode, merge

EARLY, ON_TIME, LATE = "early", "on_time", "late"
_TIMINGS = {
    EARLY: PaneInfoTiming.EARLY,
    ON_TIME: PaneInfoTiming.ON_TIME,
    LATE: PaneInfoTiming.LATE,
}
_TOLD, _CLOSED = 1, 2
_STEPS = 16  # that may close a window one after the other
_SPARE_MS = 1_000
_TIME = struct.Struct("<q")  # microseconds


def next_tick(period_ms: int, now_s: float) -> Timestamp:
    """The first multiple of a period that lies ahead of the clock."""
    return Timestamp(micros=(int(now_s * 1000) // period_ms + 1) * period_ms * 1000)


# --- sessions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a session, or a whole one.

    Attributes:
      sketch: of its events.
      told: a report had all of it.
      closed: the watermark has passed its end.
    """

    sketch: CoverageSketch
    told: bool = False
    closed: bool = False


class Report(NamedTuple):
    """What is said of a session: its sketch so far, and early, on_time or late."""

    sketch: CoverageSketch
    pane: str


class Settled(NamedTuple):
    """Results of `settle`: what is to be reported, and what is to be kept."""

    reports: list[Report]
    kept: list[Piece]


def settle(
    pieces: Iterable[Piece], gap_ms: int, lateness_ms: int, watermark_ms: int | None
) -> Settled:
    """Merges the pieces of a key into sessions and says what changed.

    Args:
      pieces: in any order; all of one key.
      gap_ms: a pause this long ends a session.
      lateness_ms: how long a closed session is kept, for events that are late.
      watermark_ms: sessions that ended before are closed; None when that is not known.
    """
    reports, kept = [], []
    for parts in _cut(pieces, gap_ms):
        sketch = parts[0].sketch if len(parts) == 1 else merge([p.sketch for p in parts])
        closed = any(p.closed for p in parts)
        end = sketch.last_ms + gap_ms
        closes = not closed and watermark_ms is not None and end <= watermark_ms
        if closes:
            reports.append(Report(sketch, ON_TIME))
        elif not all(p.told for p in parts):
            reports.append(Report(sketch, LATE if closed else EARLY))
        if watermark_ms is None or end + lateness_ms > watermark_ms:
            kept.append(Piece(sketch, True, closed or closes))
    return Settled(reports, kept)


def _cut(pieces: Iterable[Piece], gap_ms: int) -> Iterator[list[Piece]]:
    waiting: list[Piece] = []
    end_ms = 0
    for piece in sorted(pieces, key=lambda p: p.sketch.first_ms):
        if waiting and piece.sketch.first_ms >= end_ms + gap_ms:
            yield waiting
            waiting, end_ms = [], 0
        waiting.append(piece)
        end_ms = max(end_ms, piece.sketch.last_ms)
    if waiting:
        yield waiting


@dataclass(eq=False)
class OpenSessions(beam.DoFn):  # type: ignore[misc]
    """From (key, encoded sketch) to (key, report); see `settle`.

    Attributes:
      gap_ms, lateness_ms: as of `settle`.
      slice_ms: sessions are closed up to this much late, so that a key has few timers.
      period_ms: of reports, by the clock.
    """

    gap_ms: int
    lateness_ms: int
    slice_ms: int
    period_ms: int

    PIECES = userstate.BagStateSpec("pieces", coders.BytesCoder())
    REPORT = userstate.TimerSpec("report", TimeDomain.REAL_TIME)
    CLOSE = userstate.TimerSpec("close", TimeDomain.WATERMARK)

    def process(
        self,
        element: tuple[str, bytes],
        pieces: Any = beam.DoFn.StateParam(PIECES),
        report: Any = beam.DoFn.TimerParam(REPORT),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> None:
        _, data = element
        pieces.add(b"\0" + data)
        report.set(next_tick(self.period_ms, time.time()))
        self._close_after(decode(data), close)

    def _close_after(self, sketch: CoverageSketch, close: Any) -> None:
        """One timer for each slice, by its tag: a session's end moves on with its events."""
        at = -(-(sketch.last_ms + self.gap_ms) // self.slice_ms) * self.slice_ms
        close.set(Timestamp(micros=at * 1000), dynamic_timer_tag=str(at))

    @userstate.on_timer(REPORT)  # type: ignore[untyped-decorator]
    def tell(
        self, key: Any = beam.DoFn.KeyParam, pieces: Any = beam.DoFn.StateParam(PIECES)
    ) -> Iterator[Any]:
        yield from self._settle(key, pieces, None)

    @userstate.on_timer(CLOSE)  # type: ignore[untyped-decorator]
    def end(
        self,
        key: Any = beam.DoFn.KeyParam,
        at: Any = beam.DoFn.TimestampParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> Iterator[Any]:
        now_ms = at.micros // 1000
        kept = yield from self._settle(key, pieces, now_ms)
        forget = [p.sketch.last_ms + self.gap_ms + self.lateness_ms for p in kept if p.closed]
        if forget:
            # The first to be forgotten; that timer sets the next.
            due = max(min(forget), now_ms + 1)
            close.set(Timestamp(micros=due * 1000), dynamic_timer_tag="forget")

    def _settle(self, key: str, pieces: Any, watermark_ms: int | None) -> Any:
        found = [
            Piece(decode(blob[1:]), bool(blob[0] & _TOLD), bool(blob[0] & _CLOSED))
            for blob in pieces.read()
        ]
        if not found:
            return []
        settled = settle(found, self.gap_ms, self.lateness_ms, watermark_ms)
        pieces.clear()
        for p in settled.kept:
            pieces.add(bytes([_TOLD * p.told | _CLOSED * p.closed]) + encode(p.sketch))
        for said in settled.reports:
            yield key, said
        return settled.kept


# --- aligned windows ------------------------------------------------------------------------------


@dataclass(eq=False)
class CombineNowAndThen(beam.PTransform):  # type: ignore[misc]
    """Combines by key in aligned windows, and reports early what a window has so far.

    Attributes:
      combine: a CombineFn.
      window_ms: length of the windows; 0 for one that never ends.
      early_firing_ms: how often a key that changed is reported, by the clock; 0: never, for input
        that ends, where Beam's own combining does the same for less.
      allowed_lateness_ms: how far behind the watermark an element still counts.
      key: type of the keys.
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
    """

    combine: beam.CombineFn
    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    key: type = str
    order: int = 0
    holds: bool = False

    def expand(self, keyed: beam.PCollection[Any]) -> beam.PCollection[Any]:
        spare_ms = _SPARE_MS if self.early_firing_ms else 0
        windowed = keyed | "Windows" >> aligned_windows(
            self.window_ms, self.allowed_lateness_ms + spare_ms
        )
        if not self.early_firing_ms:
            return windowed | "Combine" >> beam.CombinePerKey(self.combine)
        windowed.element_type = typehints.Tuple[self.key, Any]
        if self.window_ms:
            windowed |= "BeforeTheyClose" >> beam.ParDo(_BeforeTheyCloseFn(self.order))
            windowed.element_type = typehints.Tuple[self.key, Any]
        return windowed | "Combine" >> beam.ParDo(
            _CombineFn(
                self.combine,
                self.early_firing_ms,
                self.allowed_lateness_ms,
                self.order,
                self.holds,
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


class _BeforeTheyCloseFn(beam.DoFn):  # type: ignore[misc]
    """Takes what has a later time than the closing of its window back to just before it.

    On Prism elements and timers of a key go in the order of their times: once a window has a timer
    that closes it, what is later than that would wait for it.
    """

    def __init__(self, order: int) -> None:
        self._order = order

    def process(
        self,
        element: Any,
        at: Any = beam.DoFn.WindowParam,
        time_of: Any = beam.DoFn.TimestampParam,
    ) -> Iterator[Any]:
        latest = _closing_time(at, self._order) - Duration(micros=1000)
        yield element if time_of <= latest else window.TimestampedValue(element, latest)


class _CombineFn(beam.DoFn):  # type: ignore[misc]
    PIECES = userstate.BagStateSpec("pieces", coders.BytesCoder())
    REPORT = userstate.TimerSpec("report", TimeDomain.REAL_TIME)
    CLOSE = userstate.TimerSpec("close", TimeDomain.WATERMARK)
    FORGET = userstate.TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(
        self, combine: beam.CombineFn, period_ms: int, lateness_ms: int, order: int, holds: bool
    ) -> None:
        self._combine = combine
        self._coder = combine.get_accumulator_coder()
        self._period_ms = period_ms
        self._lateness_ms = lateness_ms
        self._order = order
        self._holds = holds

    def process(
        self,
        element: tuple[Any, Any],
        at: Any = beam.DoFn.WindowParam,
        time_of: Any = beam.DoFn.TimestampParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
        report: Any = beam.DoFn.TimerParam(REPORT),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> None:
        added = self._combine.add_input(self._combine.create_accumulator(), element[1])
        pieces.add(self._blob(0, time_of.micros, added))
        # A timer by the clock holds the watermark at its element until it fires; one of the same
        # tag takes the place, and the hold, of the one before.
        tag = str(time_of.micros) if self._holds else ""
        report.set(next_tick(self._period_ms, time.time()), dynamic_timer_tag=tag)
        if not isinstance(at, window.GlobalWindow):
            close.set(_closing_time(at, self._order))

    @userstate.on_timer(REPORT)  # type: ignore[untyped-decorator]
    def tell(
        self,
        key: Any = beam.DoFn.KeyParam,
        at: Any = beam.DoFn.WindowParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
    ) -> Iterator[Any]:
        blobs = list(pieces.read())
        if not all(blob[0] & _TOLD for blob in blobs):
            closed = any(blob[0] & _CLOSED for blob in blobs)
            yield self._report(key, at, pieces, blobs, LATE if closed else EARLY)

    @userstate.on_timer(CLOSE)  # type: ignore[untyped-decorator]
    def end(
        self,
        key: Any = beam.DoFn.KeyParam,
        at: Any = beam.DoFn.WindowParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
        forget: Any = beam.DoFn.TimerParam(FORGET),
    ) -> Iterator[Any]:
        blobs = list(pieces.read())
        if blobs and not any(blob[0] & _CLOSED for blob in blobs):
            forget.set(at.end + Duration(micros=(self._lateness_ms + self._order) * 1000))
            yield self._report(key, at, pieces, blobs, ON_TIME)

    @userstate.on_timer(FORGET)  # type: ignore[untyped-decorator]
    def forget(
        self,
        key: Any = beam.DoFn.KeyParam,
        at: Any = beam.DoFn.WindowParam,
        pieces: Any = beam.DoFn.StateParam(PIECES),
    ) -> Iterator[Any]:
        # By the watermark it may be time before the clock has come to the last report.
        yield from self.tell(key, at, pieces)
        pieces.clear()

    def _report(self, key: Any, at: Any, pieces: Any, blobs: list[bytes], pane: str) -> Any:
        head = 1 + _TIME.size * self._holds
        merged = self._combine.merge_accumulators([self._coder.decode(b[head:]) for b in blobs])
        merged = self._combine.compact(merged)
        pieces.clear()
        closed = _CLOSED if pane != EARLY else 0
        # When the window closes here, so that it is never late to whoever closes it next.
        forever = isinstance(at, window.GlobalWindow)
        time_of = at.max_timestamp() if forever else _closing_time(at, self._order)
        if self._holds:
            # On its way to a step with state of its own, it is what holds the watermark there.
            untold = [_TIME.unpack_from(b, 1)[0] for b in blobs if not b[0] & _TOLD]
            time_of = Timestamp(micros=min(untold, default=time_of.micros))
        pieces.add(self._blob(_TOLD | closed, time_of.micros, merged))
        return WindowedValue(
            (key, self._combine.extract_output(merged)),
            time_of,
            (at,),
            PaneInfo(False, False, _TIMINGS[pane], 0, 0),
        )

    def _blob(self, flags: int, micros: int, accumulator: Any) -> bytes:
        stamp = _TIME.pack(micros) if self._holds else b""
        encoded: bytes = self._coder.encode(accumulator)
        return bytes([flags]) + stamp + encoded
