"""Drops repeats of an event: the same id of the same account, within a horizon of event time.

Sketches cannot subtract, so a repeat must be found before it is folded. Events are spread over
shards by account; each shard remembers 64-bit hashes of ids with the time of the event, as sorted
arrays. In a stream it forgets those of a slice of time, which is as long as the horizon and no
shorter than a minute, when the watermark has passed the slice's end by the horizon. Of input that
ends nothing is forgotten: the watermark moves when all of it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam import coders
from apache_beam.transforms import userstate
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue
from numpy.typing import NDArray

from transforms.ingest.batch import Events
from transforms.ingest.hashing import hash_column

Hashes = NDArray[np.uint64]

_LEAST_SLICE_MS = 60_000  # each slice has a timer


def first_seen(hashes: Hashes, seen: Iterable[Hashes]) -> NDArray[np.intp]:
    """Rows whose hash is new: neither in `seen` nor earlier in the batch, ascending.

    Args:
      hashes: of the batch, in any order.
      seen: ascending arrays. They are looked into by bisection: a batch costs little however much
        was seen before it.
    """
    distinct, index = np.unique(hashes, return_index=True)
    for known in seen:
        if len(known):
            at = np.minimum(np.searchsorted(known, distinct), len(known) - 1)
            new = known[at] != distinct
            distinct, index = distinct[new], index[new]
    return np.sort(index)


def by_shard(events: Events, shards: int) -> Iterator[tuple[int, Events]]:
    """Splits a batch by account, so that an account's events always meet in one shard."""
    accounts: list[str] = events.account.tolist()
    shard = (hash_column(accounts) % np.uint64(shards)).astype(np.int64)
    order = np.argsort(shard, kind="stable")
    bounds = np.flatnonzero(np.diff(shard[order])) + 1
    for rows in np.split(order, bounds):
        if len(rows):
            yield int(shard[rows[0]]), events.take(rows)


@dataclass(eq=False)
class Dedupe(beam.PTransform):  # type: ignore[misc]
    """Events without repeats; the tag `duplicates` counts what was dropped.

    Attributes:
      horizon_ms: how far apart in event time a repeat is still found.
      shards: how many keys share the work.
      gathers: whether the input ends, and the events of a bundle are split together. In a stream,
        where a bundle ends after the watermark that its reader tells of, they would come late.
    """

    horizon_ms: int
    shards: int = 16
    gathers: bool = False
    DUPLICATES = "duplicates"

    def expand(self, batches: beam.PCollection[Events]) -> Any:
        split: Any = beam.FlatMap(by_shard, self.shards)
        if self.gathers:
            split = beam.ParDo(_ShardFn(self.shards))
        return (
            batches
            | "ShardByAccount" >> split.with_output_types(tuple[int, Events])
            | "DropRepeats"
            >> beam.ParDo(_DedupeFn(self.horizon_ms, forgets=not self.gathers)).with_outputs(
                self.DUPLICATES, main="events"
            )
        )


class _ShardFn(beam.DoFn):  # type: ignore[misc]
    """Gathers what a bundle of elements brings before it is split: of a batch, a shard gets a
    hundred events, and everything behind costs by the piece."""

    _FULL = 16_384

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def start_bundle(self) -> None:
        self._waiting: list[Events] = []
        self._count = 0

    def process(self, events: Events) -> Iterator[TimestampedValue]:
        self._waiting.append(events)
        self._count += len(events)
        if self._count >= self._FULL:
            for shard, at in self._split():
                yield TimestampedValue(shard, at)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for shard, at in self._split():
            yield WindowedValue(shard, at, (beam.window.GlobalWindow(),))

    def _split(self) -> Iterator[tuple[tuple[int, Events], Timestamp]]:
        waiting, self._waiting, self._count = self._waiting, [], 0
        if waiting:
            events = Events.concat(waiting)
            at = Timestamp(micros=int(events.time_ms.min()) * 1000)
            for shard in by_shard(events, self._shards):
                yield shard, at


class _DedupeFn(beam.DoFn):  # type: ignore[misc]
    SEEN = userstate.BagStateSpec("seen", coders.BytesCoder())
    EXPIRY = userstate.TimerSpec("expiry", TimeDomain.WATERMARK)

    def __init__(self, horizon_ms: int, forgets: bool) -> None:
        self._horizon_ms = max(horizon_ms, 1)
        self._slice_ms = max(horizon_ms, _LEAST_SLICE_MS)
        self._forgets = forgets

    def process(
        self,
        element: tuple[int, Events],
        seen: Any = beam.DoFn.StateParam(SEEN),
        expiry: Any = beam.DoFn.TimerParam(EXPIRY),
    ) -> Iterator[Any]:
        _, events = element
        known = [_opened(blob) for blob in seen.read()]
        rows = first_seen(events.event_hash, [np.ascontiguousarray(b[:, 0]) for b in known])
        if len(rows):
            block = np.stack(
                [events.event_hash[rows], events.time_ms[rows].astype(np.uint64)], axis=1
            )
            if len(known) >= 16:  # few large blobs read faster than many small ones
                seen.clear()
                block = np.concatenate([*known, block])
            seen.add(_ascending(block).astype("<u8").tobytes())
            if self._forgets:
                self._forget_after(events.time_ms[rows], expiry)
            yield events.take(rows)
        if len(rows) < len(events):
            yield beam.pvalue.TaggedOutput(Dedupe.DUPLICATES, len(events) - len(rows))

    def _forget_after(self, times: NDArray[np.int64], expiry: Any) -> None:
        """One timer for each slice, by its tag: a single one would move on with every batch, and
        never fire while there is anything to read."""
        for number in np.unique(times // self._slice_ms).tolist():
            at = (number + 1) * self._slice_ms + self._horizon_ms
            expiry.set(Timestamp(micros=at * 1000), dynamic_timer_tag=str(at))

    @userstate.on_timer(EXPIRY)  # type: ignore[untyped-decorator]
    def forget(
        self,
        at: Timestamp = beam.DoFn.TimestampParam,
        seen: Any = beam.DoFn.StateParam(SEEN),
    ) -> None:
        oldest = at.micros // 1000 - self._horizon_ms
        blocks = [_opened(blob) for blob in seen.read()]
        seen.clear()
        for block in blocks:
            kept = block[block[:, 1].astype(np.int64) >= oldest]
            if len(kept):
                seen.add(kept.tobytes())


def _opened(blob: bytes) -> Hashes:
    """(hash, time) pairs, uint64 of shape (n, 2), by hash."""
    block = np.frombuffer(blob, "<u8").reshape(-1, 2)
    hashes = block[:, 0]
    # State that an older version left is in the order of arrival.
    return block if (hashes[1:] >= hashes[:-1]).all() else _ascending(block)


def _ascending(block: Hashes) -> Hashes:
    return block[np.argsort(block[:, 0], kind="stable")]
