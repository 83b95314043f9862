"""How fast the watermark of a stream may pass the ends of windows.

A runner drops what comes for a window that ended longer ago than late events are allowed. By Beam's
rules nothing of ours is so late, but Flink's runner (2.62) takes two liberties:

- A timer by the clock is ignored when its window is over by event time, and the window that never
  ends is over when the watermark comes to the end of time. What a step of such a window had
  gathered for its next report was lost when a stream was drained (seen in a third of the runs).
- A step may tell the next ones of a new watermark while the bundle is at work that its timers
  began: `ExecutableStageDoFnOperator` holds the watermark back for timers that the bundle before
  has set, which need not be those that fire now (read from its code).

While the watermark goes with the clock neither does harm: what is on its way arrives long before
its window is given up. It does where the watermark jumps: after a break, through a backlog, and at
the end of a stream that is drained. So there it goes from window to window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_ENDS = 1_000  # that a new worker takes for unsettled, besides those of the latest events


@dataclass(frozen=True, slots=True)
class Pace:
    """The watermark goes past the end of a window at once, but for some time no further than late
    events are allowed.

    Attributes:
      window_ms: length of the windows.
      lateness_ms: how long after its end a runner keeps a window, in event time.
      settle_ms: how long all steps together take, at most, to say what there is to say of a window
        that ends; by the clock.
    """

    window_ms: int
    lateness_ms: int
    settle_ms: int

    def end_of(self, time_ms: int) -> int:
        """End of the window that a time is in."""
        return (time_ms // self.window_ms + 1) * self.window_ms


class PacedWatermark:
    """The watermark of a reader that goes at a `Pace`.

    Only the ends of windows that have events count; gaps are passed at once. What has settled is
    known to the worker alone: a new one takes all windows for unsettled that may be.

    Args:
      pace: of it.
      reported_ms: watermark that was reported before; None: none was.
      newest_ms: latest event times that were read before.
      now_ms: by the clock.
    """

    def __init__(
        self, pace: Pace, reported_ms: int | None, newest_ms: tuple[int, ...], now_ms: int
    ) -> None:
        self._pace = pace
        self._reported = reported_ms
        # Ends of windows that have not settled, and when the watermark has passed them.
        self._ends: dict[int, int | None] = {}
        if reported_ms is not None:
            first = pace.end_of(reported_ms - pace.lateness_ms - 1)
            newest = {pace.end_of(at) for at in (reported_ms, *newest_ms)}
            ends = range(first, max(newest) + 1, pace.window_ms)[:_MOST_ENDS]
            for end in {*ends, *(end for end in newest if end >= first)}:
                self._ends[end] = now_ms if end <= reported_ms else None

    @property
    def reported_ms(self) -> int | None:
        """What `advance` said last."""
        return self._reported

    def saw(self, times: NDArray[np.int64]) -> None:
        """Notes that there are events of these times (milliseconds, any number)."""
        if not len(times):
            return
        size = self._pace.window_ms
        first, last = int(times.min()) // size, int(times.max()) // size
        for number in [first] if first == last else np.unique(times // size).tolist():
            end = (number + 1) * size
            if self._reported is None or end > self._reported:
                self._ends.setdefault(end, None)

    def advance(self, wanted_ms: int, now_ms: int) -> int:
        """The watermark to report; never less than before.

        Args:
          wanted_ms: where it could be.
          now_ms: by the clock.
        """
        settled = now_ms - self._pace.settle_ms
        self._ends = {e: at for e, at in self._ends.items() if at is None or at > settled}
        at = wanted_ms
        if self._ends:
            at = min(at, min(self._ends) + self._pace.lateness_ms)
        if self._reported is not None:
            at = max(at, self._reported)
        for end, passed in self._ends.items():
            if passed is None and end <= at:
                self._ends[end] = now_ms
        self._reported = at
        return at
