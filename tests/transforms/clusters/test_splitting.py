"""Which components fall apart, and into what."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import random_array

from transforms.clusters import splitting
from transforms.clusters.splitting import Graph, SplitOptions, _inside, dense_parts

OPTIONS = SplitOptions()
Pairs = list[tuple[int, int]]


@pytest.fixture(params=["cut by cut", "together first"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "together first":
        monkeypatch.setattr(splitting, "_LARGE", 2)


each_way = pytest.mark.usefixtures("_each_way")


def graph(pairs: Iterable[tuple[int, int]], hubs: Iterable[Iterable[int]] = ()) -> Graph:
    found = np.array(sorted({tuple(sorted(p)) for p in pairs}), np.int64).reshape(-1, 2)
    members = [(hub, account) for hub, own in enumerate(hubs) for account in own]
    count = max((hub for hub, _ in members), default=-1) + 1
    return Graph(
        found, np.ones(len(found)), np.array(members, np.int64).reshape(-1, 2), np.ones(count)
    )


def clique(first: int, size: int) -> Pairs:
    return list(combinations(range(first, first + size), 2))


def parts(accounts: int, links: Graph, options: SplitOptions = OPTIONS) -> list[list[int]]:
    label = dense_parts(accounts, links, options)
    return sorted(np.flatnonzero(label == one).tolist() for one in np.unique(label))


@each_way
@pytest.mark.parametrize("size", [4, 5, 12, 60])
def test_two_cliques_with_a_bridge_fall_apart(size: int) -> None:
    links = graph([*clique(0, size), *clique(size, size), (0, size)])
    assert parts(2 * size, links) == [list(range(size)), list(range(size, 2 * size))]
    assert len(parts(2 * size, links, SplitOptions(0))) == 1


@each_way
def test_an_account_between_two_groups_goes_to_one_of_them() -> None:
    links = graph([*clique(0, 10), *clique(10, 10), (20, 0), (20, 10)])
    found = parts(21, links)
    assert len(found) == 2
    assert {len(part) for part in found} == {10, 11}


@each_way
def test_groups_on_one_thin_line_all_fall_apart() -> None:
    bridges = [(8 * i, 8 * i + 9) for i in range(5)]
    links = graph([pair for i in range(6) for pair in clique(8 * i, 8)] + bridges)
    assert parts(48, links) == [list(range(8 * i, 8 * i + 8)) for i in range(6)]


@each_way
@pytest.mark.parametrize("size", [8, 33, 150])
def test_a_clique_never_falls_apart(size: int) -> None:
    assert len(parts(size, graph(clique(0, size)))) == 1


@each_way
@pytest.mark.parametrize("size", [33, 400, 5_000])
def test_what_hangs_on_one_card_never_falls_apart(size: int) -> None:
    chain = [(i, i + 1) for i in range(size - 1)]
    assert len(parts(size, graph(chain, [range(size)]))) == 1


@each_way
def test_two_cards_with_one_account_in_common_fall_apart() -> None:
    links = graph([], [range(50), range(49, 100)])
    assert sorted(len(part) for part in parts(100, links)) in ([49, 51], [50, 50])


@each_way
@pytest.mark.parametrize("length", [9, 40, 300])
def test_a_chain_or_a_ring_is_thin_and_not_loose(length: int) -> None:
    chain = [(i, i + 1) for i in range(length - 1)]
    assert len(parts(length, graph(chain))) == 1
    assert len(parts(length, graph([*chain, (0, length - 1)]))) == 1


@each_way
def test_a_tail_stays_with_its_group() -> None:
    tail = [(9 + i, 10 + i) for i in range(30)]
    assert len(parts(40, graph([*clique(0, 10), *tail]))) == 1


def tangle(groups: int, size: int, bridges: int, seed: int) -> Graph:
    """Cliques with bridges between any two of them, one component."""
    rng = np.random.default_rng(seed)
    total = groups * size
    line = [(size * i, size * i + size + 1) for i in range(groups - 1)]
    ends = rng.integers(0, total, (bridges, 2)).tolist()
    more = [(a, b) for a, b in ends if a // size != b // size]
    return graph([p for i in range(groups) for p in clique(size * i, size)] + line + more)


def test_a_large_tangle_falls_into_its_groups() -> None:
    groups, size = 400, 9
    links = tangle(groups, size, 300, 5)
    assert groups * size > splitting._LARGE
    wanted = [list(range(size * i, size * i + size)) for i in range(groups)]
    assert parts(groups * size, links) == wanted


def test_what_is_left_of_a_large_tangle_stays_with_the_group_that_it_hangs_on_most() -> None:
    groups, size = 200, 8
    total = groups * size
    plain = tangle(groups, size, 0, 5)
    # A tail on the first group, and an account between the second and, twice, the third.
    tail = [(0, total), (total, total + 1)]
    between = [(total + 2, 8), (total + 2, 16), (total + 2, 17)]
    links = graph([*map(tuple, plain.pairs.tolist()), *tail, *between])
    found = parts(total + 3, links)
    assert [*range(8), total, total + 1] in found
    assert [*range(16, 24), total + 2] in found
    assert len(found) == groups


def test_a_large_tangle_of_cards_falls_into_its_cards() -> None:
    """What hangs on a hub has links with it that are never threads."""
    cards, size = 30, 50
    hubs = [range(size * i, size * i + size) for i in range(cards)]
    chains = [(a, a + 1) for own in hubs for a in own[:-1]]
    bridges = [(size * i, size * i + size + 7) for i in range(cards - 1)]
    links = graph([*chains, *bridges], hubs)
    assert parts(cards * size, links) == [list(own) for own in hubs]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(4, 9), st.integers(0, 8), st.integers(0, 1_000))
def test_groups_taken_off_together_are_never_torn(
    groups: int, size: int, bridges: int, seed: int
) -> None:
    links = tangle(groups, size, bridges, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "_LARGE", 2)
        together = parts(groups * size, links)
    for part in together:
        assert len(part) >= 4
    own = [set(range(size * i, size * i + size)) for i in range(groups)]
    assert all(any(one <= set(part) for part in together) for one in own)
    whole = dense_parts(groups * size, links, SplitOptions(0))
    assert len(np.unique(whole)) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(4, 9), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_parts_do_not_depend_on_the_order_of_links(
    sizes: list[int], bridges: Pairs, random: object
) -> None:
    starts = np.cumsum([0, *sizes]).tolist()
    total = starts[-1]
    pairs = [p for start, size in zip(starts, sizes, strict=False) for p in clique(start, size)]
    pairs += [(a % total, b % total) for a, b in bridges if a % total != b % total]
    links = graph(pairs)
    order = list(range(len(links.pairs)))
    random.shuffle(order)
    moved = links._replace(pairs=links.pairs[order][:, ::-1], weights=links.weights[order])
    assert parts(total, moved) == parts(total, links)
    whole = parts(total, links, SplitOptions(0))
    assert all(any(set(p) <= set(w) for w in whole) for p in parts(total, links))
    assert sorted(a for part in parts(total, links) for a in part) == list(range(total))


@pytest.mark.parametrize("part", [[0], [7], [0, 19], [3, 4, 5, 11], list(range(20))])
def test_the_inside_of_a_part_is_what_scipy_would_choose(part: list[int]) -> None:
    matrix = random_array((20, 20), density=0.3, rng=np.random.default_rng(1)).tocsr()
    chosen = np.array(part, np.intp)
    found = _inside(matrix, chosen)
    assert found.toarray().tolist() == matrix[chosen][:, chosen].toarray().tolist()
    assert found.shape == (len(part), len(part))
