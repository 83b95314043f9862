"""Verdicts on windows of tests, and the same through Beam."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from hypothesis import given
from hypothesis import strategies as st

from tests.support.state import Bag
from transforms.alerts.control import (
    ControlDiscoveries,
    Reported,
    Tested,
    Verdict,
    WindowTests,
    _DecideAgainFn,
    verdicts,
    window_tests,
)
from transforms.alerts.discoveries import BatchBH, adjusted
from transforms.clusters.newest import Versioned
from transforms.sharing.watch.evidence import combine_with_reported

DAY_MS = 86_400_000
RATE, CAP = 0.2, 0.05
TESTS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def named(day: int, p_values: Iterable[float | None]) -> list[Versioned[Tested]]:
    return [Versioned(f"{day}/t{i:02d}", 1, p) for i, p in enumerate(p_values)]


def windows(days: list[list[float]]) -> list[Any]:
    return [window_tests((d + 1) * DAY_MS, named(d, p), CAP) for d, p in enumerate(days)]


@given(st.lists(TESTS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_windows_are_decided_in_the_order_of_their_end(
    days: list[list[float]], random: Any
) -> None:
    found = verdicts(windows(days), RATE)
    shuffled = windows(days)
    random.shuffle(shuffled)
    assert verdicts(shuffled, RATE) == found
    state = BatchBH(RATE)
    for day, values in enumerate(days):
        p = np.array(values)
        batch = state.test(p[p <= CAP], len(p))
        state = state.after(batch)
        for i in np.flatnonzero(p <= CAP):
            assert found[f"{day}/t{i:02d}"] == Verdict(0, batch.cut, float(adjusted(p)[i]))
    assert len(found) == sum(p <= CAP for values in days for p in values)


# --- what other labs report -----------------------------------------------------------------------

# A p-value, and what reports make of it: at most ten times as small, or not reported.
AIDED = st.lists(
    st.tuples(st.floats(0, 1), st.none() | st.floats(0.1, 0.9)), min_size=1, max_size=30
)


def aided(day: int, tests: list[tuple[float, float | None]]) -> list[Versioned[Tested]]:
    values = [p if gain is None else Reported(p * gain, p) for p, gain in tests]
    return [Versioned(f"{day}/t{i:02d}", 1, value) for i, value in enumerate(values)]


@given(st.lists(AIDED, min_size=1, max_size=4))
def test_what_nobody_reported_is_decided_as_if_nothing_had_been(
    days: list[list[tuple[float, float | None]]],
) -> None:
    reported = verdicts(
        [window_tests((d + 1) * DAY_MS, aided(d, tests), CAP) for d, tests in enumerate(days)], RATE
    )
    without = verdicts(windows([[p for p, _ in tests] for tests in days]), RATE)
    for day, tests in enumerate(days):
        for i, (p, gain) in enumerate(tests):
            name = f"{day}/t{i:02d}"
            if gain is None or not p:
                assert reported.get(name) == without.get(name)
            elif p <= CAP and p <= without[name].cut:
                assert p * gain <= reported[name].cut  # reports excuse nobody


@given(AIDED)
def test_a_discovery_is_one_at_the_level_of_all_that_are(
    tests: list[tuple[float, float | None]],
) -> None:
    """What Benjamini and Hochberg's rate rests on."""
    found = verdicts([window_tests(DAY_MS, aided(0, tests), CAP)], RATE)
    p = {f"0/t{i:02d}": p * (1 if gain is None else gain) for i, (p, gain) in enumerate(tests)}
    discovered = [p[name] for name, verdict in found.items() if p[name] <= verdict.cut]
    level = BatchBH(RATE).level(len(tests))
    without = verdicts(windows([[value for value, _ in tests]]), RATE)
    for name, verdict in found.items():
        if abs(verdict.q_value - level) > 1e-9:
            assert (p[name] <= verdict.cut) == (verdict.q_value <= level)
        if name in without:
            assert verdict.q_value <= without[name].q_value + 1e-12
    assert all(value <= level * len(discovered) / len(tests) + 1e-12 for value in discovered)


def test_a_report_of_one_cluster_flags_no_other_one() -> None:
    """Two pairs of customers and a campaign, none of them a discovery alone. Benjamini and
    Hochberg would take all three once the campaign's p-value is a tenth."""
    level = BatchBH(RATE).level(250) / 250
    pair, campaign = 2.5 * level, 9 * level
    usual = [(0.5, None)] * 247
    tests = [(pair, None), (pair, None), (campaign, 0.1), *usual]
    assert BatchBH(RATE).test(np.array([pair, pair, campaign, *[0.5] * 247])).rejected == 0
    assert BatchBH(RATE).test(np.array([pair, pair, campaign / 10, *[0.5] * 247])).rejected == 3
    found = verdicts([window_tests(DAY_MS, aided(0, tests), CAP)], RATE)
    cuts = [found[f"0/t{i:02d}"].cut for i in range(3)]
    assert [cut >= p for cut, p in zip(cuts, (pair, pair, campaign / 10), strict=True)] == [
        False, False, True,
    ]  # fmt: skip


def test_with_reports_the_rate_holds() -> None:
    rng = np.random.default_rng(4)
    n, signals, trials = 60, 6, 400
    false, found = [], 0
    for _ in range(trials):
        p = rng.random(n)
        p[:signals] = rng.uniform(0, 0.002, signals)
        tests: list[tuple[float, float | None]] = [(float(value), None) for value in p]
        for i in rng.choice(n, 20, replace=False):  # of which most are benign, by chance
            by_reports = float(rng.random() if i >= signals else rng.uniform(0, 0.01))
            now = combine_with_reported(float(p[i]), by_reports, 0.5, 10.0)
            tests[i] = float(p[i]), min(now / float(p[i]), 1.0)
        verdict = verdicts([window_tests(DAY_MS, aided(0, tests), 1.0)], RATE)
        taken = [
            i for i, (value, gain) in enumerate(tests)
            if value * (1 if gain is None else gain) <= verdict[f"0/t{i:02d}"].cut
        ]  # fmt: skip
        false.append(sum(i >= signals for i in taken) / max(len(taken), 1))
        found += sum(i < signals for i in taken)
    spread = float(np.std(false)) / trials**0.5
    assert np.mean(false) <= RATE + 3 * spread
    assert found > trials * signals / 2


def test_state_of_a_job_that_knew_no_reports_can_be_read() -> None:
    made = windows([[1e-4] * 3 + [0.9] * 20])[0]
    old = object.__new__(WindowTests)
    for name in ("end_ms", "tests", "names", "p_values", "q_values"):
        object.__setattr__(old, name, getattr(made, name))
    assert verdicts([old], RATE) == verdicts([made], RATE)
    again = pickle.loads(pickle.dumps(made))
    assert verdicts([again], RATE) == verdicts([made], RATE)


def test_a_test_that_was_taken_back_counts_no_more() -> None:
    with_it = window_tests(DAY_MS, named(0, [0.001, 0.02, None, None]), CAP)
    without = window_tests(DAY_MS, named(0, [0.001, 0.02]), CAP)
    assert (with_it.tests, with_it.names) == (without.tests, without.names) == (2, without.names)
    assert with_it.q_values.tolist() == without.q_values.tolist()


def test_a_later_window_gains_from_discoveries_and_an_earlier_one_never() -> None:
    quiet, rich = [0.9] * 40, [1e-4] * 10 + [0.9] * 30
    suspicious = [0.0025] * 3 + [0.9] * 37
    after_rich = verdicts(windows([rich, suspicious]), RATE)["1/t00"]
    after_quiet = verdicts(windows([quiet, suspicious]), RATE)["1/t00"]
    before_rich = verdicts(windows([suspicious, rich]), RATE)["0/t00"]
    before_quiet = verdicts(windows([suspicious, quiet]), RATE)["0/t00"]
    assert after_rich.cut == 0.0025
    assert after_quiet.cut == 0.0
    assert before_rich == before_quiet


def test_through_beam_a_test_has_one_verdict_whatever_the_order_and_repeats(tmp_path: Path) -> None:
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    rng = np.random.default_rng(2)
    days = [[*rng.uniform(0, 0.002, 4), *rng.random(20)] for _ in range(3)]
    timed = [
        TimestampedValue(test, (day * DAY_MS) / 1000)
        for day, values in enumerate(days)
        for test in named(day, values)
    ]
    # A test that was reported before, with another p-value, and one that was taken back.
    timed += [TimestampedValue(Versioned("0/t00", 0, 0.7), 0), TimestampedValue(timed[5].value, 0)]
    timed += [
        TimestampedValue(Versioned("1/gone", 1, 1e-6), 86_400),
        TimestampedValue(Versioned("1/gone", 2, None), 86_400),
    ]

    def keep(name: str) -> Any:
        def check(found: Iterable[Any]) -> None:
            (tmp_path / name).write_bytes(pickle.dumps(dict(found)))

        return check

    for name, order in (("a", range(len(timed))), ("b", rng.permutation(len(timed)))):
        with TestPipeline() as pipeline:
            found = (
                pipeline
                | beam.Create([timed[int(i)] for i in order])
                | beam.Map(lambda timed: timed)
                | beam.WindowInto(FixedWindows(DAY_MS / 1000))
                | ControlDiscoveries(RATE, CAP, DAY_MS, 0, 0)
            )
            assert_that(found, keep(name))
    one, other = (pickle.loads((tmp_path / name).read_bytes()) for name in ("a", "b"))
    assert one == other
    expected = verdicts(windows(days), RATE)
    assert {n: v[1:] for n, v in one.items()} == {n: v[1:] for n, v in expected.items()}


def test_a_verdict_is_said_once_and_again_by_whoever_goes_on_after_a_failure() -> None:
    one, other = _DecideAgainFn(RATE), _DecideAgainFn(RATE)
    days = windows([[1e-4] * 3 + [0.9] * 20, [2e-4] * 2 + [0.9] * 20])
    first = 0, [Versioned("1", 1, days[0])]
    both = 0, [*first[1], Versioned("2", 1, days[1])]
    bag = Bag()

    def said(decide: _DecideAgainFn, element: Any) -> list[str]:
        return [timed.value[0] for timed in decide.process(element, bag)]

    assert said(one, first) == ["0/t00", "0/t01", "0/t02"]
    assert said(other, first) == []
    checkpoint = list(bag.held)
    assert said(one, both) == ["1/t00", "1/t01"]
    assert said(other, both) == []
    # The job goes on from its checkpoint, in the very worker that had said it.
    bag.held = checkpoint
    assert said(one, both) == ["1/t00", "1/t01"]
    # What changes and then changes back is news both times, whoever says it.
    changed = windows([[1e-4] * 3 + [0.9] * 20, [2e-4] * 2 + [0.9] * 19])[1]
    assert said(other, (0, [first[1][0], Versioned("2", 2, changed)])) == ["1/t00", "1/t01"]
    assert said(one, both) == ["1/t00", "1/t01"]
