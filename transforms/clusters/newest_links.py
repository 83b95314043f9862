"""What linking needs to know of all accounts of a window, gathered in columns.

All accounts of a window meet under one key, and every report needs all of them. So what is kept is
a log of blocks of columns: a report adds the block of those who changed, and thousands of accounts
are read, sorted out and passed on without a step of Python for one of them but its name.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

from transforms.clusters.linkables import Linkables
from transforms.sessions.now_and_then import EARLY, NowAndThenFn, aligned_windows, stream_windows
from transforms.sessions.sharding import Shard

ALL = 0  # key of all accounts of a window
_SLACK = 256  # accounts: a smaller log is not worth writing anew
_CHUNK = 2_000  # accounts in an element of a log that is written anew


def encode_block(block: Linkables) -> bytes:
    """A block as it travels."""
    return pickle.dumps(block, pickle.HIGHEST_PROTOCOL)


def decode_block(data: bytes) -> Linkables:
    """The block that `encode_block` made bytes of."""
    block: Linkables = pickle.loads(data)  # our own, from the step before
    return block


@dataclass(eq=False)
class NewestLinks(beam.PTransform):  # type: ignore[misc]
    """From blocks under the key ALL to one block of a window, which has the newest of each account
    in the order of their names.

    Attributes:
      window_ms, early_firing_ms, allowed_lateness_ms, order: as of `CombineNowAndThen`.
    """

    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    order: int

    def expand(self, blocks: beam.PCollection[Shard]) -> beam.PCollection[Shard]:
        late = self.allowed_lateness_ms
        if not self.early_firing_ms:
            windowed = blocks | "Windows" >> aligned_windows(self.window_ms, late)
            together = windowed | "Gather" >> beam.GroupByKey()
            return together | "Newest" >> beam.MapTuple(_newest_of).with_output_types(Shard)
        keep = _KeepNewestFn(self.early_firing_ms, late, self.order)
        return (
            blocks
            | "Windows" >> stream_windows(self.window_ms, late)
            | "Newest" >> beam.ParDo(keep).with_output_types(Shard)
        )


def _newest_of(key: int, blocks: Iterable[bytes]) -> Shard:
    return key, encode_block(Linkables.concat([*map(decode_block, blocks)]).newest())


class _KeepNewestFn(NowAndThenFn):
    """NEWS are blocks; KEPT is a log of them, pickled with the number of each: of two versions of
    an account with as many requests that of the larger number counts."""

    def report(self, at: Any, news: Any, kept: Any, closes: bool) -> Iterator[WindowedValue]:
        # What was told before its window closes needs not be told again: no pane goes on from here.
        fresh = [decode_block(data) for data in news.read()]
        if not fresh:
            return
        news.clear()
        log = sorted((pickle.loads(data) for data in kept.read()), key=lambda piece: piece[0])
        number = log[-1][0] + 1 if log else 0
        changed = Linkables.concat(fresh).newest()
        everything = Linkables.concat([*(block for _, block in log), changed]).newest()
        if sum(len(block) for _, block in log) + len(changed) > 2 * len(everything) + _SLACK:
            kept.clear()
            blocks: Iterable[Linkables] = everything.in_blocks(_CHUNK)
        else:
            blocks = (changed,)
        for block in blocks:
            kept.add(pickle.dumps((number, block), pickle.HIGHEST_PROTOCOL))
        yield self.said((ALL, encode_block(everything)), EARLY, at)
