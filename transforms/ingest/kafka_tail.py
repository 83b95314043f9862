"""Reads a topic without an end: a splittable DoFn that reads several partitions as one.

Why several as one: Prism (2.77) keeps one estimated watermark a stage, that of the bundle which
came back last. With a restriction for each partition the fastest one's watermark counts, and what
the others still hold is dropped as late. So one reader has all partitions and reports the minimum.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import apache_beam as beam
import numpy as np
from apache_beam.io.restriction_trackers import RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Duration, Timestamp
from numpy.typing import NDArray

from transforms.ingest.batch import NO_WATERMARK
from transforms.ingest.files import ToElement
from transforms.ingest.kafka_group import asked_to_drain, note_positions
from transforms.ingest.kafka_reader import TopicReader
from transforms.ingest.kafka_uri import KafkaUri
from transforms.ingest.pace import Pace, PacedWatermark

_GATHER_MS = 200
_PARTITIONS_EVERY_MS = 30_000
_STOPPED_MS = 60_000  # a break of more than this is none of a runner between two bundles
_END_MS = MAX_TIMESTAMP.micros // 1000
_T = TypeVar("_T")
_TRACKER = beam.DoFn.RestrictionParam()
_ESTIMATOR = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


def _reads_older(cls: type[_T]) -> type[_T]:
    """A frozen dataclass with slots that savepoints have, also of a version with fewer fields.

    Not a method of the class: Python 3.11.2 puts what it makes itself in the place of one.
    """

    def fill(self: Any, state: list[Any]) -> None:
        for i, field in enumerate(fields(self)):
            value = state[i] if i < len(state) else field.default
            object.__setattr__(self, field.name, value)

    cls.__setstate__ = fill  # type: ignore[attr-defined]
    return cls


@_reads_older
@dataclass(frozen=True, slots=True)
class Partition:
    """How far a partition has been read.

    Attributes:
      number: of the partition.
      next_offset: where to go on.
      newest_ms: latest event time seen; NO_WATERMARK before the first event.
      active_ms: wall clock when it last had something to read.
      idle: it was read to its end, and silent for long enough.
      barren: what it had last was written just now, and no event was in it, as in a partition that
        a broken producer fills: that is silence, too, or nobody's sessions would ever end. Old
        records without events are read past first, since what follows them may be as old.
    """

    number: int
    next_offset: int
    newest_ms: int = NO_WATERMARK
    active_ms: int = 0
    idle: bool = False
    barren: bool = False


@dataclass(frozen=True, slots=True)
class Tail:
    """The restriction of a reader: all that it needs to go on exactly where it stopped.

    Attributes:
      partitions: by number.
      watermark_ms: promised so far; NO_WATERMARK before the first promise.
      seen_ms: wall clock when this was true.
      listed_ms: wall clock when the partitions of the topic were last asked for.
      ended: nothing is left of it, because the rest was given back to the runner.
    """

    partitions: tuple[Partition, ...]
    watermark_ms: int = NO_WATERMARK
    seen_ms: int = 0
    listed_ms: int = 0
    ended: bool = False

    def positions(self) -> dict[int, int]:
        """Offset where each partition goes on."""
        return {p.number: p.next_offset for p in self.partitions}

    def resumed(self, now_ms: int, idle_after_ms: int) -> Tail:
        """As it is when reading goes on.

        Where a job was stopped its producers may have been, too, and come back one after the other:
        nobody counts as idle any more. The second or two that a runner takes between bundles are
        silence like any other (Flink's are longer than a short `idle_after_ms`, and no partition
        would ever be idle), since `looked` asks the broker for what was written meanwhile.
        """
        if now_ms - self.seen_ms < max(idle_after_ms, _STOPPED_MS):
            return self
        fresh = tuple(replace(p, active_ms=now_ms, idle=False) for p in self.partitions)
        return replace(self, partitions=fresh, seen_ms=now_ms)

    def read(
        self,
        number: int,
        next_offset: int,
        times: NDArray[np.int64],
        now_ms: int,
        lag_ms: int,
        just_now: bool = False,
    ) -> Tail:
        """After a batch.

        Args:
          number: of the partition.
          next_offset: behind the batch.
          times: of its events, int64 milliseconds, any number.
          now_ms: wall clock.
          lag_ms: how far events may be out of order.
          just_now: whether its records were written within the silence that makes a partition idle.
        """
        newest = int(times.max()) if len(times) else NO_WATERMARK
        barren = just_now and not len(times)
        return self._with(
            tuple(
                replace(
                    p,
                    next_offset=next_offset,
                    newest_ms=max(p.newest_ms, newest),
                    active_ms=p.active_ms if barren else now_ms,
                    idle=p.idle and barren,
                    barren=barren,
                )
                if p.number == number
                else p
                for p in self.partitions
            ),
            now_ms,
            lag_ms,
        )

    def woken(self, numbers: set[int], now_ms: int) -> Tail:
        """With these partitions no longer idle."""
        partitions = tuple(
            replace(p, active_ms=p.active_ms if p.barren else now_ms, idle=False)
            if p.number in numbers
            else p
            for p in self.partitions
        )
        return replace(self, partitions=partitions)

    def looked(
        self, positions: dict[int, int], unread: set[int], now_ms: int, lag_ms: int, idle_ms: int
    ) -> Tail:
        """After a look at the broker.

        Args:
          positions: where the partitions go on, past gaps in the log.
          unread: partitions that may have something to read.
          now_ms: wall clock.
          lag_ms: how far events may be out of order.
          idle_ms: silence after which a partition is idle.
        """
        partitions = []
        for p in self.partitions:
            active = now_ms if p.number in unread and not p.barren else p.active_ms
            partitions.append(
                replace(
                    p,
                    next_offset=positions.get(p.number, p.next_offset),
                    active_ms=active,
                    idle=now_ms - active >= idle_ms,
                )
            )
        return self._with(tuple(partitions), now_ms, lag_ms)

    def _with(self, partitions: tuple[Partition, ...], now_ms: int, lag_ms: int) -> Tail:
        promised = max(self.watermark_ms, watermark_ms(partitions, now_ms, lag_ms))
        return replace(self, partitions=partitions, watermark_ms=promised, seen_ms=now_ms)


def watermark_ms(partitions: tuple[Partition, ...], now_ms: int, lag_ms: int) -> int:
    """The time before which no more events are expected, or NO_WATERMARK.

    It is the slowest busy partition's latest event time, less the lag. When all are idle it goes on
    from the latest event time at the pace of the clock, so that the last sessions of a replay end
    without taking its next part for late. It never passes the clock less the lag: an event that
    claims to be of the future must not make others late.
    """
    busy = [p.newest_ms for p in partitions if not p.idle]
    newest = min(busy) if busy else max((p.newest_ms for p in partitions), default=NO_WATERMARK)
    if newest == NO_WATERMARK:
        return NO_WATERMARK
    silent = 0 if busy else now_ms - max(p.active_ms for p in partitions)
    return min(newest + silent, now_ms) - lag_ms


class TailTracker(RestrictionTracker):  # type: ignore[misc]
    """Claims are the whole new `Tail`; the rest can be given back, but never be divided."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail

    def current_restriction(self) -> Tail:
        """What was claimed so far."""
        return self._tail

    def try_claim(self, position: Tail) -> bool:
        """Takes a step on, unless the rest was given back."""
        if self._tail.ended:
            return False
        self._tail = position
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Tail, Tail] | None:
        """Gives all the rest back for fraction 0; a part of an endless rest is nothing."""
        if fraction_of_remainder > 0 or self._tail.ended:
            return None
        rest = self._tail
        self._tail = replace(rest, ended=True)
        return self._tail, rest

    def check_done(self) -> bool:
        """Raises ValueError when reading stopped without giving the rest back."""
        if not self._tail.ended:
            raise ValueError("the rest of an endless topic was not given back")
        return True

    def current_progress(self) -> Any:
        """Unknown: the end is."""
        return beam.io.iobase.RestrictionProgress(fraction=1.0 if self._tail.ended else 0.0)

    def is_bounded(self) -> bool:
        """It is not."""
        return False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(eq=False)
class TailFn(beam.DoFn, RestrictionProvider):  # type: ignore[misc]
    """Reads the partitions of reader i of n without an end; elements are the i.

    Attributes: as of `ReadKafka`.
    """

    uri: KafkaUri
    to_element: ToElement
    batch_records: int
    watermark_lag_ms: int
    idle_after_ms: int
    readers: int
    read_for_ms: int = 1_000
    positions: str | None = None
    pace: Pace | None = None

    def __post_init__(self) -> None:
        self._reader: TopicReader | None = None
        self._paced: dict[int, PacedWatermark] = {}
        self._records = Metrics.counter("kafka", "records")

    def _open(self) -> TopicReader:
        if self._reader is None:
            self._reader = TopicReader(self.uri, _GATHER_MS)
        return self._reader

    def initial_restriction(self, element: int) -> Tail:
        """Where the URI says to start."""
        reader = self._open()
        mine = [p for p in reader.partitions() if p % self.readers == element]
        now = _now_ms()
        starts = reader.start_offsets(mine)
        partitions = tuple(Partition(p, starts[p], active_ms=now) for p in mine)
        return Tail(partitions, seen_ms=now, listed_ms=now)

    def create_tracker(self, restriction: Tail) -> TailTracker:
        """For Beam."""
        return TailTracker(restriction)

    def restriction_size(self, element: int, restriction: Tail) -> float:
        """All readers count the same."""
        return 1.0

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(
        self,
        element: int,
        tracker: Any = _TRACKER,
        estimator: Any = _ESTIMATOR,
    ) -> Iterator[TimestampedValue]:
        """Reads for a while, then gives the rest back; unless it is asked to drain."""
        tail: Tail = tracker.current_restriction()
        if tail.ended:
            return
        reader, started, lag = self._open(), time.monotonic(), self.watermark_lag_ms
        tail = self._with_new_partitions(element, reader, tail).resumed(
            _now_ms(), self.idle_after_ms
        )
        reader.seek(tail.positions())
        if self.positions is not None:
            # The runner has taken over what was read up to here: it gave us this restriction.
            note_positions(self.positions, self.uri, element, tail.positions())
            if asked_to_drain(self.positions):
                self._drain(element, tail, tracker, estimator)
                return
        paced = self._paced_watermark(element, tail, estimator)
        if estimator.current_watermark() is None:
            estimator.set_watermark(MIN_TIMESTAMP)
        while (left := started + self.read_for_ms / 1000 - time.monotonic()) > 0:
            batches = reader.poll(int(left * 1000), self.batch_records)
            if batches and any(p.idle for p in tail.partitions):
                # Others were perhaps written to at the same time; their first records must not be
                # overtaken by what these batches promise.
                written = reader.unread().union(b.partition for b in batches)
                tail = tail.woken(written, _now_ms())
            for batch in batches:
                promised = tail.watermark_ms
                item, times = self.to_element(replace(batch, watermark_ms=promised))
                now, at = _now_ms(), int(batch.offsets[-1]) + 1
                just_now = now - batch.written_ms < self.idle_after_ms
                tail = tail.read(batch.partition, at, times, now, lag, just_now)
                if not tracker.try_claim(tail):
                    return
                self._records.inc(len(batch.values))
                yield _stamped(item, times, promised)
                if paced is not None:
                    paced.saw(times)
                _promise(estimator, tail, paced)
        tail = tail.looked(reader.positions, reader.unread(), _now_ms(), lag, self.idle_after_ms)
        if tracker.try_claim(tail):
            _promise(estimator, tail, paced)
            tracker.defer_remainder(Duration())

    def _drain(self, element: int, tail: Tail, tracker: Any, estimator: Any) -> None:
        """Goes on to the end of time, as fast as the windows may end; reads no more."""
        paced = self._paced_watermark(element, tail, estimator)
        at = _END_MS if paced is None else paced.advance(_END_MS, _now_ms())
        if at < _END_MS:
            if tracker.try_claim(replace(tail, seen_ms=_now_ms())):
                estimator.set_watermark(Timestamp(micros=at * 1000))
                time.sleep(self.read_for_ms / 1000)
                tracker.defer_remainder(Duration())
        # No rest is given back: to the runner the input has ended, and all windows with it.
        elif tracker.try_claim(replace(tail, ended=True)):
            estimator.set_watermark(MAX_TIMESTAMP)

    def _paced_watermark(self, element: int, tail: Tail, estimator: Any) -> PacedWatermark | None:
        """Of this reader; a new one where the runner went back to what was before."""
        if self.pace is None:
            return None
        told = estimator.current_watermark()
        reported = None if told in (None, MIN_TIMESTAMP) else told.micros // 1000
        paced = self._paced.get(element)
        if paced is None or paced.reported_ms != reported:
            newest = tuple(p.newest_ms for p in tail.partitions if p.newest_ms != NO_WATERMARK)
            paced = self._paced[element] = PacedWatermark(self.pace, reported, newest, _now_ms())
        return paced

    def _with_new_partitions(self, element: int, reader: TopicReader, tail: Tail) -> Tail:
        now = _now_ms()
        if now - tail.listed_ms < _PARTITIONS_EVERY_MS:
            return tail
        new = reader.new_partitions(tail.positions())
        added = tuple(
            Partition(p, at, active_ms=now) for p, at in new.items() if p % self.readers == element
        )
        return replace(tail, partitions=(*tail.partitions, *added), listed_ms=now)

    def teardown(self) -> None:
        """Leaves the broker."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _promise(estimator: Any, tail: Tail, paced: PacedWatermark | None) -> None:
    at = tail.watermark_ms
    if at != NO_WATERMARK:
        if paced is not None:
            at = paced.advance(at, _now_ms())
        estimator.set_watermark(Timestamp(micros=at * 1000))


def _stamped(item: Any, times: NDArray[np.int64], promised: int) -> TimestampedValue:
    # An element without events is stamped with what was promised, so that no window is closed to
    # its dead letters.
    first = int(times.min()) if len(times) else max(promised, 0)
    return TimestampedValue(item, Timestamp(micros=first * 1000))
