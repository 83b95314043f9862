"""Sentences that members share: told of with how many have them, and no reason to link anybody."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.sketches import START_MS, events_of, person, sketch_of, token
from tests.transforms.clusters import test_find_clusters as world
from transforms.clusters.also_shared import with_also_shared
from transforms.clusters.linkables import linkable
from transforms.clusters.links import Linkable, LinkOptions, find_components
from transforms.clusters.membership import Membership
from transforms.coverage.layout import HASH_BITS, Items
from transforms.embedding.space import AXES
from transforms.sharing.evidence import SharedThing, shared_things

OPTIONS = LinkOptions()


def sentence(name: str) -> int:
    return int(token(name)) >> 8


def things(*names: str, kind: Items = Items.OPENING_SENTENCE) -> NDArray[np.uint64]:
    return np.array([sentence(n) | int(kind) << int(HASH_BITS) for n in names], np.uint64)


def account(name: str, *sentences: str) -> Linkable:
    return Linkable(name, 0, 1, things(*sentences))


def member(cluster: str) -> Membership:
    return Membership(1, cluster, 2, ())


def shared(
    accounts: list[Linkable], clusters: dict[str, str]
) -> dict[str, tuple[tuple[str, int], ...]]:
    """Names of accounts to what they are told to share: hash and carriers."""
    memberships = [(name, member(cluster)) for name, cluster in clusters.items()]
    return {
        name: tuple((own.thing, own.accounts) for own in found.also_shared)
        for name, found in with_also_shared(memberships, accounts)
    }


def test_members_share_what_two_of_their_cluster_carry_and_all_carriers_are_counted() -> None:
    accounts = [
        account("a", "x", "y"), account("b", "x", "z"), account("c", "y"), account("d", "x"),
        account("e"),
    ]  # fmt: skip
    clusters = {"a": "c-1", "b": "c-1", "c": "c-2", "d": "c-3", "e": "c-1"}
    x = (f"{sentence('x'):014x}", 3)
    expected = {"a": (x,), "b": (x,), "c": (), "d": (), "e": ()}
    for order in permutations(accounts):
        assert shared(list(order), clusters) == expected


def test_of_many_sentences_those_that_most_members_carry_are_kept() -> None:
    names = [f"s{i}" for i in range(8)]
    accounts = [account("a", *names), account("b", *names), account("c", *names[3:5])]
    found = shared(accounts, dict.fromkeys("abc", "c-1"))
    assert [carriers for _, carriers in found["a"]] == [3, 3, 2, 2, 2]
    assert {thing for thing, _ in found["c"]} == {f"{sentence(n):014x}" for n in names[3:5]}


def test_other_kinds_are_no_part_of_it() -> None:
    accounts = [Linkable(n, 0, 1, things("x", kind=Items.NETWORK)) for n in "ab"]
    assert shared(accounts, dict.fromkeys("ab", "c-1")) == {"a": (), "b": ()}
    assert with_also_shared([], []) == []


def test_a_sentence_links_nobody_by_itself() -> None:
    times = START_MS + np.arange(5) * 1_000
    found = []
    for name in "ab":
        events = events_of(name, times, np.zeros((5, AXES), np.int8), opening=token("a sentence"))
        found.append(linkable(name, sketch_of(events), OPTIONS))
    assert all(sentence("a sentence") in (own.things & (2**56 - 1)).tolist() for own in found)
    assert find_components(found, OPTIONS) == []


def test_evidence_has_the_sentence_and_how_many_others_use_it(saved: Path) -> None:
    found = world.sketches()
    for name, card in (("wife", "family"), ("husband", "family"), ("lodger", "own")):
        own = person(name, 7, payment=card, opening=token("a sentence"))
        found[name] = sketch_of(own)
    clusters, _ = world.run(saved, world.scored(saved, found))
    (couple,) = [c for c in clusters if {m.account for m in c.item.members} == {"wife", "husband"}]
    expected = SharedThing("opening_sentence", f"{sentence('a sentence'):014x}", 2, 1)
    assert shared_things(couple.item) == [expected]
    assert all(
        link.kind == "payment" for member in couple.item.members for link in member.membership.links
    )
