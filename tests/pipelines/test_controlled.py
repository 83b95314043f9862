"""Findings under control of false discoveries: whatever comes first, the newest counts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from pipelines.detect.controlled import (
    JoinVerdicts,
    hypotheses_of,
    judged_by_both,
    may_have_been_flagged,
)
from pipelines.detect.findings import name_of
from tests.pipelines.test_findings import JUDGE, cluster, profile
from transforms.alerts.control import Reported, Verdict
from transforms.clusters.elements import version_of
from transforms.clusters.membership import Absorbed
from transforms.clusters.names import cluster_id
from transforms.clusters.newest import NewestByName
from transforms.sharing.watch.evidence import NOTHING_REPORTED, FromSource

YES, NO = Verdict(2, 0.01, 0.12), Verdict(2, 0.0, 0.9)


def judged(
    scored: Any, verdict: Verdict | None, endless: bool, suspicious: bool = True
) -> list[tuple[str, float | None]]:
    found = judged_by_both(JUDGE, ("name", (scored, verdict, suspicious)), endless)
    return [(f.cluster["status"], f.cluster.get("q_value")) for f in found]


@pytest.mark.parametrize("item", [profile("a", 0.001), cluster("a", "b")])
def test_only_what_both_flag_is_a_finding(item: Any) -> None:
    assert judged(item, YES, False) == [("open", 0.12)]
    assert judged(item, NO, False) == []
    assert judged(item, NO, True) == [("resolved", 0.9)]
    assert judged(item, None, True) == []  # its verdict is on its way
    assert judged(None, YES, True) == []


def test_what_the_policy_does_not_flag_waits_for_no_verdict() -> None:
    for verdict in (None, YES):
        assert judged(profile("a", 0.5), verdict, False) == []
        assert [s for s, _ in judged(profile("a", 0.5), verdict, True)] == ["resolved"]


def test_what_was_never_suspicious_is_not_resolved_unless_an_earlier_run_flagged_it() -> None:
    ordinary = profile("a", 0.5)
    assert judged(ordinary, None, True, suspicious=False) == []
    element = "name", (ordinary, None, False)
    [back] = judged_by_both(JUDGE, element, True, frozenset({"name"}))
    assert back.cluster["status"] == "resolved"
    assert not list(judged_by_both(JUDGE, element, False, frozenset({"name"})))


def test_of_accounts_alone_only_those_are_judged_that_may_have_been_flagged() -> None:
    ordinary = profile("a", 0.5)
    ordinary = replace(ordinary, item=ordinary.item._replace(is_remarkable=False))
    assert not may_have_been_flagged(ordinary, frozenset())
    assert may_have_been_flagged(ordinary, frozenset({name_of(ordinary.item)}))
    assert may_have_been_flagged(profile("a", 0.5), frozenset())  # nobody has looked
    assert may_have_been_flagged(cluster("a", "b"), frozenset())


def test_the_newest_of_each_counts_in_any_order_and_grouping() -> None:
    small, grown = profile("a", 0.5), cluster("a", "b")
    assert name_of(small.item) == name_of(grown.item)
    parts = [small, grown, NO, Verdict(3, 0.01, 0.2)]
    join = JoinVerdicts(0.01)
    for order in itertools.permutations(parts):
        for cut in range(5):
            halves = []
            for half in (order[:cut], order[cut:]):
                accumulator = join.create_accumulator()
                for part in half:
                    accumulator = join.add_input(accumulator, part)
                halves.append(accumulator)
            scored, verdict, suspicious = join.extract_output(join.merge_accumulators(halves))
            assert scored is grown
            assert verdict == Verdict(3, 0.01, 0.2)
            assert suspicious


def test_members_of_a_cluster_are_tested_alone_no_more() -> None:
    grown = cluster("a", "b", "c")
    found = {test.name.partition("/")[2]: test.value for test in hypotheses_of(grown, True)}
    assert found == {cluster_id("a"): 0.001, cluster_id("b"): None, cluster_id("c"): None}
    assert len(list(hypotheses_of(grown, False))) == 1
    alone = profile("b", 0.5).item
    (back,) = (t for t in hypotheses_of(grown, True) if t.name == name_of(alone))
    assert back.version > version_of(alone)


def test_a_cluster_whose_founder_has_left_it_is_tested_under_the_founders_name() -> None:
    """Of five accounts that a founded, two go with a, and the others keep the name."""
    larger = cluster("c", "d", "e")
    smaller = cluster("a", "b")

    def said(grown: Any, name: str, *taken: str) -> Any:
        members = [
            replace(m, membership=m.membership._replace(cluster_id=name, taken=taken))
            for m in grown.item.members
        ]
        return replace(grown, item=replace(grown.item, cluster_id=name, members=tuple(members)))

    kept, fresh = said(larger, cluster_id("a")), said(smaller, "c-new", cluster_id("a"))
    later = replace(
        fresh,
        item=replace(
            fresh.item,
            members=tuple(
                replace(m, membership=m.membership._replace(version=2)) for m in fresh.item.members
            ),
        ),
    )
    # Of those who asked nothing since, a later report says nothing.
    for order in itertools.permutations([kept, fresh, later]):
        newest = NewestByName()
        held = newest.create_accumulator()
        for test in (test for item in order for test in hypotheses_of(item, True)):
            held = newest.add_input(held, test)
        values = {t.name: t.value for t in newest.extract_output(held)}
        assert values[name_of(kept.item)] == 0.001
        assert values[name_of(fresh.item)] == 0.001


def reported(p_value: float, alone: float | None, *said: FromSource) -> Any:
    grown = cluster("a", "b")
    by_others = NOTHING_REPORTED._replace(said=said)
    item = replace(grown.item, p_value_alone=alone, reported=by_others)
    return replace(grown, item=item, p_value=p_value)


def test_what_is_reported_is_tested_by_what_we_see_and_among_what_surely_is_meant() -> None:
    sure, vague = FromSource("lab-a", 0.01, 0.4), FromSource("lab-b", 0.2, 0.4)
    (test,) = hypotheses_of(reported(0.001, 0.008, vague, sure), False)
    assert test.value == Reported(0.008, ("lab-a",))
    (test,) = hypotheses_of(reported(0.001, 0.008, vague), False)
    assert test.value == Reported(0.008, ())
    # What is so odd that reports make it no odder is in the same family.
    (test,) = hypotheses_of(reported(1e-9, None, sure), False)
    assert test.value == Reported(1e-9, ("lab-a",))
    assert [t.value for t in hypotheses_of(cluster("a", "b"), False)] == [0.001]


def test_reports_help_with_the_policy_and_not_with_the_cut() -> None:
    told = reported(0.001, 0.008, FromSource("lab-a", 0.01, 0.4))
    assert judged(told, Verdict(2, 0.007, 0.3), False) == []
    assert judged(told, Verdict(2, 0.008, 0.2), False) == [("open", 0.2)]


def test_clusters_that_are_no_more_are_tested_no_more() -> None:
    grown = cluster("a", "b", absorbed=(Absorbed("c-old", 7),))
    assert {t.name.partition("/")[2]: t.value for t in hypotheses_of(grown, True)}["c-old"] is None


def test_a_cluster_that_linking_has_taken_apart_counts_no_more_however_late_it_comes() -> None:
    stale = cluster("a", "b")
    alone = [profile(name, 0.001) for name in ("a", "b")]
    newer = [replace(s, item=s.item._replace(linked=2)) for s in alone]
    assert stale.item.row.pool.events > newer[0].item.sketch.events
    for order in itertools.permutations([stale, *newer]):
        tests = [test for item in order for test in hypotheses_of(item, True)]
        newest = NewestByName()
        held = newest.create_accumulator()
        for test in tests:
            held = newest.add_input(held, test)
        assert {t.name: t.value for t in newest.extract_output(held)} == {
            name_of(s.item): 0.001 for s in newer
        }
        # The name that the first account keeps is that of the cluster.
        join = JoinVerdicts(0.01)
        pair = join.create_accumulator()
        for item in order:
            if name_of(item.item) == name_of(stale.item):
                pair = join.add_input(pair, item)
        assert pair[0] is newer[0]
