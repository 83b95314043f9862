"""Drops repeats of an event: the same id of the same account, within a horizon of event time.

Sketches cannot subtract, so a repeat must be found before it is folded. Events are spread over
shards by account; each shard remembers 64-bit hashes of ids in buckets of event time, as sorted
arrays, and forgets a bucket when the watermark has passed it by the horizon.
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
from apache_beam.utils.timestamp import Timestamp
from numpy.typing import NDArray

from transforms.ingest.batch import Events
from transforms.ingest.hashing import hash64

Hashes = NDArray[np.uint64]


def first_seen(hashes: Hashes, seen: Iterable[Hashes]) -> NDArray[np.intp]:
    """Rows whose hash is new: neither in `seen` nor earlier in the batch, ascending."""
    _, index = np.unique(hashes, return_index=True)
    known = list(seen)
    if known:
        index = index[~np.isin(hashes[index], np.concatenate(known))]
    return np.sort(index)


def by_shard(events: Events, shards: int) -> Iterator[tuple[int, Events]]:
    """Splits a batch by account, so that an account's events always meet in one shard."""
    shard = np.array([hash64(account) % shards for account in events.account], np.int64)
    for value in np.unique(shard):
        yield int(value), events.take(shard == value)


@dataclass(eq=False)
class Dedupe(beam.PTransform):  # type: ignore[misc]
    """Events without repeats; the tag `duplicates` counts what was dropped.

    Attributes:
      horizon_ms: how far apart in event time a repeat is still found.
      shards: how many keys share the work.
    """

    horizon_ms: int
    shards: int = 16
    DUPLICATES = "duplicates"

    def expand(self, batches: beam.PCollection[Events]) -> Any:
        return (
            batches
            | "ShardByAccount"
            >> beam.FlatMap(by_shard, self.shards).with_output_types(tuple[int, Events])
            | "DropRepeats"
            >> beam.ParDo(_DedupeFn(self.horizon_ms)).with_outputs(self.DUPLICATES, main="events")
        )


class _DedupeFn(beam.DoFn):  # type: ignore[misc]
    SEEN = userstate.BagStateSpec("seen", coders.BytesCoder())
    EXPIRY = userstate.TimerSpec("expiry", TimeDomain.WATERMARK)

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = max(horizon_ms, 1)

    def process(
        self,
        element: tuple[int, Events],
        seen: Any = beam.DoFn.StateParam(SEEN),
        expiry: Any = beam.DoFn.TimerParam(EXPIRY),
    ) -> Iterator[Any]:
        _, events = element
        known = [np.frombuffer(blob, "<u8").reshape(-1, 2) for blob in seen.read()]
        rows = first_seen(events.event_hash, [block[:, 0] for block in known])
        if len(rows):
            block = np.stack(
                [events.event_hash[rows], events.time_ms[rows].astype(np.uint64)], axis=1
            )
            if len(known) >= 16:  # few large blobs read faster than many small ones
                seen.clear()
                block = np.concatenate([*known, block])
            seen.add(block.astype("<u8").tobytes())
            latest = int(events.time_ms.max())
            expiry.set(Timestamp(micros=(latest + self._horizon_ms) * 1000))
            yield events.take(rows)
        if len(rows) < len(events):
            yield beam.pvalue.TaggedOutput(Dedupe.DUPLICATES, len(events) - len(rows))

    @userstate.on_timer(EXPIRY)  # type: ignore[untyped-decorator]
    def forget(
        self,
        at: Timestamp = beam.DoFn.TimestampParam,
        seen: Any = beam.DoFn.StateParam(SEEN),
    ) -> None:
        oldest = at.micros // 1000 - self._horizon_ms
        blocks = [np.frombuffer(blob, "<u8").reshape(-1, 2) for blob in seen.read()]
        seen.clear()
        for block in blocks:
            kept = block[block[:, 1].astype(np.int64) >= oldest]
            if len(kept):
                seen.add(kept.tobytes())
