"""What links accounts, how strongly, and which components come of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sketches import person, sketch_of, token
from transforms.clusters.linkables import common_things, linkable
from transforms.clusters.links import (
    DEFAULT_KINDS,
    Component,
    Linkable,
    LinkKind,
    LinkOptions,
    find_components,
)
from transforms.clusters.names import cluster_id
from transforms.clusters.splitting import SplitOptions
from transforms.coverage.layout import NEVER_MS, Items

OPTIONS = LinkOptions()


def thing(kind: Items, name: object) -> int:
    return (int(kind) << 56) | (int(token(str(name))) >> 8)


def account(name: str, *things: int, since_ms: int = 0, events: int = 10) -> Linkable:
    return Linkable(name, since_ms, events, np.unique(np.array(things, np.uint64)))


def members(accounts: list[Linkable], options: LinkOptions = OPTIONS) -> list[tuple[str, ...]]:
    return sorted(c.accounts for c in find_components(accounts, options))


def sharing(kind: Items, count: int, prefix: str = "a") -> list[Linkable]:
    return [account(f"{prefix}{i:05d}", thing(kind, "it"), since_ms=i) for i in range(count)]


@pytest.mark.parametrize("kind", [Items.PAYMENT, Items.CREDENTIAL, Items.ORGANIZATION])
@pytest.mark.parametrize("count", [2, 3, 40])
def test_a_shared_payment_credential_or_organization_links(kind: Items, count: int) -> None:
    (found,) = members(sharing(kind, count))
    assert len(found) == count


@pytest.mark.parametrize("kind", sorted(k for k, how in DEFAULT_KINDS.items() if how.weight))
def test_what_is_popular_links_nobody(kind: Items) -> None:
    options = LinkOptions({kind: LinkKind(DEFAULT_KINDS[kind].weight, 60, 0.0)})
    assert len(members(sharing(kind, 2), options)) == 1
    assert members(sharing(kind, 60), options) == []
    assert members(sharing(kind, 500), options) == []


def test_a_large_nat_and_a_popular_client_together_link_nobody() -> None:
    shared = thing(Items.NETWORK, "nat"), thing(Items.CLIENT, "browser")
    assert members([account(f"a{i}", *shared) for i in range(400)]) == []


def test_weights_fall_with_popularity_to_zero() -> None:
    options = LinkOptions({Items.PAYMENT: LinkKind(1.0, 128, 0.0)}, least_weight=0.0)
    weights = []
    for count in (2, 4, 16, 64):
        component = find_components(sharing(Items.PAYMENT, count), options)[0]
        weights.append(component.links[0][0].weight)
    assert weights == pytest.approx([1, 1 - 1 / 6, 0.5, 1 - 5 / 6], abs=1e-3)


def test_many_things_of_one_kind_say_no_more_than_one() -> None:
    kinds = {Items.NETWORK: LinkKind(0.4, 300, 0.0), Items.CLIENT: LinkKind(0.4, 300, 0.0)}
    options = LinkOptions(kinds, least_weight=0.6)
    networks = [thing(Items.NETWORK, i) for i in range(10)]
    assert members([account("a", *networks), account("b", *networks)], options) == []
    both = (networks[0], thing(Items.CLIENT, "c"))
    assert members([account("a", *both), account("b", *both)], options) == [("a", "b")]


def test_the_same_value_of_two_kinds_is_not_the_same_thing() -> None:
    pair = [account("a", thing(Items.PAYMENT, "x")), account("b", thing(Items.CREDENTIAL, "x"))]
    assert members(pair) == []


def test_links_through_others_make_one_component() -> None:
    chain = [
        account(f"a{i}", thing(Items.PAYMENT, i), thing(Items.PAYMENT, i + 1)) for i in range(6)
    ]
    assert members(chain) == [tuple(f"a{i}" for i in range(6))]


def test_accounts_that_share_nothing_are_in_no_component() -> None:
    alone = [account(f"a{i}", thing(Items.PAYMENT, i)) for i in range(20)]
    assert members([*alone, *sharing(Items.PAYMENT, 2, "b")]) == [("b00000", "b00001")]


@pytest.mark.parametrize("accounts", [[], [account("a")], [account("a"), account("b")]])
def test_few_accounts_or_no_things_give_nothing(accounts: list[Linkable]) -> None:
    assert find_components(accounts, OPTIONS) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.lists(
                st.tuples(st.sampled_from(sorted(DEFAULT_KINDS)), st.integers(0, 8)), max_size=4
            ),
        ),
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_components_are_the_same_whatever_the_order(raw: list[tuple], random: object) -> None:
    accounts = [
        account(f"a{i}", *(thing(kind, value) for kind, value in things), since_ms=since)
        for i, (since, things) in enumerate(raw)
    ]
    shuffled = list(accounts)
    random.shuffle(shuffled)
    expected = find_components(accounts, OPTIONS)
    assert find_components(shuffled, OPTIONS) == expected
    named = [name for component in expected for name in component.accounts]
    assert len(named) == len(set(named))
    assert all(len(component.accounts) > 1 for component in expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=2, max_size=40))
def test_components_are_those_of_a_plain_union_of_shared_cards(raw: list[list[int]]) -> None:
    parent = list(range(len(raw)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, own in enumerate(raw):
        for j in range(i):
            if set(own) & set(raw[j]):
                parent[root(i)] = root(j)
    groups: dict[int, set[str]] = {}
    for i in range(len(raw)):
        groups.setdefault(root(i), set()).add(f"a{i}")
    expected = sorted(sorted(g) for g in groups.values() if len(g) > 1)
    accounts = [
        account(f"a{i}", *(thing(Items.PAYMENT, c) for c in own)) for i, own in enumerate(raw)
    ]
    whole = replace(OPTIONS, split=SplitOptions(0.0))
    assert sorted(sorted(c.accounts) for c in find_components(accounts, whole)) == expected


def test_more_than_a_few_sharers_are_still_one_component() -> None:
    """Beyond a few dozen a thing links a chain and not every pair."""
    for count in (31, 32, 33, 400):
        assert [len(m) for m in members(sharing(Items.PAYMENT, count))] == [count]


# --- names --------------------------------------------------------------------------------------


def test_members_stand_oldest_first_and_the_oldest_names_the_cluster() -> None:
    shared = thing(Items.PAYMENT, "p")
    trio = [
        account("young", shared, since_ms=30),
        account("old", shared, since_ms=10),
        account("middle", shared, since_ms=20),
    ]
    (component,) = find_components(trio, OPTIONS)
    assert component.accounts == ("old", "middle", "young")
    assert component.cluster_id == cluster_id("old")


def test_a_cluster_that_grows_by_younger_accounts_keeps_its_name() -> None:
    small = find_components(sharing(Items.PAYMENT, 3), OPTIONS)[0]
    large = find_components(sharing(Items.PAYMENT, 9), OPTIONS)[0]
    assert large.cluster_id == small.cluster_id
    assert large.accounts[:3] == small.accounts


def test_two_clusters_that_are_joined_keep_the_older_name() -> None:
    p, q = thing(Items.PAYMENT, "p"), thing(Items.PAYMENT, "q")
    older = [account("a", p, since_ms=1), account("b", p, since_ms=2)]
    newer = [account("c", q, since_ms=3), account("d", q, since_ms=4)]
    bridge = account("e", p, q, since_ms=5)
    (joined,) = find_components([*newer, bridge, *older], OPTIONS)
    assert joined.cluster_id == cluster_id("a")
    assert joined.accounts == ("a", "b", "c", "d", "e")


def test_each_member_is_told_its_strongest_links_first_and_only_its_own() -> None:
    p, n, own = thing(Items.PAYMENT, "p"), thing(Items.NETWORK, "n"), thing(Items.PAYMENT, "own")
    (component,) = find_components(
        [account("a", p, n, own), account("b", p, n), account("c", p)], OPTIONS
    )
    by_name = dict(zip(component.accounts, component.links, strict=True))
    assert [link.kind for link in by_name["a"]] == ["payment", "network"]
    assert [link.accounts for link in by_name["a"]] == [3, 2]
    assert [link.kind for link in by_name["c"]] == ["payment"]
    assert by_name["a"][0].thing == f"{p & ((1 << 56) - 1):014x}"


# --- what an account brings ---------------------------------------------------------------------


def test_what_was_seen_in_passing_is_not_the_accounts() -> None:
    networks = np.array([token("home")] * 97 + [token("cafe")] + [token("train")] * 2)
    sketch = sketch_of(person("a", 1, 100, network=networks))
    own = linkable("a", sketch, LinkOptions({Items.NETWORK: LinkKind(0.5, 60, 0.02)})).things
    assert set(own.tolist()) == {thing(Items.NETWORK, "home"), thing(Items.NETWORK, "train")}


def test_an_account_counts_from_its_opening_else_from_its_first_request() -> None:
    opened = sketch_of(person("a", 1, account_created_ms=1_700_000_000_000))
    unknown = sketch_of(person("b", 1))
    assert linkable("a", opened, OPTIONS).since_ms == 1_700_000_000_000
    assert unknown.created_ms == NEVER_MS
    assert linkable("b", unknown, OPTIONS).since_ms == unknown.first_ms


def test_what_benign_accounts_share_in_passing_links_nobody_later() -> None:
    history = [sketch_of(person(f"h{i}", 1, client=token("browser"))) for i in range(3)]
    common = common_things(history, OPTIONS)
    assert common.tolist() == [thing(Items.CLIENT, "browser")]
    sketch = sketch_of(person("new", 1, client=token("browser")))
    assert thing(Items.CLIENT, "browser") in linkable("new", sketch, OPTIONS).things
    assert thing(Items.CLIENT, "browser") not in linkable("new", sketch, OPTIONS, common).things


def test_shared_cards_link_even_when_the_history_knows_them() -> None:
    history = [sketch_of(person(f"h{i}", 1, payment="company")) for i in range(5)]
    assert common_things(history, OPTIONS).tolist() == []
    assert common_things([], OPTIONS).tolist() == []


def test_embedding_likeness_alone_links_nobody() -> None:
    twins = [sketch_of(person(f"a{i}", 1, topics=[1, 2])) for i in range(6)]
    accounts = [linkable(f"a{i}", sketch, OPTIONS) for i, sketch in enumerate(twins)]
    found: list[Component] = find_components(accounts, OPTIONS)
    assert found == []
