"""From batches of events to sessions, one sketch each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.transforms import trigger, window
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming, WindowedValue

from transforms.coverage.combine import MergeSketches
from transforms.coverage.fold import Folded, Partial, fold, fold_stretches, fold_together
from transforms.coverage.sketch import CoverageSketch, empty
from transforms.ingest.batch import Events
from transforms.sessions.endless import IntoSessionShardsFn, OpenSessions, Reported
from transforms.sessions.endless_profiles import IntoProfileShardsFn, MergeProfilesFn
from transforms.sessions.identity import SessionKey, session_id
from transforms.sessions.now_and_then import stream_windows
from transforms.sessions.shard_log import SHARDS
from transforms.sessions.sharding import Shard
from transforms.sessions.shards import (
    Named,
    cut,
    keyed,
    merge_accounts,
    pack,
    pack_accounts,
    window_of,
)

PANES = {
    PaneInfoTiming.EARLY: "early",
    PaneInfoTiming.ON_TIME: "on_time",
    PaneInfoTiming.LATE: "late",
    PaneInfoTiming.UNKNOWN: "on_time",
}


_THE_END = window.GlobalWindow().max_timestamp()


class Session(NamedTuple):
    """A session as one pane of its window saw it.

    Attributes:
      kind, key: ACCOUNT or PAYMENT, and whose.
      session_id: see `identity.session_id`.
      start_ms, end_ms: times of its first and last event.
      pane: early, on_time or late.
      sketch: of all its events so far.
    """

    kind: str
    key: str
    session_id: str
    start_ms: int
    end_ms: int
    pane: str
    sketch: CoverageSketch


@dataclass(frozen=True)
class SessionOptions:
    """How sessions are cut, all in milliseconds.

    Attributes:
      gap_ms: a pause this long ends a session.
      max_length_ms: aligned blocks of this length end one that never pauses.
      slice_ms: events are folded in slices of this length; at most the gap, divides max_length_ms.
      early_firing_ms: how often an open session is reported, in processing time; 0: never.
      allowed_lateness_ms: how far behind the watermark an event still counts.
      shards: that a stream spreads keys over; part of a running job's state.
    """

    gap_ms: int
    max_length_ms: int
    slice_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    shards: int = SHARDS


@dataclass(eq=False)
class FoldEvents(beam.PTransform):  # type: ignore[misc]
    """Folds batches of events into partial sketches; their timestamp is that of the first event."""

    options: SessionOptions

    def expand(self, batches: beam.PCollection[Events]) -> beam.PCollection[Partial]:
        return batches | "Fold" >> beam.ParDo(_FoldFn(self.options.slice_ms)).with_output_types(
            Partial
        )


@dataclass(eq=False)
class FoldTogether(beam.PTransform):  # type: ignore[misc]
    """Folds batches of events into partial sketches in columns, for input that ends: nothing after
    it looks at a time of Beam's, and a sketch by itself costs more than what is in it. So they are
    of stretches, and not of slices."""

    options: SessionOptions

    def expand(self, batches: beam.PCollection[Events]) -> beam.PCollection[Folded]:
        return batches | "Fold" >> beam.ParDo(_FoldTogetherFn(self.options)).with_output_types(
            Folded
        )


@dataclass(eq=False)
class FoldSlices(beam.PTransform):  # type: ignore[misc]
    """`FoldEvents` in columns, for a stream; their timestamp is that of the first event of all."""

    options: SessionOptions

    def expand(self, batches: beam.PCollection[Events]) -> beam.PCollection[Folded]:
        return batches | "Fold" >> beam.ParDo(_FoldSlicesFn(self.options)).with_output_types(Folded)


class _Gather(beam.DoFn):  # type: ignore[misc]
    """Gathers what a bundle brings, so that keys meet before the shuffle, up to `_FULL` events."""

    _FULL = 50_000

    def start_bundle(self) -> None:
        self._waiting: list[Events] = []
        self._count = 0

    def _add(self, batch: Events) -> Events | None:
        """What has been gathered when there is enough of it."""
        self._waiting.append(batch)
        self._count += len(batch)
        return self._all() if self._count >= self._FULL else None

    def _all(self) -> Events | None:
        waiting, self._waiting, self._count = self._waiting, [], 0
        events = Events.concat(waiting) if waiting else None
        return events if events is not None and len(events) else None


class _FoldFn(_Gather):
    def __init__(self, slice_ms: int) -> None:
        self._slice_ms = slice_ms

    def process(self, batch: Events) -> Iterator[Any]:
        for partial in self._fold(self._add(batch)):
            yield window.TimestampedValue(partial, at_ms(partial.sketch.first_ms))

    def finish_bundle(self) -> Iterator[Any]:
        for partial in self._fold(self._all()):
            yield WindowedValue(partial, at_ms(partial.sketch.first_ms), (window.GlobalWindow(),))

    def _fold(self, events: Events | None) -> Iterator[Partial]:
        if events is not None:
            yield from fold(events, self._slice_ms)


class _FoldTogetherFn(_Gather):
    def __init__(self, options: SessionOptions) -> None:
        self._options = options

    def process(self, batch: Events) -> Iterator[Any]:
        events = self._add(batch)
        if events is not None:
            yield self._folded(events)

    def finish_bundle(self) -> Iterator[Any]:
        events = self._all()
        if events is not None:
            yield self._folded(events)

    def _folded(self, events: Events) -> WindowedValue:
        options = self._options
        folded = fold_stretches(events, options.gap_ms, options.max_length_ms)
        return WindowedValue(folded, _THE_END, (window.GlobalWindow(),))


class _FoldSlicesFn(_FoldTogetherFn):
    def _folded(self, events: Events) -> WindowedValue:
        folded = fold_together(events, self._options.slice_ms)
        first = at_ms(int(folded.stack.first_ms.min()))
        return WindowedValue(folded, first, (window.GlobalWindow(),))


@dataclass(eq=False)
class Sessionize(beam.PTransform):  # type: ignore[misc]
    """Merges partial sketches into sessions by account and by payment fingerprint.

    A slice's events all belong to one session because the slice is no longer than the gap. Its
    sketch enters at its first event; an empty one at its last event makes the window reach as far
    as that event's would. So Beam's own session windows, which every engine knows, give exactly the
    sessions that single events would give.

    This is the plain way, which tests hold the two others against; `detect` takes
    `SessionizeBounded`, which costs less, or `SessionizeEndless`, which Prism can run.
    """

    options: SessionOptions

    def expand(self, partials: beam.PCollection[Partial]) -> beam.PCollection[Session]:
        options = self.options
        return (
            partials
            | "KeyByAccountAndPayment"
            >> beam.FlatMap(_keyed, options.max_length_ms).with_output_types(
                tuple[str, CoverageSketch]
            )
            | "SessionWindows"
            >> beam.WindowInto(
                window.Sessions(options.gap_ms / 1000),
                trigger=now_and_then(options.early_firing_ms),
                accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
                allowed_lateness=Duration(micros=options.allowed_lateness_ms * 1000),
            )
            | "MergeSketches" >> beam.CombinePerKey(MergeSketches())
            | "FreezeIdentity" >> beam.ParDo(_FreezeFn()).with_output_types(Session)
            # Session windows would merge again, across keys, at the next grouping.
            | "LeaveSessionWindows" >> beam.WindowInto(window.GlobalWindows())
        )


@dataclass(eq=False)
class SessionizeBounded(beam.PTransform):  # type: ignore[misc]
    """The sessions of `Sessionize` for input that ends, at a fraction of its cost.

    When everything is there, sessions need no windows: the slices of a key are sorted and cut where
    they pause. Many keys travel and are cut together, and stay together: see `shards`, and
    `each_session` for whoever wants them one by one.
    """

    options: SessionOptions

    def expand(self, folded: beam.PCollection[Folded]) -> beam.PCollection[Named]:
        options = self.options
        return (
            folded
            | "KeyByAccountAndPayment"
            >> beam.FlatMap(pack, options.max_length_ms).with_output_types(tuple[int, bytes])
            | "SlicesOfShard" >> beam.GroupByKey()
            | "CutAtPauses" >> beam.Map(_cut, options.gap_ms).with_output_types(Named)
        )


def _cut(element: tuple[int, Iterable[bytes]], gap_ms: int) -> Named:
    return cut(element[1], gap_ms)


def each_session(sessions: Named) -> Iterator[Session]:
    """The sessions of `SessionizeBounded`, one by one."""
    for name, sketch in zip(sessions.names, sessions.stack.sketches(), strict=True):
        kind, _, key = SessionKey.decode(name)
        first_ms, last_ms = sketch.first_ms, sketch.last_ms
        identity = session_id(kind, key, first_ms)
        yield Session(kind, key, identity, first_ms, last_ms, "on_time", sketch)


@dataclass(eq=False)
class SessionizeEndless(beam.PTransform):  # type: ignore[misc]
    """The sessions of `Sessionize` with state and timers, many together; see `endless`.

    Prism refuses early and late reports on session windows, so a stream's sessions are cut here.

    Attributes:
      options: how sessions are cut.
      timeless: for Prism; see `IntoSessionShardsFn`.
    """

    options: SessionOptions
    timeless: bool = False

    def expand(self, folded: beam.PCollection[Folded]) -> beam.PCollection[Reported]:
        options = self.options
        into = IntoSessionShardsFn(options.max_length_ms, options.shards, self.timeless)
        return (
            folded
            | f"Into{options.shards}Shards" >> beam.ParDo(into).with_output_types(Shard)
            | "OpenSessions"
            >> beam.ParDo(
                OpenSessions(
                    options.gap_ms,
                    options.allowed_lateness_ms,
                    options.slice_ms,
                    options.early_firing_ms,
                )
            ).with_output_types(Reported)
        )


def _keyed(partial: Partial, max_length_ms: int) -> Iterator[Any]:
    for key, sketch in keyed([partial], max_length_ms):
        name = key.encode()
        yield window.TimestampedValue((name, sketch), at_ms(sketch.first_ms))
        if sketch.last_ms > sketch.first_ms:
            yield window.TimestampedValue((name, empty()), at_ms(sketch.last_ms))


class _FreezeFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self,
        element: tuple[str, CoverageSketch],
        bounds: Any = beam.DoFn.WindowParam,
        pane: PaneInfo = beam.DoFn.PaneInfoParam,
    ) -> Iterator[Session]:
        name, sketch = element
        # Without events only a slice's end came so far; its events follow in the next pane.
        if sketch.events:
            key = SessionKey.decode(name)
            yield Session(
                key.kind,
                key.key,
                session_id(key.kind, key.key, bounds.start.micros // 1000),
                sketch.first_ms,
                sketch.last_ms,
                PANES[pane.timing],
                sketch,
            )


@dataclass(eq=False)
class ProfileEndless(beam.PTransform):  # type: ignore[misc]
    """Merges partial sketches into one profile per account over a long aligned window, many
    together: what has changed is reported now and then, as `Named`, and all as a window closes.

    Slow campaigns need a longer memory than a session; the profile is the same sketch.

    Attributes:
      window_ms: length of the aligned windows, a multiple of `SessionOptions.max_length_ms`.
      early_firing_ms: how often profiles that changed are reported, in processing time.
      allowed_lateness_ms: how far behind the watermark an event still counts.
      shards: over which accounts are spread; part of a running job's state.
    """

    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    shards: int = SHARDS

    def expand(self, folded: beam.PCollection[Folded]) -> beam.PCollection[Named]:
        into = IntoProfileShardsFn(self.window_ms, self.shards)
        merge = MergeProfilesFn(self.early_firing_ms, self.allowed_lateness_ms)
        return (
            folded
            | f"Into{self.shards}Shards" >> beam.ParDo(into).with_output_types(Shard)
            | "Windows" >> stream_windows(self.window_ms, self.allowed_lateness_ms)
            | "MergeSketches" >> beam.ParDo(merge).with_output_types(Named)
        )


@dataclass(eq=False)
class ProfileBounded(beam.PTransform):  # type: ignore[misc]
    """The profiles of `ProfileEndless` for input that ends, from the sessions of
    `SessionizeBounded`.

    Many accounts travel and are merged together, and stay together: see `each_profile` for whoever
    wants them one by one. A session lies in one window, and is fewer and larger sketches than what
    it was merged from. All of a window's profiles of one number, as `shards` has them, are one
    element.

    Attributes:
      window_ms: length of the aligned windows, a multiple of `SessionOptions.max_length_ms`.
      allowed_lateness_ms: as of `ProfileEndless`; nothing is late here, but what is joined later
        must be in windows that say the same.
    """

    window_ms: int
    allowed_lateness_ms: int

    def expand(self, sessions: beam.PCollection[Named]) -> beam.PCollection[tuple[int, Named]]:
        return (
            sessions
            | "KeyByAccount"
            >> beam.FlatMap(pack_accounts, self.window_ms).with_output_types(tuple[int, bytes])
            | "AccountsOfShard" >> beam.GroupByKey()
            | "MergeSketches"
            >> beam.Map(_profiles, self.window_ms).with_output_types(tuple[int, Named])
            | "Windows"
            >> beam.WindowInto(
                window.FixedWindows(self.window_ms / 1000),
                allowed_lateness=Duration(micros=self.allowed_lateness_ms * 1000),
            )
        )


def _profiles(element: tuple[int, Iterable[bytes]], window_ms: int) -> Any:
    number, shards = element
    last = at_ms((window_of(number) + 1) * window_ms - 1)
    return window.TimestampedValue((number, merge_accounts(shards)), last)


def each_profile(element: tuple[int, Named]) -> Iterator[tuple[str, CoverageSketch]]:
    """The profiles of `ProfileBounded`, one by one."""
    _, profiles = element
    return zip(profiles.names, profiles.stack.sketches(), strict=True)


def now_and_then(early_firing_ms: int) -> trigger.TriggerFn:
    """Reports early as often as asked, at the window's end, and for every late arrival.

    A bounded run asks for no early reports (0): its input is all there before the first window
    closes, and Beam's local runner has no clock for processing time there.
    """
    early = None
    if early_firing_ms > 0:
        # Beam encodes the delay of a trigger as a whole number of seconds.
        early = trigger.AfterProcessingTime(max(1, early_firing_ms // 1000))
    return trigger.AfterWatermark(early=early, late=trigger.AfterCount(1))


def at_ms(ms: int) -> Timestamp:
    """Beam's timestamp of milliseconds UTC, without the rounding of float seconds."""
    return Timestamp(micros=ms * 1000)
