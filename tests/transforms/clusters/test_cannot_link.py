"""What staff took out of a cluster stays out of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sketches import token
from transforms.clusters.cannot_link import CannotLink, revision_offsets, separate
from transforms.clusters.links import Linkable, LinkOptions, find_components
from transforms.clusters.splitting import Graph, SplitOptions, dense_parts
from transforms.coverage.layout import Items

NAMES = [f"a{i}" for i in range(8)]


def graph_of(pairs: set[tuple[int, int]], hubs: list[set[int]]) -> Graph:
    ordered = sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    members = [(h, a) for h, hub in enumerate(hubs) for a in sorted(hub)]
    return Graph(
        np.array(ordered, np.int64).reshape(-1, 2), np.ones(len(ordered)),
        np.array(members, np.int64).reshape(-1, 2), np.ones(len(hubs)),
    )  # fmt: skip


def groups(label: np.ndarray) -> set[frozenset[str]]:
    found: dict[int, set[str]] = {}
    for name, own in zip(NAMES, label.tolist(), strict=True):
        found.setdefault(own, set()).add(name)
    return {frozenset(group) for group in found.values()}


def out(accounts: str, rest: str) -> CannotLink:
    return CannotLink(frozenset(accounts.split()), frozenset(rest.split()))


accounts = st.integers(0, len(NAMES) - 1)
graphs = st.builds(
    graph_of, st.sets(st.tuples(accounts, accounts), max_size=14),
    st.lists(st.sets(accounts, min_size=2), max_size=2),
)  # fmt: skip


@st.composite
def decisions(draw: st.DrawFn) -> list[CannotLink]:
    made = []
    for _ in range(draw(st.integers(0, 3))):
        sides = draw(st.lists(st.sampled_from("or "), min_size=len(NAMES), max_size=len(NAMES)))
        named = zip(NAMES, sides, strict=True)
        made.append(
            CannotLink(
                frozenset(n for n, s in zip(NAMES, sides, strict=True) if s == "o"),
                frozenset(n for n, s in named if s == "r"),
                draw(st.booleans()),
            )
        )
    return made


@given(graphs, decisions())
def test_nobody_is_with_accounts_that_they_were_taken_from(
    graph: Graph, made: list[CannotLink]
) -> None:
    label = dense_parts(len(NAMES), graph, SplitOptions(0))
    found = groups(separate(NAMES, label, graph, made))
    for group in found:
        for decision in (d for d in made if d.holds):
            assert not (group & decision.accounts and group & decision.rest)
            # The same rule, as an account that is to be added is asked.
            assert not any(decision.separates(name, group - {name}) for name in group)
    assert groups(separate(NAMES, label, graph, made[::-1])) == found
    for whole in groups(label):
        if not any(d.holds and whole & d.accounts and whole & d.rest for d in made):
            assert whole in found
        assert frozenset().union(*(g for g in found if g & whole)) == whole


def test_who_came_later_stays_with_the_rest_that_they_are_linked_to() -> None:
    graph = graph_of({(0, 1), (1, 2), (2, 3), (4, 3), (5, 0)}, [])
    label = dense_parts(len(NAMES), graph, SplitOptions(0))
    found = groups(separate(NAMES, label, graph, [out("a0 a1", "a2 a3")]))
    # a4 hangs on the rest; a5 on what was taken out alone, so that nothing holds it.
    assert {g for g in found if len(g) > 1} == {
        frozenset({"a0", "a1"}),
        frozenset(["a2", "a3", "a4"]),
    }


def test_a_hub_holds_each_side_together() -> None:
    graph = graph_of(set(), [{0, 1, 2, 3, 4, 5}])
    label = dense_parts(len(NAMES), graph, SplitOptions(0))
    found = groups(separate(NAMES, label, graph, [out("a1 a4", "a0 a2 a3")]))
    assert {g for g in found if len(g) > 1} == {
        frozenset({"a1", "a4"}), frozenset({"a0", "a2", "a3", "a5"})
    }  # fmt: skip


def test_the_revision_of_a_cluster_grows_with_every_decision() -> None:
    """The largest revision of a cluster counts, so what was said before must be smaller."""
    events = dict(zip(NAMES, (5, 9, 20, 4, 7, 1, 1, 1), strict=True))
    first, second = out("a0", "a1 a2 a3"), out("a1", "a2 a3")

    def revision(group: str, *made: CannotLink) -> int:
        accounts = group.split()
        more = revision_offsets({"c": accounts}, events, made)
        return sum(events[a] for a in accounts) + more.get("c", 0)

    said = [
        revision("a0 a1 a2 a3"),
        revision("a1 a2 a3", first),
        revision("a2 a3", first, second),
        revision("a2 a3 a4", first, second),
        revision("a2 a4 a0", first._replace(holds=False), second),
        revision("a0 a1 a2 a3 a4", first._replace(holds=False), second._replace(holds=False)),
    ]
    assert said == sorted(set(said))
    assert revision("a5 a6", first, second) == events["a5"] + events["a6"]


def test_customers_who_use_the_wording_of_a_campaign_are_no_part_of_it() -> None:
    wording = np.array([(int(Items.PREFIX_SCAFFOLD) << 56) | (token("w") >> 8)], np.uint64)
    everybody = [Linkable(f"a{i}", i, 10, wording) for i in range(8)]
    (together,) = find_components(everybody, LinkOptions())
    assert len(together.accounts) == 8
    split = out("a0 a4", "a1 a2 a3 a5 a6 a7")
    for order in (everybody, everybody[::-1]):
        found = find_components(order, LinkOptions(), [split])
        assert sorted(c.accounts for c in found) == [
            ("a0", "a4"), ("a1", "a2", "a3", "a5", "a6", "a7"),
        ]  # fmt: skip
    assert find_components(everybody, LinkOptions(), [out("a0", "other"), out("x", "a3")]) == [
        together
    ]
