"""What the attacker does about what it is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.protocol.adaptive.method import LADDERS, START, Method, laxer, moved, reset, stricter
from pipelines.protocol.adaptive.policy import (
    LINKS,
    OTHERWISE,
    REASONS,
    TACTICS,
    Mind,
    Outcome,
    counters,
    decide,
    signals,
)
from pipelines.protocol.adaptive.seen import SeenFinding, SeenReason

SIGNALS = st.builds(
    SeenFinding,
    st.frozensets(st.sampled_from("abcdef"), min_size=1),
    st.integers(0, 5),
    st.lists(
        st.builds(
            SeenReason,
            st.sampled_from([*REASONS, "pooled_own_rank", "not_known_yet"]),
            st.booleans(),
            st.floats(-1, 5),
        ),
        max_size=4,
    ).map(tuple),
    st.lists(st.tuples(st.sampled_from([*LINKS, "odd"]), st.integers(1, 6)), max_size=3).map(tuple),
    st.lists(st.sampled_from([*TACTICS, "odd"]), max_size=2).map(tuple),
)


def finding(*reasons: str, links: tuple[tuple[str, int], ...] = ()) -> SeenFinding:
    told = tuple(SeenReason(name, True, 1.0) for name in reasons)
    return SeenFinding(frozenset("ab"), 0, told, links, ())


@given(st.lists(SIGNALS, max_size=5), st.randoms())
def test_the_order_of_findings_does_not_matter(findings: list[SeenFinding], random: object) -> None:
    mixed = list(findings)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one = decide(Mind(), START, Outcome(0.1, 50.0, findings))
    other = decide(Mind(), START, Outcome(0.1, 50.0, mixed))
    close = [(name, pytest.approx(weight)) for name, weight in signals(findings)]
    assert sorted(signals(mixed)) == sorted(close)
    if len({round(w, 9) for _, w in signals(findings)}) == len(signals(findings)):
        assert one == other


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 999), st.lists(SIGNALS, max_size=3))))
def test_methods_stay_on_their_ladders_and_changes_say_what_was_done(
    outcomes: list[tuple[float, float, list[SeenFinding]]],
) -> None:
    mind, method = Mind(), START
    for through, cost, findings in outcomes:
        before = method
        mind, method, changes = decide(mind, method, Outcome(through, cost, findings))
        assert len(changes) <= 3
        told = {change.lever: (change.before, change.after) for change in changes}
        for lever, steps in LADDERS.items():
            assert getattr(method, lever) in steps
            pair = (getattr(before, lever), getattr(method, lever))
            assert told.get(lever, (pair[0], pair[0])) == pair


def test_the_strongest_reason_is_answered_first_and_each_link_by_its_own_lever() -> None:
    seen = [finding("novelty", links=(("payment", 9), ("client", 5), ("network", 4)))]
    _, method, changes = decide(Mind(), START, Outcome(0.0, math.inf, seen))
    assert [c.lever for c in changes] == ["card", "client", "network"]
    assert changes[0].why == "link payment"
    assert (method.card, method.client, method.network) == (3, "common", "home")


def test_one_lever_is_moved_once_a_round_however_many_reasons_ask_for_it() -> None:
    seen = [finding("hill_cells", "own_rank", "chao_cells")]
    _, method, changes = decide(Mind(), START, Outcome(0.0, math.inf, seen))
    assert [c.lever for c in changes] == ["topics"]
    assert method.topics == LADDERS["topics"][1]


def test_when_a_countermeasure_is_used_up_the_next_one_comes() -> None:
    done = replace(START, topics=LADDERS["topics"][-1])
    _, _, changes = decide(Mind(), done, Outcome(0.0, math.inf, [finding("hill_cells")]))
    assert [c.lever for c in changes] == ["turns"]
    everything = Method(**{lever: steps[-1] for lever, steps in LADDERS.items()})
    assert decide(Mind(), everything, Outcome(0.0, math.inf, [finding("novelty")]))[2] == ()


def test_reasons_of_the_pool_and_unknown_ones_have_an_answer() -> None:
    assert counters("pooled_hill_cells high")[0] == "span"
    assert counters("pooled_novelty high") == REASONS["novelty"]
    assert counters("not_known_yet low") == OTHERWISE
    assert counters("link odd") == counters("tactic odd") == OTHERWISE


def test_it_saves_once_nearly_all_gets_through_and_repents_when_it_was_wrong() -> None:
    careful = replace(START, cover=0.6, aged=0.5)
    mind, method, changes = decide(Mind(), careful, Outcome(0.95, 100.0, []))
    assert (changes[0].lever, method.cover) == ("cover", 0.3)
    further, cheaper, _ = decide(mind, method, Outcome(0.95, 80.0, []))
    assert cheaper.cover == 0.0  # it became cheaper, so the same lever goes on
    assert further.saving == "cover"
    for outcome in (Outcome(0.95, 120.0, []), Outcome(0.4, 50.0, [finding("novelty")])):
        calm, back, why = decide(mind, method, outcome)
        assert back == careful
        assert why[0].lever == "cover"
        _, next_, _ = decide(calm, back, Outcome(0.95, 100.0, []))
        assert (next_.cover, next_.aged) == (0.6, 0.0)  # cover is settled


def test_levers_move_a_step_at_a_time_and_can_be_put_back() -> None:
    assert laxer(START, "pace") is None
    slower = stricter(START, "pace")
    assert slower is not None
    assert laxer(slower, "pace") == START
    assert moved(slower) == ("pace",)
    assert reset(slower, "pace") == START
