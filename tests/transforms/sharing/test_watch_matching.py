"""What a match counts, and what holds it back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.coverage.layout import Items
from transforms.sharing.watch.evidence import (
    NOTHING_REPORTED,
    FromSource,
    combine_sources,
    combine_with_reported,
    match_p_value,
)
from transforms.sharing.watch.listing import LIVE, QUARANTINED, Watched, WatchList, watch_list
from transforms.sharing.watch.matching import DAY_MS, HELD, WatchOptions, match_accounts

NOW = 1_780_000_000_000
TRUSTING = WatchOptions({"feed-a": 1.0, "feed-b": 1.0}, least_accounts=3)
P = st.floats(1e-9, 1.0)


def watched(name: str, value: int, source: str = "feed-a", **other: object) -> Watched:
    fields = {
        "kind": "network", "confidence": 1.0, "valid_from_ms": NOW, "state": LIVE, **other
    }  # fmt: skip
    return Watched(indicator_id=name, value=f"{value:014x}", source=source, **fields)


def world(accounts: int, carriers: dict[int, tuple[int, ...]]) -> list[np.ndarray]:
    """Things of accounts: value to the accounts that carry it; everybody has one of their own."""
    things: list[list[int]] = [[10_000 + i] for i in range(accounts)]
    for value, who in carriers.items():
        for i in who:
            things[i].append(value)
    top = int(Items.NETWORK) << 56
    return [np.array(sorted(top | value for value in own), np.uint64) for own in things]


def group(*members: int) -> np.ndarray:
    return np.array(members, np.intp)


# --- what a match counts --------------------------------------------------------------------------


@given(P, P, st.floats(0.0, 1.0), st.floats(1.0, 100.0))
def test_reports_neither_excuse_nor_condemn(p: float, q: float, w: float, gain: float) -> None:
    combined = combine_with_reported(p, q, w, gain)
    assert p / gain * (1 - 1e-12) <= combined <= p


@given(P, st.floats(1e-6, 1.0), st.floats(0.05, 1.0))
def test_more_evidence_never_counts_less(p: float, q: float, w: float) -> None:
    """The smaller the chance of the match, the smaller the result."""
    less, more = (combine_with_reported(p, value, w, 1e9) for value in (q, q / 2))
    assert more <= less * (1 + 1e-9)


@pytest.mark.parametrize("w", [0.1, 0.25, 0.5, 0.9, 1.0])
def test_chance_alone_makes_small_products_as_often_as_the_formula_says(w: float) -> None:
    rng = np.random.default_rng(5)
    p, q = rng.random(40_000), rng.random(40_000)
    # Without the two bounds the combined p-value of independent ones is uniform; with "never above
    # p" it is not more than the sum of two uniform chances.
    x = p * q**w
    bare = x * (1 - np.log(x)) if w == 1 else (x - w * x ** (1 / w)) / (1 - w)
    bounded = np.array([combine_with_reported(a, b, w, 1e9) for a, b in zip(p, q, strict=True)])
    np.testing.assert_allclose(bounded, np.minimum(p, bare), rtol=1e-9)
    for level in (0.01, 0.1):
        assert (bare <= level).mean() == pytest.approx(level, rel=0.15)
        assert (bounded <= level).mean() <= 2 * level


def test_a_match_is_as_improbable_as_what_it_matches_is_rare() -> None:
    assert match_p_value(4, 4, 0, 99) == pytest.approx(0.01)
    assert match_p_value(2, 4, 0, 99) == pytest.approx(0.02)
    assert match_p_value(4, 4, 49, 99) == pytest.approx(0.5)
    assert match_p_value(0, 4, 0, 99) == 1


def test_markov_holds_for_groups_that_share_everything() -> None:
    """Groups whose members all carry a thing or none do: nothing is less independent."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2_000):
        carries = np.repeat(rng.random(50) < 0.1, 4)
        hits += match_p_value(int(carries[:4].sum()), 4, int(carries[4:].sum()), 196) <= 0.15
    assert hits / 2_000 <= 0.15


def test_two_sources_say_more_than_one_and_silent_ones_cost() -> None:
    one = [FromSource("a", 1e-4, 1.0)]
    two = [*one, FromSource("b", 1e-4, 1.0)]
    alone, both = combine_sources(one, 1, 0.5, 1.0), combine_sources(two, 2, 0.5, 1.0)
    assert (alone.weight, both.weight) == (0.5, 1.0)
    assert both.p_value == pytest.approx(math.e * 1e-4)
    assert combine_sources(one, 5, 0.5, 1.0).p_value == pytest.approx(5e-4)
    assert combine_sources([FromSource("a", 1.0, 1.0)], 1, 0.5, 1.0) == NOTHING_REPORTED
    of_ten = [FromSource(f"s{i}", 1e-4, 1.0) for i in range(10)]
    assert combine_sources(of_ten, 10, 0.5, 1.0).weight == 1.0


# --- who matches ----------------------------------------------------------------------------------


def reported_of(listed: WatchList, things: list[np.ndarray], options: WatchOptions = TRUSTING):
    return match_accounts(things, listed, NOW, options).reports([group(0, 1, 2)])[0]


def test_a_group_that_carries_what_nobody_else_does() -> None:
    listed = watch_list([watched("i1", 1)])
    found = reported_of(listed, world(100, {1: (0, 1, 2)}))
    assert found.p_value == pytest.approx(1 / 98)
    assert (found.weight, found.members, found.sources) == (0.5, 1.0, ("feed-a",))


def test_one_member_is_no_group() -> None:
    assert not reported_of(watch_list([watched("i1", 1)]), world(100, {1: (0,)})).weight


@pytest.mark.parametrize(
    "other",
    [
        {"state": QUARANTINED},
        {"source": "stranger"},
        {"valid_until_ms": NOW},
        {"confidence": 0.0},
    ],
)
def test_what_does_not_count(other: dict[str, object]) -> None:
    listed = watch_list([watched("i1", 1, **other)])
    matched = match_accounts(world(100, {1: (0, 1, 2)}), listed, NOW, TRUSTING)
    assert matched.reports([group(0, 1, 2)])[0].weight == 0
    expired = "valid_until_ms" in other
    assert [hit.state for hit in matched.hits(0)] == ([] if expired else [QUARANTINED])


def test_it_counts_less_with_age_and_confidence() -> None:
    things = world(100, {1: (0, 1, 2)})
    old = watch_list([watched("i1", 1, valid_from_ms=NOW - 30 * DAY_MS, confidence=0.5)])
    assert reported_of(old, things).weight == pytest.approx(0.5 * 0.25)


def test_a_network_of_many_is_held_back_and_not_even_sighted() -> None:
    things = world(200, {1: tuple(range(60)), 2: (0, 1, 2)})
    listed = watch_list([watched("nat", 1), watched("rare", 2)])
    matched = match_accounts(things, listed, NOW, TRUSTING)
    assert [one.indicator_id for one in matched.held()] == ["nat"]
    assert [hit.indicator_id for hit in matched.hits(0)] == ["rare"]
    assert matched.hits(30) == ()
    assert matched.reports([group(0, 1, 2)])[0].p_value == pytest.approx(1 / 198)


def test_a_source_cannot_touch_many_with_many_small_ones() -> None:
    """Thirty indicators, each on two accounts: each harmless, together a third of all accounts."""
    carriers = {1 + i: (3 * i, 3 * i + 1) for i in range(30)}
    listed = watch_list([watched(f"i{i:02}", 1 + i) for i in range(30)])
    matched = match_accounts(world(200, carriers), listed, NOW, TRUSTING)
    held = matched.states.count(HELD)
    touched = set(matched.owner[matched.weights[matched.column] > 0].tolist())
    assert held == 28
    assert len(touched) <= max(3, 0.02 * 200)


def test_one_sources_noise_does_not_weaken_another() -> None:
    carriers = {1: (0, 1, 2)} | {100 + i: (50 + i,) for i in range(3)}
    noise = [watched(f"n{i}", 100 + i, "feed-b") for i in range(3)]
    alone = reported_of(watch_list([watched("i1", 1)]), world(100, carriers))
    beside = reported_of(watch_list([watched("i1", 1), *noise]), world(100, carriers))
    assert beside.p_value == pytest.approx(2 * alone.p_value)  # the other source had its chance
    assert beside.sources == ("feed-a",)


def test_a_long_list_has_no_better_chances_than_a_short_one() -> None:
    """What matters is how many accounts carry any of it."""
    rng = np.random.default_rng(3)
    things = world(400, {1 + i: tuple(rng.choice(400, 2, replace=False)) for i in range(90)})
    listed = watch_list([watched(f"i{i:02}", 1 + i) for i in range(90)])
    options = WatchOptions({"feed-a": 1.0}, least_accounts=400, least_members=2)
    matched = match_accounts(things, listed, NOW, options)
    small = [
        found.p_value <= 0.2
        for found in matched.reports(
            [np.array(rng.choice(400, 3, replace=False), np.intp) for _ in range(500)]
        )
    ]
    assert np.mean(small) <= 0.2


def test_nothing_to_look_for_and_nobody_to_look_at() -> None:
    assert match_accounts([], WatchList(), NOW, TRUSTING).reports([]) == []
    matched = match_accounts(world(3, {}), watch_list([watched("i1", 1)]), NOW, TRUSTING)
    assert matched.reports([group(0, 1)])[0] == NOTHING_REPORTED
    assert matched.hits(0) == ()
