"""Profiles of a stream, many accounts at once; see `sketch_log`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from transforms.coverage.fold import Folded
from transforms.coverage.merging import merge_groups
from transforms.sessions.now_and_then import (
    EARLY,
    LATE,
    ON_TIME,
    NowAndThenFn,
    last_ms_before_closing,
)
from transforms.sessions.shards import Named, by_account_and_window, codes
from transforms.sessions.sketch_log import Rows, SketchLog, all_rows, by_shard, encode_rows, rows_of

_CLOSED = 1


class IntoProfileShardsFn(beam.DoFn):  # type: ignore[misc]
    """Partial sketches under the shards of their accounts, those of each window by themselves.

    None comes later than its window closes; see `last_ms_before_closing`.
    """

    def __init__(self, window_ms: int, shards: int) -> None:
        self._window_ms, self._shards = window_ms, shards

    def process(self, folded: Folded) -> Iterator[TimestampedValue]:
        named, number = by_account_and_window(
            folded.accounts, folded.account, folded.stack, self._window_ms
        )
        for of, shard, rows in by_shard(named, number, self._shards):
            latest = last_ms_before_closing((of + 1) * self._window_ms)
            first = min(int(rows.named.stack.first_ms.min()), latest)
            yield TimestampedValue((shard, encode_rows(rows)), Timestamp(micros=first * 1000))


class MergeProfilesFn(NowAndThenFn):
    """Profiles of the accounts of a shard that have changed, as `Named`, each pane by itself."""

    _AT_ONCE = 1_000  # accounts

    def report(self, at: Any, news: Any, kept: Any, closes: bool) -> Iterator[WindowedValue]:
        fresh = all_rows(news)
        if fresh is None and not closes:
            return
        log = SketchLog(kept)
        if closes:
            fresh = self._without_late(fresh, log, news)
        else:
            news.clear()
        names = dict.fromkeys([] if fresh is None else fresh.named.names)
        if closes:
            names |= dict.fromkeys(log.names_where(lambda flags, _: flags & _CLOSED == 0))
        listed = [*names]
        for first in range(0, len(listed), self._AT_ONCE):
            yield from self._some(listed[first : first + self._AT_ONCE], fresh, log, at, closes)

    def _without_late(self, fresh: Rows | None, log: SketchLog, news: Any) -> Rows | None:
        """What is new of accounts that are still open; what is late waits for its tick."""
        closed = log.names_where(lambda flags, _: flags & _CLOSED > 0)
        late = rows_of(fresh, closed)
        others = rows_of(fresh, closed, others=True)
        news.clear()
        if late is not None:
            news.add(encode_rows(late))
        return others

    def _some(
        self, names: list[str], fresh: Rows | None, log: SketchLog, at: Any, closes: bool
    ) -> Iterator[WindowedValue]:
        parts = [rows for rows in (log.take(set(names)), rows_of(fresh, names)) if rows is not None]
        every = Rows.concat(parts)
        accounts, code = codes(every.named.names)
        merged = Named(accounts, merge_groups(every.named.stack, code, len(accounts)))
        closed = np.zeros(len(accounts), bool)
        np.logical_or.at(closed, code, every.flags & _CLOSED > 0)
        log.update(accounts, Rows(merged, (closed | closes).astype(np.uint8)))
        for pane, mask in ((LATE, closed), (ON_TIME if closes else EARLY, ~closed)):
            if mask.any():
                yield self.said(merged.take(np.flatnonzero(mask)), pane, at)
