"""Which components fall apart, and into what."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import random_array

from transforms.clusters.splitting import Graph, SplitOptions, _inside, dense_parts

OPTIONS = SplitOptions()
Pairs = list[tuple[int, int]]


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


@pytest.mark.parametrize("size", [4, 5, 12, 60])
def test_two_cliques_with_a_bridge_fall_apart(size: int) -> None:
    links = graph([*clique(0, size), *clique(size, size), (0, size)])
    assert parts(2 * size, links) == [list(range(size)), list(range(size, 2 * size))]
    assert len(parts(2 * size, links, SplitOptions(0))) == 1


def test_an_account_between_two_groups_goes_to_one_of_them() -> None:
    links = graph([*clique(0, 10), *clique(10, 10), (20, 0), (20, 10)])
    found = parts(21, links)
    assert len(found) == 2
    assert {len(part) for part in found} == {10, 11}


def test_groups_on_one_thin_line_all_fall_apart() -> None:
    bridges = [(8 * i, 8 * i + 9) for i in range(5)]
    links = graph([pair for i in range(6) for pair in clique(8 * i, 8)] + bridges)
    assert parts(48, links) == [list(range(8 * i, 8 * i + 8)) for i in range(6)]


@pytest.mark.parametrize("size", [8, 33, 150])
def test_a_clique_never_falls_apart(size: int) -> None:
    assert len(parts(size, graph(clique(0, size)))) == 1


@pytest.mark.parametrize("size", [33, 400, 5_000])
def test_what_hangs_on_one_card_never_falls_apart(size: int) -> None:
    chain = [(i, i + 1) for i in range(size - 1)]
    assert len(parts(size, graph(chain, [range(size)]))) == 1


def test_two_cards_with_one_account_in_common_fall_apart() -> None:
    links = graph([], [range(50), range(49, 100)])
    assert sorted(len(part) for part in parts(100, links)) in ([49, 51], [50, 50])


@pytest.mark.parametrize("length", [9, 40, 300])
def test_a_chain_or_a_ring_is_thin_and_not_loose(length: int) -> None:
    chain = [(i, i + 1) for i in range(length - 1)]
    assert len(parts(length, graph(chain))) == 1
    assert len(parts(length, graph([*chain, (0, length - 1)]))) == 1


def test_a_tail_stays_with_its_group() -> None:
    tail = [(9 + i, 10 + i) for i in range(30)]
    assert len(parts(40, graph([*clique(0, 10), *tail]))) == 1


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
