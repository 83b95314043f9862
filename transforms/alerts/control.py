"""False discovery control of `discoveries` in Beam: windows of tests in, verdicts out.

Of a window's tests only names and p-values meet under one key, and of all windows only the small
p-values, because a window's level depends on the windows that ended before it.

Clusters that other labs report are tested twice, by the same p-value, which is of what we see
ourselves: among all tests, and among those that one source reports, of which each source has a
share of the rate. One odd cluster among a thousand tests need not mean anything; that the one which
another lab names is odd, does. What is a discovery of either family is one. The share of false ones
among several families' discoveries is at most the sum of each family's own, so that the rates of
all families add up to the one that was asked for. It holds whatever sources say, because that is
said before our p-values are seen: who lies chooses where we look, not what we find. And a report of
one cluster decides about no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam import coders, typehints
from apache_beam.transforms import userstate
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from numpy.typing import NDArray

from transforms.alerts.discoveries import BatchBH, Float, adjusted
from transforms.clusters.newest import NewestByName, Versioned
from transforms.pickling import pickled_by_fields
from transforms.sessions.now_and_then import CombineNowAndThen, aligned_windows, stream_windows


class Verdict(NamedTuple):
    """What the control says of a test; `version` grows with each report.

    Attributes:
      cut: up to this the p-value of this test makes it a discovery.
      q_value: the smallest rate at which this test would be one, its window alone.
    """

    version: int
    cut: float
    q_value: float


class Reported(NamedTuple):
    """The p-value of what other labs report, without what they say of it, and who they are."""

    p_value: float
    sources: tuple[str, ...]


Tested = float | Reported | None
"""p-value of a test; None for one that is tested no more."""


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Tests of a window of input that ends, many in columns: nobody reports them, and each is
    there once.

    Attributes:
      version: of all of them, which is the sum of what each would have alone.
      names, p_values: of those with small ones, float64 of shape (len(names),).
      others: p-values of those that are never discoveries, float64.
    """

    version: int
    names: tuple[str, ...]
    p_values: Float
    others: Float


class Rates(NamedTuple):
    """Rates of false discoveries over all windows, at most.

    Attributes:
      everybody: of all tests together.
      sources: (source, of the tests that it reports), for each that is believed.
    """

    everybody: float
    sources: tuple[tuple[str, float], ...] = ()

    @property
    def total(self) -> float:
        """Of all that is found."""
        return self.everybody + sum(rate for _, rate in self.sources)


class Family(NamedTuple):
    """The tests of a window that one source reports.

    Attributes:
      source: of the reports.
      places: of its tests among the window's names, int64 of shape (n,).
      q_values: of these tests alone, float64 of shape (n,).
    """

    source: str
    places: NDArray[np.int64]
    q_values: Float


@dataclass(frozen=True, slots=True, eq=False)
class WindowTests:
    """The tests of a window.

    Attributes:
      end_ms: of the window.
      tests: in it.
      names: of those with small p-values, or that are reported.
      p_values, q_values: of these among all tests, float64 of shape (len(names),).
      families: by source.
    """

    end_ms: int
    tests: int
    names: tuple[str, ...]
    p_values: Float
    q_values: Float
    families: tuple[Family, ...] = ()


def window_tests(
    end_ms: int, tests: Sequence[Versioned[Tested]], cap: float, plain: Sequence[Plain] = ()
) -> WindowTests:
    """Sums a window up.

    Args:
      end_ms: of the window.
      tests: p-value by name.
      cap: larger p-values are never discoveries, and only counted unless they are reported.
      plain: more tests, of other names.
    """
    live = [(test.name, test.value) for test in tests if test.value is not None]
    for some in plain:
        live += zip(some.names, some.p_values.tolist(), strict=True)
    if plain:
        live.sort(key=lambda test: test[0])
    own = np.array([v.p_value if isinstance(v, Reported) else v for _, v in live], np.float64)
    told = np.array([isinstance(v, Reported) for _, v in live], bool)
    kept = np.flatnonzero((own <= cap) | told)
    # How many there are, and how small, counts for the names that are kept.
    p = np.concatenate([own, *(some.others for some in plain)])
    names = tuple(live[int(i)][0] for i in kept)
    p_values = p[kept]
    places: dict[str, list[int]] = {}
    for place, i in enumerate(kept):
        value = live[int(i)][1]
        for source in value.sources if isinstance(value, Reported) else ():
            places.setdefault(source, []).append(place)
    families = [(source, np.array(own, np.int64)) for source, own in sorted(places.items())]
    return WindowTests(
        end_ms, len(p), names, p_values, adjusted(p)[kept],
        tuple(Family(source, own, adjusted(p_values[own])) for source, own in families),
    )  # fmt: skip


def verdicts(
    windows: Sequence[WindowTests], rates: Rates, cap: float, version: int = 0
) -> dict[str, Verdict]:
    """Verdicts by name on all tests with small p-values, windows in the order of their end.

    Args:
      windows: that are known so far.
      rates: of false discoveries.
      cap: as of `window_tests`.
      version: of what they are made from.
    """
    state = BatchBH(rates.everybody)
    states = {source: BatchBH(rate) for source, rate in rates.sources}
    found = {}
    for window in sorted(windows, key=lambda w: w.end_ms):
        # Larger ones are here because they are reported, of which this family knows nothing.
        batch = state.test(window.p_values[window.p_values <= cap], window.tests)
        state = state.after(batch)
        cuts = np.full(len(window.names), batch.cut)
        q_values = window.q_values * (rates.total / rates.everybody)
        for family in _families(window):
            if family.source not in states:
                continue  # it is believed no more, or not yet
            own = states[family.source]
            of_family = own.test(window.p_values[family.places])
            states[family.source] = own.after(of_family)
            cuts[family.places] = np.maximum(cuts[family.places], of_family.cut)
            scaled = family.q_values * (rates.total / own.rate)
            q_values[family.places] = np.minimum(q_values[family.places], scaled)
        for name, cut, q_value in zip(window.names, cuts, q_values, strict=True):
            found[name] = Verdict(version, float(cut), min(float(q_value), 1.0))
    return found


def _families(window: WindowTests) -> tuple[Family, ...]:
    found = getattr(window, "families", ())  # in the state of older jobs there is none, or another
    return found if isinstance(found, tuple) else ()


@dataclass(eq=False)
class ControlDiscoveries(beam.PTransform):  # type: ignore[misc]
    """From named tests, `Versioned` values `Tested` in profile windows, to (name, Verdict).

    A name is of one test in one window. What was found out of it later has a larger version; None
    instead of a p-value takes the test back. Names of p-values above `cap` get no verdict, unless
    they are reported.

    In input that ends, verdicts come once, in the global window, and tests may come as `Plain`
    ones. In a stream they come again with every change, in the windows of the tests; the levels of
    later windows may change with it.

    Attributes:
      rates: of false discoveries over all windows, at most.
      cap: no discoveries above this p-value, unless they are reported.
      window_ms, early_firing_ms, allowed_lateness_ms, order: as of `CombineNowAndThen`.
    """

    rates: Rates
    cap: float
    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    order: int = 0

    def expand(self, tests: beam.PCollection[Versioned[Tested]]) -> beam.PCollection[Any]:
        period, late = self.early_firing_ms, self.allowed_lateness_ms
        under_one = tests | "OneKey" >> beam.Map(lambda test: (0, test))
        if period:
            newest: Any = CombineNowAndThen(
                NewestByName(), self.window_ms, period, late, self.order
            )
            summed = under_one | "NewestTests" >> newest | "SumUp" >> beam.ParDo(_SumUpFn(self.cap))
        else:
            summed = (
                under_one
                | "Windows" >> aligned_windows(self.window_ms, late)
                | "AllTests" >> beam.GroupByKey()
                | "SumUp" >> beam.ParDo(_SumUpTogetherFn(self.cap))
            )
        found = summed | "NewestWindows" >> CombineNowAndThen(
            NewestByName(), 0, period, 0, holds=True
        )
        if not period:
            return found | "Decide" >> beam.ParDo(_DecideFn(self.rates, self.cap))
        found.element_type = typehints.Tuple[int, Any]
        return (
            found
            | "Decide" >> beam.ParDo(_DecideAgainFn(self.rates, self.cap))
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
        yield self.summed(element[1], window)

    def summed(
        self, tests: Sequence[Versioned[Tested]], window: Any, plain: Sequence[Plain] = ()
    ) -> tuple[int, Versioned[WindowTests]]:
        """The tests of a window under one key."""
        end_ms = window.end.micros // 1000
        version = sum(test.version for test in tests) + sum(some.version for some in plain)
        found = window_tests(end_ms, tests, self._cap, plain)
        return 0, Versioned(str(end_ms), version, found)


class _SumUpTogetherFn(_SumUpFn):
    """Sums up all that there is of a window that has come to its end."""

    def process(
        self,
        element: tuple[int, Iterable[Versioned[Tested] | Plain]],
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[tuple[int, Versioned[WindowTests]]]:
        newest: dict[str, Versioned[Any]] = {}
        plain: list[Plain] = []
        for test in element[1]:
            if isinstance(test, Plain):
                plain.append(test)
            else:
                NewestByName().add_input(newest, test)
        tests = NewestByName().extract_output(newest)
        yield self.summed(tests, window, plain)


_Windows = tuple[int, list[Versioned[WindowTests]]]


class _DecideFn(beam.DoFn):  # type: ignore[misc]
    """Decides on all windows, once."""

    def __init__(self, rates: Rates, cap: float) -> None:
        self._rates, self._cap = rates, cap

    def process(self, element: _Windows) -> Iterator[tuple[str, Verdict]]:
        yield from self._verdicts(element[1]).items()

    def _verdicts(self, entries: Sequence[Versioned[WindowTests]]) -> dict[str, Verdict]:
        version = sum(entry.version for entry in entries)
        return verdicts([entry.value for entry in entries], self._rates, self._cap, version)


_VERSION = -1  # where `_DecideAgainFn` keeps that of the newest report, beside ends of windows


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
        _, entries = element
        before: dict[int, Any] = next(iter(said.read()), {})
        now = before | {_VERSION: sum(entry.version for entry in entries)}
        # One that was overtaken says nothing: what follows would drop it, and here it would count
        # as said.
        if now[_VERSION] >= before.get(_VERSION, 0):
            yield from self._news(entries, before, now)
            if now != before:
                said.clear()
                said.add(now)

    def _news(
        self, entries: Sequence[Versioned[WindowTests]], before: dict[int, Any], now: dict[int, Any]
    ) -> Iterator[TimestampedValue]:
        """Verdicts that were not said before, which are added to `now`."""
        found = self._verdicts(entries)
        for window in (entry.value for entry in entries):
            own = [(name, found[name]) for name in window.names]
            words = repr([(name, verdict.cut, verdict.q_value) for name, verdict in own])
            now[window.end_ms] = blake2b(words.encode(), digest_size=16).digest()
            if now[window.end_ms] != before.get(window.end_ms):
                at = Timestamp(micros=(window.end_ms - 1) * 1000)
                yield from (TimestampedValue(pair, at) for pair in own)
