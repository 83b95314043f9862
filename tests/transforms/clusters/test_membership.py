"""Names over many reports: what is kept, and what is said to be gone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.clusters.links import Component, Linkable
from transforms.clusters.membership import (
    NOTHING_KNOWN,
    Absorbed,
    KnownIds,
    Memory,
    Remembered,
    assign,
)
from transforms.clusters.names import cluster_id

NO_THINGS = np.empty(0, np.uint64)


def report(groups: list[str], before: Remembered, events: int = 10) -> dict[str, object]:
    """Memberships of groups of one-letter accounts, by account."""
    accounts = [Linkable(a, i, events, NO_THINGS) for i, a in enumerate("".join(groups))]
    components = [
        Component(cluster_id(g[0]), tuple(g), ((),) * len(g)) for g in groups if len(g) > 1
    ]
    said = assign(accounts, components, before)
    return {**dict(said.memberships), "kept": said.remembered}


def test_a_cluster_that_an_older_account_joins_keeps_its_name_and_takes_the_others() -> None:
    first = report(["bc", "a"], NOTHING_KNOWN)
    later = report(["abc"], first["kept"], 20)
    assert {later[a].cluster_id for a in "abc"} == {cluster_id("b")}
    assert later["a"].absorbed == (Absorbed(cluster_id("a"), 11),)
    assert later["a"].version > first["a"].version


def test_what_is_gone_is_said_in_every_report_and_follows_its_accounts() -> None:
    first = report(["abc", "de", "fghi"], NOTHING_KNOWN)
    second = report(["abcde", "fghi"], first["kept"])
    third = report(["abcdefghi"], second["kept"], 30)
    names = [cluster_id(a) for a in "adf"]
    assert {a.cluster_id for a in second["a"].absorbed} == {names[1]}
    assert {a.cluster_id for a in third["a"].absorbed} == {names[1], names[2]}
    assert third["f"].cluster_id == names[0]
    again = report(["abcdefghi"], third["kept"], 40)
    assert again["a"].absorbed == third["a"].absorbed


def test_a_name_that_lives_again_is_not_gone() -> None:
    first = report(["a", "bc"], NOTHING_KNOWN)
    joined = report(["bca"], first["kept"])
    apart = report(["bc", "a"], joined["kept"])
    gone = {old.cluster_id for a in "abc" for old in apart[a].absorbed}
    assert not gone & {apart[a].cluster_id for a in "abc"}


def test_accounts_that_are_alone_for_a_while_find_their_clusters_name_again() -> None:
    """A restart reads the topic anew, and at first knows little of what the accounts share."""
    known = KnownIds({0: {"a": "c-1", "b": "c-1"}}, {0: {"c-1": 50}}, {0: 50})
    alone = report(["a", "b"], known.of(0), 3)
    assert alone["a"].cluster_id == cluster_id("a")
    assert alone["a"].absorbed == alone["b"].absorbed == ()
    joined = report(["ab"], alone["kept"], 25)
    assert joined["a"].cluster_id == "c-1"
    gone = (Absorbed(cluster_id("a"), 4), Absorbed(cluster_id("b"), 4))
    assert sorted(joined["a"].absorbed) == sorted(gone)


def test_what_fell_apart_is_gone_once_a_restart_has_caught_up() -> None:
    known = KnownIds({0: {"a": "c-1", "b": "c-1"}}, {0: {"c-1": 50}}, {0: 50})
    behind = report(["a", "b"], known.of(0), 24)
    assert behind["a"].absorbed == behind["b"].absorbed == ()
    level = report(["a", "b"], behind["kept"], 25)
    assert level["a"].absorbed + level["b"].absorbed == (Absorbed("c-1", 51),)


def test_only_what_was_flagged_is_taken_back_after_a_restart() -> None:
    known = KnownIds({0: {"a": "c-1", "b": "c-1", "c": "c-2", "d": "c-3"}}, {0: {"c-2": 7}})
    said = report(["abcd"], known.of(0))
    assert said["a"].cluster_id == "c-1"
    assert said["a"].absorbed == (Absorbed("c-2", 8),)


def test_a_windows_own_names_come_before_those_of_others() -> None:
    known = KnownIds({0: {"a": "c-old", "b": "c-old"}, 10: {"a": "c-own"}, 50: {"b": "c-far"}})
    assert known.of(10).ids == {"a": "c-own", "b": "c-old"}
    assert known.of(50).ids == {"a": "c-own", "b": "c-far"}


def test_a_new_window_goes_on_with_the_names_of_the_last_one() -> None:
    memory = Memory(KnownIds({0: {"x": "c-x"}, 20: {"a": "c-own"}}))
    first = report(["bc"], memory.of(0))
    memory = memory.with_report(0, first["kept"])
    assert report(["abc"], memory.of(10))["a"].cluster_id == cluster_id("b")
    assert memory.of(10).ids["x"] == "c-x"
    assert memory.of(20).ids["a"] == "c-own"
    assert memory.of(0).version == first["kept"].version
    for start in range(1, 9):
        memory = memory.with_report(start, first["kept"])
    assert len(memory.windows) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=8, max_size=8), min_size=1, max_size=5))
def test_every_report_names_every_account_once_and_a_repeat_changes_nothing(
    reports: list[list[int]],
) -> None:
    before = NOTHING_KNOWN
    for number, labels in enumerate(reports):
        groups: dict[int, str] = {}
        for account, label in zip("abcdefgh", labels, strict=True):
            groups[label] = groups.get(label, "") + account
        said = report(list(groups.values()), before, 10 + number)
        of_group = [{said[a].cluster_id for a in group} for group in groups.values()]
        assert all(len(names) == 1 for names in of_group)
        assert len(set().union(*of_group)) == len(groups)
        again = report(list(groups.values()), said["kept"], 10 + number)
        assert {a: again[a] for a in "abcdefgh"} == {a: said[a] for a in "abcdefgh"}
        before = said["kept"]
