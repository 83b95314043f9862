"""False discovery control of `discoveries` in Beam: windows of tests in, verdicts out.

Of a window's tests only names and p-values meet under one key, and of all windows only the small
p-values, because a window's level depends on the windows that ended before it.

What other labs report makes some p-values smaller. Benjamini and Hochberg's procedure admits the
more of all tests the more is surely found, so a report of one cluster would flag another one that
nobody has reported, and a lab that is mistaken, or lies, could flag whom it does not even know. So
what nobody reported is decided as if nothing had been; what was reported is decided with all that
is found then. Each discovery of a window has p ≤ level · discoveries / tests, and their number does
not grow with a p-value; with that Benjamini and Hochberg's rate holds under the same conditions as
before (Blanchard and Roquain, "Two simple sufficient conditions for FDR control", EJS 2008).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam import coders, typehints
from apache_beam.transforms import userstate
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from transforms.alerts.discoveries import BatchBH, Float, adjusted
from transforms.clusters.newest import NewestByName, Versioned
from transforms.sessions.endless import CombineNowAndThen, stream_windows


class Verdict(NamedTuple):
    """What the control says of a test; `version` grows with each report.

    Attributes:
      cut: up to this the p-value of this test makes it a discovery.
      q_value: the smallest level at which this test would be one, its window alone.
    """

    version: int
    cut: float
    q_value: float


class Reported(NamedTuple):
    """The p-value of what other labs report, with what they say and without."""

    p_value: float
    alone: float


Tested = float | Reported | None
"""p-value of a test; None for one that is tested no more."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowTests:
    """The tests of a window.

    Attributes:
      end_ms: of the window.
      tests: in it.
      names: of those with small p-values.
      p_values, q_values: of these, float64 of shape (len(names),).
      alone: their p-values without what other labs report, float64 of the same shape; None where
        nothing is reported.
    """

    end_ms: int
    tests: int
    names: tuple[str, ...]
    p_values: Float
    q_values: Float
    alone: Float | None = None


def window_tests(end_ms: int, tests: Sequence[Versioned[Tested]], cap: float) -> WindowTests:
    """Sums a window up.

    Args:
      end_ms: of the window.
      tests: p-value by name.
      cap: larger p-values are never discoveries, and only counted.
    """
    live = [(test.name, test.value) for test in tests if test.value is not None]
    pairs = [v if isinstance(v, Reported) else Reported(v, v) for _, v in live]
    p = np.array([pair.p_value for pair in pairs], np.float64)
    alone = np.array([pair.alone for pair in pairs], np.float64)
    small = np.flatnonzero(p <= cap)
    names = tuple(live[int(i)][0] for i in small)
    if np.array_equal(p, alone):
        return WindowTests(end_ms, len(live), names, p[small], adjusted(p)[small])
    q = adjusted_with_reports(p, alone)
    without = np.where(alone <= cap, alone, 1.0)
    return WindowTests(end_ms, len(live), names, p[small], q[small], without[small])


def adjusted_with_reports(p_values: Float, alone: Float) -> Float:
    """The smallest level at which each is a discovery of its window, as `verdicts` decides.

    At level x a reported test of rank r among the reported ones is one when, for some m, p is at
    most x · (r + m) / n and m others are discoveries without reports.

    Args:
      p_values: with what other labs report, float64 of shape (n,).
      alone: without, of the same shape; never smaller.
    """
    levels = adjusted(alone)
    aided = np.flatnonzero(p_values < alone)
    ordered = aided[np.argsort(p_values[aided], kind="stable")]
    others = np.concatenate([[0.0], np.sort(levels[p_values == alone])])
    m = np.arange(len(others))
    least = [
        float(np.maximum(others, len(alone) * p_values[i] / (rank + m)).min())
        for rank, i in enumerate(ordered, 1)
    ]
    levels[ordered] = np.minimum(np.minimum.accumulate(least[::-1])[::-1], 1.0)
    return levels


def verdicts(windows: Sequence[WindowTests], rate: float, version: int = 0) -> dict[str, Verdict]:
    """Verdicts by name on all tests with small p-values, windows in the order of their end.

    Args:
      windows: that are known so far.
      rate: of false discoveries over all windows, at most.
      version: of what they are made from.
    """
    state = unaided = BatchBH(rate)
    found = {}
    for window in sorted(windows, key=lambda w: w.end_ms):
        alone = getattr(window, "alone", None)  # which the state of older jobs has not
        alone = window.p_values if alone is None else alone
        batch = unaided.test(alone, window.tests)
        unaided = unaided.after(batch)
        reported = window.p_values < alone
        # What nobody reported and is no discovery by itself is none, as if its p-value were 1.
        aided = np.where(reported | (alone <= batch.cut), window.p_values, 1.0)
        with_reports = state.test(aided, window.tests)
        state = state.after(with_reports)
        cuts = np.where(reported, max(batch.cut, with_reports.cut), batch.cut)
        for name, cut, q_value in zip(window.names, cuts, window.q_values, strict=True):
            found[name] = Verdict(version, float(cut), float(q_value))
    return found


@dataclass(eq=False)
class ControlDiscoveries(beam.PTransform):  # type: ignore[misc]
    """From named tests, `Versioned` values `Tested` in profile windows, to (name, Verdict).

    A name is of one test in one window. What was found out of it later has a larger version; None
    instead of a p-value takes the test back. Names of p-values above `cap` get no verdict.

    In input that ends, verdicts come once, in the global window. In a stream they come again with
    every change, in the windows of the tests; the levels of later windows may change with it.

    Attributes:
      rate: of false discoveries over all windows, at most.
      cap: no discoveries above this p-value.
      window_ms, early_firing_ms, allowed_lateness_ms, order: as of `CombineNowAndThen`.
    """

    rate: float
    cap: float
    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    order: int = 0

    def expand(self, tests: beam.PCollection[Versioned[Tested]]) -> beam.PCollection[Any]:
        period, late = self.early_firing_ms, self.allowed_lateness_ms
        found = (
            tests
            | "OneKey" >> beam.Map(lambda test: (0, test))
            | "NewestTests"
            >> CombineNowAndThen(NewestByName(), self.window_ms, period, late, int, self.order)
            | "SumUp" >> beam.ParDo(_SumUpFn(self.cap))
            | "NewestWindows" >> CombineNowAndThen(NewestByName(), 0, period, 0, int, holds=True)
        )
        if not period:
            return found | "Decide" >> beam.ParDo(_DecideFn(self.rate))
        found.element_type = typehints.Tuple[int, Any]
        return (
            found
            | "Decide" >> beam.ParDo(_DecideAgainFn(self.rate))
            | "TheirWindows" >> stream_windows(self.window_ms, late)
        )


class _SumUpFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, cap: float) -> None:
        self._cap = cap

    def process(
        self,
        element: tuple[int, list[Versioned[Tested]]],
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[tuple[int, Versioned[WindowTests]]]:
        end_ms = window.end.micros // 1000
        version = sum(test.version for test in element[1])
        yield 0, Versioned(str(end_ms), version, window_tests(end_ms, element[1], self._cap))


_Windows = tuple[int, list[Versioned[WindowTests]]]


class _DecideFn(beam.DoFn):  # type: ignore[misc]
    """Decides on all windows, once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def process(self, element: _Windows) -> Iterator[tuple[str, Verdict]]:
        yield from self._verdicts(element[1]).items()

    def _verdicts(self, entries: Sequence[Versioned[WindowTests]]) -> dict[str, Verdict]:
        version = sum(entry.version for entry in entries)
        return verdicts([entry.value for entry in entries], self._rate, version)


class _DecideAgainFn(_DecideFn):
    """Decides whenever a window has changed, and says what is news.

    Most windows are long over: what is said of them is said once. What was said is state, which a
    runner takes back together with what followed from it. A worker that goes on after such a
    failure would remember what nobody after it has heard.
    """

    SAID = userstate.BagStateSpec("said", coders.PickleCoder())

    def process(
        self, element: _Windows, said: Any = beam.DoFn.StateParam(SAID)
    ) -> Iterator[TimestampedValue]:
        found = self._verdicts(element[1])
        before: dict[int, bytes] = next(iter(said.read()), {})
        now = dict(before)
        for window in (entry.value for entry in element[1]):
            own = [(name, found[name]) for name in window.names]
            words = repr([(name, verdict.cut, verdict.q_value) for name, verdict in own])
            now[window.end_ms] = blake2b(words.encode(), digest_size=16).digest()
            if now[window.end_ms] != before.get(window.end_ms):
                at = Timestamp(micros=(window.end_ms - 1) * 1000)
                yield from (TimestampedValue(pair, at) for pair in own)
        if now != before:
            said.clear()
            said.add(now)
