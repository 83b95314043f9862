"""Sessions of a stream: cut with state and timers, which all runners know.

Prism, the streaming runner of one machine, refuses triggers on session windows. So sessions are cut
here: what is new is reported now and then by the clock, and a session is closed by the watermark.
Keys share the state of their shard; see `sketch_log`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam import coders
from apache_beam.transforms import userstate, window
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from transforms.coverage.fold import Folded
from transforms.coverage.sketch import Int64
from transforms.sessions.now_and_then import EARLY, LATE, ON_TIME, next_tick
from transforms.sessions.sharding import Shard
from transforms.sessions.shards import Named, keyed_together, merge_sessions
from transforms.sessions.sketch_log import (
    Flags,
    Mask,
    Rows,
    SketchLog,
    all_rows,
    by_shard,
    encode_rows,
    last_ms_in,
    rows_of,
)

TOLD, CLOSED = 1, 2


class Reported(NamedTuple):
    """What is said of n sessions, at least one, under their encoded `SessionKey`s.

    Attributes:
      sessions: as they are so far.
      panes: early, on_time or late.
    """

    sessions: Named
    panes: list[str]


class Settled(NamedTuple):
    """Results of `settle`: what is to be reported, and what is to be kept."""

    reported: Reported | None
    kept: Rows | None


def settle(parts: Rows, gap_ms: int, lateness_ms: int, watermark_ms: int | None) -> Settled:
    """Merges parts of sessions, of some keys all that there are, and says what changed.

    Args:
      parts: under encoded `SessionKey`s, in any order. TOLD: a report had all of it; CLOSED: the
        watermark has passed its end.
      gap_ms: a pause this long ends a session.
      lateness_ms: how long a closed session is kept, for events that are late.
      watermark_ms: sessions that ended before are closed; None when that is not known.
    """
    sessions, which = merge_sessions(parts.named, gap_ms)
    told, closed = np.ones(len(sessions.names), bool), np.zeros(len(sessions.names), bool)
    np.logical_and.at(told, which, parts.flags & TOLD > 0)
    np.logical_or.at(closed, which, parts.flags & CLOSED > 0)
    end = sessions.stack.last_ms + gap_ms
    closes, stays = np.zeros(len(end), bool), np.ones(len(end), bool)
    if watermark_ms is not None:
        closes = ~closed & (end <= watermark_ms)
        stays = end + lateness_ms > watermark_ms
    pane = np.where(closes, ON_TIME, np.where(closed, LATE, EARLY))
    reported, kept = np.flatnonzero(closes | ~told), np.flatnonzero(stays)
    flags = np.where(closed | closes, TOLD | CLOSED, TOLD).astype(np.uint8)
    return Settled(
        Reported(sessions.take(reported), pane[reported].tolist()) if len(reported) else None,
        Rows(sessions.take(kept), flags[kept]) if len(kept) else None,
    )


class IntoSessionShardsFn(beam.DoFn):  # type: ignore[misc]
    """Partial sketches under the shards of their `SessionKey`s, for `OpenSessions`.

    On Prism elements and timers of a key go in the order of their times: what is later than the
    first session that is to be closed would wait for it, and so a shard would go on slice by slice,
    at the pace of its reports. There, elements have no time, and wait for nothing; elsewhere they
    have that of their first event, which is what the watermark waits for.
    """

    def __init__(self, max_length_ms: int, shards: int, timeless: bool) -> None:
        self._max_length_ms, self._shards, self._timeless = max_length_ms, shards, timeless

    def process(self, folded: Folded) -> Iterator[Any]:
        named = keyed_together(folded, self._max_length_ms)
        for _, shard, rows in by_shard(named, np.zeros(len(named.names), np.int64), self._shards):
            first = Timestamp(micros=int(rows.named.stack.first_ms.min()) * 1000)
            at = MIN_TIMESTAMP if self._timeless else first
            yield window.TimestampedValue((shard, encode_rows(rows)), at)


@dataclass(eq=False)
class OpenSessions(beam.DoFn):  # type: ignore[misc]
    """From parts of sessions by shard to reports; see `settle`.

    NEWS are rows that no report has had, KEPT is the log of all others.

    Attributes:
      gap_ms, lateness_ms: as of `settle`.
      slice_ms: sessions are closed, and forgotten, up to this much late, so that a shard has few
        timers.
      period_ms: of reports, by the clock.
    """

    gap_ms: int
    lateness_ms: int
    slice_ms: int
    period_ms: int

    NEWS = userstate.BagStateSpec("news", coders.BytesCoder())
    KEPT = userstate.BagStateSpec("kept", coders.BytesCoder())
    REPORT = userstate.TimerSpec("report", TimeDomain.REAL_TIME)
    CLOSE = userstate.TimerSpec("close", TimeDomain.WATERMARK)

    def process(
        self,
        element: Shard,
        news: Any = beam.DoFn.StateParam(NEWS),
        report: Any = beam.DoFn.TimerParam(REPORT),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> None:
        _, data = element
        news.add(data)
        tick = next_tick(self.period_ms, time.time())
        # By its tag: one that is due must not make place for the next.
        report.set(tick, dynamic_timer_tag=str(tick.micros))
        self._wake(last_ms_in(data) + self.gap_ms, close)

    def _wake(self, ends: Int64, close: Any) -> None:
        """One timer for each slice, by its tag: a session's end moves on with its events."""
        for number in np.unique(-(-ends // self.slice_ms)).tolist():
            at = number * self.slice_ms
            close.set(Timestamp(micros=at * 1000), dynamic_timer_tag=str(at))

    @userstate.on_timer(REPORT)  # type: ignore[untyped-decorator]
    def tell(
        self,
        news: Any = beam.DoFn.StateParam(NEWS),
        kept: Any = beam.DoFn.StateParam(KEPT),
    ) -> Iterator[Reported]:
        fresh = all_rows(news)
        if fresh is not None:
            settled = self._settle(dict.fromkeys(fresh.named.names), fresh, SketchLog(kept), None)
            news.clear()
            if settled.reported is not None:
                yield settled.reported

    @userstate.on_timer(CLOSE)  # type: ignore[untyped-decorator]
    def end(
        self,
        at: Any = beam.DoFn.TimestampParam,
        news: Any = beam.DoFn.StateParam(NEWS),
        kept: Any = beam.DoFn.StateParam(KEPT),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> Iterator[Reported]:
        now_ms = at.micros // 1000

        def due(flags: Flags, last_ms: Int64) -> Mask:
            """Which are to be closed, or to be forgotten."""
            late_ms = np.where(flags & CLOSED, self.lateness_ms, 0)
            found: Mask = last_ms + self.gap_ms + late_ms <= now_ms
            return found

        fresh, log = all_rows(news), SketchLog(kept)
        names = dict.fromkeys(log.names_where(due))
        if fresh is not None:
            ended = np.flatnonzero(due(fresh.flags, fresh.named.stack.last_ms)).tolist()
            names |= dict.fromkeys(fresh.named.names[i] for i in ended)
        if not names:
            return
        # What else is new waits for its report.
        rest, fresh = rows_of(fresh, names, others=True), rows_of(fresh, names)
        news.clear()
        if rest is not None:
            news.add(encode_rows(rest))
        settled = self._settle(names, fresh, log, now_ms)
        if settled.kept is not None:
            closed = settled.kept.flags & CLOSED > 0
            last_ms = settled.kept.named.stack.last_ms[closed]
            self._wake(last_ms + self.gap_ms + self.lateness_ms, close)
        if settled.reported is not None:
            yield settled.reported

    def _settle(
        self,
        names: dict[str, None],
        fresh: Rows | None,
        log: SketchLog,
        watermark_ms: int | None,
    ) -> Settled:
        """Of some keys, with what is new of these."""
        parts = [rows for rows in (log.take(names), fresh) if rows is not None]
        settled = settle(Rows.concat(parts), self.gap_ms, self.lateness_ms, watermark_ms)
        log.update([*names], settled.kept)
        return settled
