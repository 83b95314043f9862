"""A cluster keeps its name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.clusters.names import cluster_id, keep_ids

X, Y = "c-x", "c-y"


def named(previous: dict[str, str], *groups: str) -> tuple[list[str], dict[str, str]]:
    """Ids of groups of one-letter accounts, and what is gone."""
    found = keep_ids(previous, {cluster_id(group[0]): list(group) for group in groups})
    return [found.ids[cluster_id(group[0])] for group in groups], found.gone


def was(**clusters: str) -> dict[str, str]:
    return {a: f"c-{name}" for name, accounts in clusters.items() for a in accounts}


def test_a_new_cluster_is_named_after_its_founder() -> None:
    assert named({}, "ab", "c") == ([cluster_id("a"), cluster_id("c")], {})


def test_a_cluster_that_an_older_account_joins_keeps_its_name() -> None:
    assert named(was(x="bc"), "abc") == ([X], {})


def test_after_a_joining_the_larger_ones_name_lives_and_the_other_is_known() -> None:
    assert named(was(x="abc", y="de"), "deabc") == ([X], {Y: X})


def test_after_a_split_the_larger_part_keeps_the_name() -> None:
    assert named(was(x="abcde"), "ab", "cde") == ([cluster_id("a"), X], {})


def test_of_equal_parts_that_with_the_earlier_account_keeps_the_name() -> None:
    both = keep_ids(was(x="abcd"), {cluster_id("a"): ["a", "b"], cluster_id("e"): ["e", "c", "d"]})
    assert both.ids == {cluster_id("a"): X, cluster_id("e"): cluster_id("e")}


def test_a_founder_that_leaves_does_not_take_the_name_along() -> None:
    name = cluster_id("a")
    ids, gone = named({"a": name, "b": name, "c": name}, "a", "bc")
    assert ids[1] == name
    assert ids[0] != name
    assert gone == {}


def test_what_falls_apart_into_single_accounts_is_gone() -> None:
    ids, gone = named(was(x="ab"), "a", "b")
    assert X not in ids
    assert list(gone) == [X]
    assert gone[X] in ids


def test_an_account_alone_keeps_the_name_it_had_alone_and_gives_it_up_to_a_cluster() -> None:
    assert named(was(x="a"), "a") == ([X], {})
    assert named(was(x="b", y="acd"), "abcd") == ([Y], {X: Y})


_ASSIGNMENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30)


def _both(raw: list[tuple[int, int]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    previous = {f"a{i:02d}": f"c-{old}" for i, (old, _) in enumerate(raw) if old}
    groups: dict[int, list[str]] = {}
    for i, (_, new) in enumerate(raw):
        groups.setdefault(new, []).append(f"a{i:02d}")
    return previous, {cluster_id(own[0]): own for own in groups.values()}


@settings(max_examples=150, deadline=None)
@given(_ASSIGNMENTS, st.randoms(use_true_random=False))
def test_every_id_is_given_once_in_any_order_and_again_the_same(
    raw: list[tuple[int, int]], random: object
) -> None:
    previous, groups = _both(raw)
    found = keep_ids(previous, groups)
    assert len(set(found.ids.values())) == len(groups) == len(found.ids)
    assert set(found.gone) == set(previous.values()) - set(found.ids.values())
    assert set(found.gone.values()) <= set(found.ids.values())
    shuffled = list(groups.items())
    random.shuffle(shuffled)
    assert keep_ids(previous, dict(shuffled)) == found
    now = {account: found.ids[new] for new, own in groups.items() for account in own}
    again = keep_ids(now, groups)
    assert again.ids == found.ids
    assert again.gone == {}


@pytest.mark.parametrize("later", ["ab", "zab", "abz"])
def test_growth_changes_nothing(later: str) -> None:
    first = keep_ids({}, {cluster_id("a"): ["a", "b"]}).ids[cluster_id("a")]
    assert named({"a": first, "b": first}, later)[0] == [first]
