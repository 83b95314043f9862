"""Who is at work in the same minutes: campaigns, and nobody by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sketches import person, sketch_of
from transforms.clusters.activity import Activity
from transforms.clusters.linkables import linkable
from transforms.clusters.links import LinkOptions
from transforms.clusters.synchrony import SynchronyOptions, synchronous_pairs
from transforms.coverage.fold import minute_items
from transforms.coverage.layout import CAPACITY, MINUTE_MS, Items

FIRST = 29_000_160  # minutes since 1970, a midnight
DAY = 1_440
OPTIONS = SynchronyOptions()


def activity(minutes: Sequence[int] | np.ndarray) -> Activity:
    at = np.unique(np.asarray(minutes, np.int64))
    return Activity(
        np.sort(minute_items(at))[: CAPACITY[Items.MINUTE]],
        int(at[0]) * MINUTE_MS,
        int(at[-1]) * MINUTE_MS,
        0,
    )


def independent(rng: np.random.Generator, count: int, days: int = 14) -> Activity:
    """Poisson: any minute of the office hours of some zone."""
    at = rng.integers(0, days, count) * DAY + rng.integers(0, 540, count)
    return activity(FIRST + at + int(rng.choice([0, 480, 900])))


def timetable(rng: np.random.Generator, days: int = 14) -> Activity:
    """The same times every hour or every day, give or take a minute."""
    period = int(rng.choice([60, 120, 1_440]))
    starts = np.arange(FIRST + rng.integers(0, period), FIRST + days * DAY, period)
    return activity((starts[:, None] + np.arange(rng.integers(1, 9))).ravel())


def job(rng: np.random.Generator, plan: int, days: int = 14, length: int = 4) -> Activity:
    """A run a day, at a time that is drawn anew each day from a common plan."""
    starts = FIRST + np.arange(days) * DAY + np.random.default_rng(plan).integers(0, DAY, days)
    return activity((starts[:, None] + np.arange(length + int(rng.integers(0, 2)))).ravel())


def crowd(seed: int, count: int) -> list[Activity]:
    rng = np.random.default_rng(seed)
    people = [independent(rng, 1 + int(rng.lognormal(3.5, 1))) for _ in range(count // 2)]
    clocks = [timetable(rng) for _ in range(count // 4)]
    return people + clocks + [job(rng, 1_000 * seed + i) for i in range(count // 4)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_independent_accounts_are_linked_by_nothing(seed: int) -> None:
    """At most 0.01 pairs expected of each crowd, 0.25 of all the examples: twice is no chance."""
    assert len(synchronous_pairs(crowd(seed, 80), OPTIONS)) <= 1


def test_chance_pairs_are_as_rare_as_promised() -> None:
    """20 crowds and 10 pairs allowed in each: P(more than 300) of a Poisson of 200 is 1e-11."""
    loose = replace(OPTIONS, false_pairs=10.0)
    found = sum(len(synchronous_pairs(crowd(seed, 80), loose)) for seed in range(20))
    assert found <= 300


def test_accounts_that_one_plan_drives_are_linked_in_a_crowd() -> None:
    rng = np.random.default_rng(5)
    accounts = crowd(3, 120) + [job(rng, 77) for _ in range(12)]
    found = synchronous_pairs(accounts, OPTIONS)
    driven = len(accounts) - 12
    assert (found >= driven).all()
    assert len(np.unique(found)) == 12


def test_two_timetables_that_meet_once_meet_for_ever_and_say_nothing() -> None:
    daily = activity((FIRST + 130 + np.arange(28)[:, None] * DAY + np.arange(5)).ravel())
    hourly = activity((FIRST + 17 + np.arange(28 * 24)[:, None] * 60 + np.arange(2)).ravel())
    assert len(synchronous_pairs([daily, daily, hourly, hourly], OPTIONS)) == 0


def test_a_days_rush_links_nobody() -> None:
    """Everybody comes in the minutes after a release, and at odd times of their own."""
    rng = np.random.default_rng(2)
    rush = FIRST + 3 * DAY + 600 + np.arange(8)
    accounts = [
        activity(np.append(rush, FIRST + rng.integers(0, 14 * DAY, 20))) for _ in range(150)
    ]
    assert len(synchronous_pairs(accounts, OPTIONS)) == 0


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_the_pairs_do_not_depend_on_the_order_of_accounts(random: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    accounts = crowd(seed, 24) + [job(rng, seed) for _ in range(5)]
    order = list(range(len(accounts)))
    random.shuffle(order)
    expected = {frozenset(pair) for pair in synchronous_pairs(accounts, OPTIONS).tolist()}
    moved = synchronous_pairs([accounts[i] for i in order], OPTIONS)
    assert {frozenset((order[i], order[j])) for i, j in moved.tolist()} == expected


def test_what_is_shared_otherwise_needs_less() -> None:
    """Of one pair that shares something, instead of all pairs of a crowd, less is odd enough."""
    rng = np.random.default_rng(8)
    accounts = crowd(4, 300) + [job(rng, 5, days=4, length=2) for _ in range(2)]
    pair = np.array([[len(accounts) - 2, len(accounts) - 1]])
    assert len(synchronous_pairs(accounts, OPTIONS)) == 0
    assert synchronous_pairs(accounts, OPTIONS, pair).tolist() == pair.tolist()


@pytest.mark.parametrize("accounts", [[], [activity([FIRST])], [activity([FIRST])] * 5])
def test_few_accounts_or_minutes_give_nothing(accounts: list[Activity]) -> None:
    assert synchronous_pairs(accounts, OPTIONS).shape == (0, 2)


def test_an_activity_is_that_of_the_profile() -> None:
    events = person("a", 1, 200)
    found = linkable("a", sketch_of(events), LinkOptions()).activity
    minutes = np.sort(minute_items(np.unique(events.time_ms // MINUTE_MS)))
    assert found.minutes.tolist() == minutes[: CAPACITY[Items.MINUTE]].tolist()
    assert (found.first_ms, found.last_ms) == (events.time_ms.min(), events.time_ms.max())
