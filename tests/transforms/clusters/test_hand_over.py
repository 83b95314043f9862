"""Who takes over when an account is refused."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.clusters.activity import NO_ACTIVITY, Activity
from transforms.clusters.hand_over import HandOverOptions, handed_over
from transforms.coverage.layout import DAY_MS, HOUR_MS

START = 1_700_000_000_000
OPTIONS = HandOverOptions()
MINUTE = 60_000


def account(first_h: float, last_h: float, blocked: int = 0) -> Activity:
    first, last = START + int(first_h * HOUR_MS), START + int(last_h * HOUR_MS)
    return NO_ACTIVITY._replace(first_ms=first, last_ms=last, blocked=blocked)


ALWAYS = account(0, 14 * 24)  # makes the window a fortnight


def pairs(
    accounts: list[Activity], sharing: list[tuple[int, int]] | None = None
) -> list[list[int]]:
    known = None if sharing is None else np.array(sharing, np.int64).reshape(-1, 2)
    return handed_over(accounts, OPTIONS, known)[0].tolist()


def test_one_that_is_refused_and_one_that_begins_at_once_are_linked_and_make_a_chain() -> None:
    chain = [
        account(0, 100, 5), account(100.2, 200, 4), account(200.3, 300, 6), account(300.1, 336),
    ]  # fmt: skip
    assert pairs([*chain, ALWAYS]) == [[0, 1], [1, 2], [2, 3]]


def test_without_a_refusal_or_after_more_than_an_hour_there_is_none() -> None:
    assert pairs([account(0, 100, 0), account(100.2, 300), ALWAYS]) == []
    assert pairs([account(0, 100, 5), account(101.2, 300), ALWAYS]) == []


def test_who_goes_on_or_was_there_before_is_no_hand_over() -> None:
    assert pairs([account(0, 330, 5), account(330.2, 336), ALWAYS]) == []
    assert pairs([account(-5, 2, 5), account(2.2, 300), ALWAYS]) == []


def test_where_many_begin_nobody_is_linked() -> None:
    rng = np.random.default_rng(1)
    crowd = [account(h, h + 20) for h in rng.uniform(80, 120, 200)]
    assert pairs([account(0, 100, 5), *crowd, ALWAYS]) == []


def test_the_more_begin_or_end_the_less_it_says() -> None:
    pair = [account(0, 100, 5), account(100.2, 300), ALWAYS]
    chances = [
        handed_over([*pair, *others], OPTIONS)[1].tolist()
        for others in ([], [account(95, 336)], [account(95, 336), account(0, 105, 1)])
    ]
    assert chances[0] == [0]
    assert 0 < chances[1][0] < chances[2][0] < OPTIONS.chance


def test_of_accounts_that_share_something_an_hour_is_enough() -> None:
    rng = np.random.default_rng(1)
    crowd = [account(h, h + 20) for h in rng.uniform(80, 120, 200)]
    accounts = [account(0, 100, 5), account(100.9, 300), *crowd, ALWAYS]
    assert pairs(accounts, [(0, 1)]) == [[0, 1]]
    assert pairs(accounts, [(1, 2)]) == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60), st.integers(0, 1)), max_size=25),
    st.randoms(use_true_random=False),
)
def test_the_pairs_do_not_depend_on_the_order(raw: list[tuple], random: object) -> None:
    # Odd milliseconds, so that no two times are equal: equal ones are told apart by their place.
    accounts = [
        account(f + i / 1e4, f + length + i / 1e4 + 1e-5, blocked)
        for i, (f, length, blocked) in enumerate(raw)
    ]
    order = list(range(len(accounts)))
    random.shuffle(order)
    expected = {frozenset(pair) for pair in pairs(accounts)}
    moved = pairs([accounts[i] for i in order])
    assert {frozenset((order[i], order[j])) for i, j in moved} == expected


def test_nothing_is_said_of_no_accounts() -> None:
    assert pairs([]) == []
    assert pairs([NO_ACTIVITY, NO_ACTIVITY]) == []
    assert START % DAY_MS != 0
