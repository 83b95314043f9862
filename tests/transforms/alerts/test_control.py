"""Verdicts on windows of tests, and the same through Beam."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from hypothesis import given
from hypothesis import strategies as st

from pipelines.detect.controlled import JoinVerdicts
from tests.support.state import Bag
from transforms.alerts.control import (
    ControlDiscoveries,
    Plain,
    Rates,
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

DAY_MS = 86_400_000
RATE, CAP = 0.2, 0.05
ONE = Rates(RATE)
TESTS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def named(day: int, p_values: Iterable[float | None]) -> list[Versioned[Tested]]:
    return [Versioned(f"{day}/t{i:02d}", 1, p) for i, p in enumerate(p_values)]


def windows(days: list[list[float]]) -> list[Any]:
    return [window_tests((d + 1) * DAY_MS, named(d, p), CAP) for d, p in enumerate(days)]


@given(st.lists(TESTS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_windows_are_decided_in_the_order_of_their_end(
    days: list[list[float]], random: Any
) -> None:
    found = verdicts(windows(days), ONE, CAP)
    shuffled = windows(days)
    random.shuffle(shuffled)
    assert verdicts(shuffled, ONE, CAP) == found
    state = BatchBH(RATE)
    for day, values in enumerate(days):
        p = np.array(values)
        batch = state.test(p[p <= CAP], len(p))
        state = state.after(batch)
        for i in np.flatnonzero(p <= CAP):
            assert found[f"{day}/t{i:02d}"] == Verdict(0, batch.cut, float(adjusted(p)[i]))
    assert len(found) == sum(p <= CAP for values in days for p in values)


# --- what other labs report -----------------------------------------------------------------------

RATES = Rates(0.9 * RATE, (("lab-a", 0.06 * RATE), ("lab-b", 0.04 * RATE)))
# A p-value, and who reports it; lab-c is believed nothing.
TOLD = st.lists(
    st.tuples(st.floats(0, 1), st.none() | st.sets(st.sampled_from(["lab-a", "lab-b", "lab-c"]))),
    min_size=1,
    max_size=30,
)
Told = list[tuple[float, set[str] | None]]


def told(day: int, tests: Told) -> list[Versioned[Tested]]:
    values = [p if who is None else Reported(p, tuple(sorted(who))) for p, who in tests]
    return [Versioned(f"{day}/t{i:02d}", 1, value) for i, value in enumerate(values)]


def told_windows(days: list[Told]) -> list[WindowTests]:
    return [window_tests((d + 1) * DAY_MS, told(d, tests), CAP) for d, tests in enumerate(days)]


@given(st.lists(TOLD, min_size=1, max_size=4))
def test_what_nobody_reported_is_decided_as_if_nothing_had_been(days: list[Told]) -> None:
    found = verdicts(told_windows(days), RATES, CAP)
    without = verdicts(windows([[p for p, _ in tests] for tests in days]), RATES, CAP)
    for day, tests in enumerate(days):
        for i, (p, who) in enumerate(tests):
            name = f"{day}/t{i:02d}"
            if not who or who == {"lab-c"}:
                assert p > CAP or found[name] == without[name]
            elif name in without:  # a report excuses nobody
                assert found[name].cut >= without[name].cut
                assert found[name].q_value <= without[name].q_value


@given(TOLD)
def test_a_discovery_is_one_of_a_family_at_the_familys_own_level(tests: Told) -> None:
    """What Benjamini and Hochberg's rate rests on, family by family."""
    found = verdicts(told_windows([tests]), RATES, CAP)
    families = {"": [p for p, _ in tests]}
    for source, _ in RATES.sources:
        families[source] = [p for p, who in tests if who and source in who]
    cuts = {
        source: BatchBH(dict([("", RATES.everybody), *RATES.sources])[source])
        .test(np.array([p for p in own if p <= CAP or source]), len(own)).cut
        for source, own in families.items()
    }  # fmt: skip
    for i, (p, who) in enumerate(tests):
        if p <= CAP or who:
            assert found[f"0/t{i:02d}"].cut == max(cuts[s] for s in ("", *(who or ())) if s in cuts)


def test_the_q_value_is_the_rate_at_which_it_would_be_a_discovery() -> None:
    """The total rate, of which each family has its share."""
    tests: Told = [(0.0004, None), (0.003, {"lab-a"}), (0.02, {"lab-a", "lab-b"})]
    tests += [(0.5, None)] * 47
    for name, verdict in verdicts(told_windows([tests]), RATES, CAP).items():
        for rate, is_one in ((verdict.q_value * 0.999, False), (verdict.q_value * 1.001, True)):
            # The first window may spend a share of the rate only.
            scale = rate / BatchBH(RATES.total).level(len(tests))
            rates = Rates(
                RATES.everybody * scale, tuple((s, own * scale) for s, own in RATES.sources)
            )
            p = tests[int(name[-2:])][0]
            assert (p <= verdicts(told_windows([tests]), rates, CAP)[name].cut) == is_one


def test_a_report_of_one_cluster_flags_no_other_one() -> None:
    """Two pairs of customers and a campaign, none of them a discovery alone. Benjamini and
    Hochberg would take all three if the report made the campaign's p-value a tenth."""
    level = BatchBH(RATES.everybody).level(250) / 250
    pair, campaign = 2.5 * level, 9 * level
    assert BatchBH(RATES.everybody).test(np.array([pair, pair, *[0.5] * 248])).rejected == 0
    aided = np.array([pair, pair, campaign / 10, *[0.5] * 247])
    assert BatchBH(RATES.everybody).test(aided).rejected == 3
    tests: Told = [(pair, None), (pair, None), (campaign, {"lab-a"}), *[(0.5, None)] * 247]
    found = verdicts(told_windows([tests]), RATES, CAP)
    cuts = [found[f"0/t{i:02d}"].cut for i in range(3)]
    assert [cut >= p for cut, p in zip(cuts, (pair, pair, campaign), strict=True)] == [
        False, False, True,
    ]  # fmt: skip


def test_noise_of_one_source_takes_nothing_from_another() -> None:
    campaign: Told = [(0.0009, {"lab-b"}), *[(0.5, None)] * 200]
    noise: Told = [(float(p), {"lab-a"}) for p in np.linspace(0.02, 1, 99)]
    for tests in (campaign, campaign + noise):
        assert verdicts(told_windows([tests]), RATES, CAP)["0/t00"].cut == 0.0009
    by_a: Told = [(0.0009, {"lab-a"}), *campaign[1:]]
    assert verdicts(told_windows([by_a]), RATES, CAP)["0/t00"].cut == 0.0009
    assert verdicts(told_windows([by_a + noise]), RATES, CAP)["0/t00"].cut == 0


@pytest.mark.parametrize("lies", [False, True])
def test_with_reports_the_rate_holds_whatever_sources_say(lies: bool) -> None:
    rng = np.random.default_rng(4)
    n, signals, trials = 60, 6, 400
    false, found = [], 0
    for _ in range(trials):
        p = rng.random(n)
        p[:signals] = rng.uniform(0, 0.002, signals)
        # One that lies names benign ones only, as few as helps it most.
        named = [signals] if lies else [*range(3), *rng.choice(n, 5, replace=False)]
        tests: Told = [(float(x), {"lab-a"} if i in named else None) for i, x in enumerate(p)]
        verdict = verdicts([window_tests(DAY_MS, told(0, tests), 1.0)], RATES, 1.0)
        taken = [i for i, x in enumerate(p) if x <= verdict[f"0/t{i:02d}"].cut]
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
    assert verdicts([old], RATES, CAP) == verdicts([made], RATES, CAP)
    for before in (None, made.p_values):  # p-values without reports were in this place
        object.__setattr__(old, "families", before)
        assert verdicts([old], RATES, CAP) == verdicts([made], RATES, CAP)
    again = pickle.loads(pickle.dumps(made))
    assert verdicts([again], RATES, CAP) == verdicts([made], RATES, CAP)


def test_a_test_that_was_taken_back_counts_no_more() -> None:
    with_it = window_tests(DAY_MS, named(0, [0.001, 0.02, None, None]), CAP)
    without = window_tests(DAY_MS, named(0, [0.001, 0.02]), CAP)
    assert (with_it.tests, with_it.names) == (without.tests, without.names) == (2, without.names)
    assert with_it.q_values.tolist() == without.q_values.tolist()


def test_a_later_window_gains_from_discoveries_and_an_earlier_one_never() -> None:
    quiet, rich = [0.9] * 40, [1e-4] * 10 + [0.9] * 30
    suspicious = [0.0025] * 3 + [0.9] * 37
    after_rich = verdicts(windows([rich, suspicious]), ONE, CAP)["1/t00"]
    after_quiet = verdicts(windows([quiet, suspicious]), ONE, CAP)["1/t00"]
    before_rich = verdicts(windows([suspicious, rich]), ONE, CAP)["0/t00"]
    before_quiet = verdicts(windows([suspicious, quiet]), ONE, CAP)["0/t00"]
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
                | ControlDiscoveries(ONE, CAP, DAY_MS, 0, 0)
            )
            assert_that(found, keep(name))
    one, other = (pickle.loads((tmp_path / name).read_bytes()) for name in ("a", "b"))
    assert one == other
    expected = verdicts(windows(days), ONE, CAP)
    assert {n: v[1:] for n, v in one.items()} == {n: v[1:] for n, v in expected.items()}


def in_columns(tests: list[Versioned[Tested]]) -> Plain:
    """The same tests, small p-values with their names."""
    small = [test for test in tests if test.value <= CAP]
    return Plain(
        sum(test.version for test in tests),
        tuple(test.name for test in small),
        np.array([test.value for test in small], np.float64),
        np.array([test.value for test in tests if test.value > CAP], np.float64),
    )


@given(TOLD, st.lists(st.floats(0, 1) | st.floats(0, CAP), max_size=30), st.integers(1, 4))
def test_tests_in_columns_are_those_one_by_one(tests: Told, more: list[float], parts: int) -> None:
    one_by_one, plain = told(0, tests), named(1, more)
    wanted = window_tests(7, [*one_by_one, *plain], CAP)
    found = window_tests(7, one_by_one, CAP, [in_columns(plain[i::parts]) for i in range(parts)])
    assert (found.tests, found.names) == (wanted.tests, wanted.names)
    assert found.p_values.tolist() == wanted.p_values.tolist()
    assert found.q_values.tolist() == wanted.q_values.tolist()
    for own, other in zip(found.families, wanted.families, strict=True):
        assert own.source == other.source
        assert own.places.tolist() == other.places.tolist()
        assert own.q_values.tolist() == other.q_values.tolist()


def test_through_beam_tests_in_columns_have_their_verdicts(tmp_path: Path) -> None:
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    rng = np.random.default_rng(3)
    days = [[*rng.uniform(0, 0.002, 4), *rng.random(20)] for _ in range(3)]

    def keep(found: Iterable[Any]) -> None:
        (tmp_path / "found").write_bytes(pickle.dumps(dict(found)))

    one_by_one = [list(named(day, values)) for day, values in enumerate(days)]
    mixed = [
        [*tests[:9:2], in_columns(tests[1:9:2]), in_columns(tests[9:])] for tests in one_by_one
    ]
    verdicts_of = []
    for made in (one_by_one, mixed):
        with TestPipeline() as pipeline:
            timed = [
                TimestampedValue(test, day * DAY_MS / 1000)
                for day, tests in enumerate(made)
                for test in tests
            ]
            found = (
                pipeline
                | beam.Create(timed)
                | beam.Map(lambda timed: timed)
                | beam.WindowInto(FixedWindows(DAY_MS / 1000))
                | ControlDiscoveries(ONE, CAP, DAY_MS, 0, 0)
            )
            assert_that(found, keep)
        verdicts_of.append(pickle.loads((tmp_path / "found").read_bytes()))
    assert verdicts_of[0]
    assert verdicts_of[1] == verdicts_of[0]


def test_a_report_that_was_overtaken_is_not_remembered_for_the_newest() -> None:
    def window(end: int, version: int, p_values: dict[str, float]) -> Versioned[WindowTests]:
        tests = [Versioned(name, 1, p) for name, p in p_values.items()]
        return Versioned(str(end), version, window_tests(end, tests, CAP))

    others = {"x": 0.0034} | {f"y{i}": 0.5 for i in range(9)}
    dull, odd = {"a": 0.9, "b": 0.8}, {"a": 1e-6, "b": 1e-6}
    # Two discoveries, by which the next window may do more, are taken back.
    reports = [
        (0, [window(1000, 10 + i, tests), window(2000, 10, others)])
        for i, tests in enumerate((dull, odd, dull))
    ]
    cuts = set()
    for order in permutations(range(3)):
        decide, state, join = _DecideAgainFn(Rates(0.2), 0.05), Bag(), JoinVerdicts(0.05)
        newest = join.create_accumulator()
        for i in order:
            for told in decide.process(reports[i], state):
                name, verdict = told.value
                if name == "x":
                    newest = join.add_input(newest, verdict)
        cuts.add(newest[1].cut)
    assert len(cuts) == 1


def test_a_verdict_is_said_once_and_again_by_whoever_goes_on_after_a_failure() -> None:
    one, other = _DecideAgainFn(ONE, CAP), _DecideAgainFn(ONE, CAP)
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
    assert said(one, (0, [first[1][0], Versioned("2", 3, days[1])])) == ["1/t00", "1/t01"]
