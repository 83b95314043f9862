"""Which accounts belong together, by what they share.

Every shared thing links its accounts with a weight that falls with the logarithm of how many share
it, so that a large NAT, a popular client or a common phrase links nobody. Weights add up over
kinds, never beyond a kind's own: ten networks of one mobile carrier say no more than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.activity import NO_ACTIVITY, Activity
from transforms.clusters.cannot_link import CannotLink, separate
from transforms.clusters.hand_over import HandOverOptions
from transforms.clusters.names import cluster_id
from transforms.clusters.signatures import (
    NO_CONTENT,
    Background,
    Content,
    SignatureOptions,
    match_signatures,
)
from transforms.clusters.splitting import Graph, SplitOptions, dense_parts
from transforms.clusters.synchrony import SynchronyOptions
from transforms.clusters.timing import TimedLinks, links_in_time
from transforms.coverage import layout
from transforms.coverage.layout import Items
from transforms.ingest.hashing import hash64
from transforms.pickling import pickled_by_fields


class LinkKind(NamedTuple):
    """How strongly a shared thing links.

    Attributes:
      weight: of a thing that only two accounts share.
      popular: so many accounts share it that it links nobody.
      least_share: share of an account's requests that must carry it; what was seen in passing is
        not the account's.
    """

    weight: float
    popular: int
    least_share: float


DEFAULT_KINDS: Mapping[Items, LinkKind] = {
    Items.PAYMENT: LinkKind(1.0, 1_000_000, 0.0),
    Items.CREDENTIAL: LinkKind(1.0, 10_000, 0.0),
    Items.ORGANIZATION: LinkKind(1.0, 100_000, 0.0),
    Items.NETWORK: LinkKind(0.5, 60, 0.02),
    Items.CLIENT: LinkKind(0.5, 40, 0.05),
    Items.SYSTEM_PROMPT: LinkKind(0.7, 2_000, 0.05),
    Items.PREFIX_SCAFFOLD: LinkKind(0.7, 300, 0.1),
    Items.SUFFIX_SCAFFOLD: LinkKind(0.7, 300, 0.1),
    # These link nobody by default: what they add to the words above counts among labs.
    Items.OPENING_SENTENCE: LinkKind(0.0, 300, 0.1),
    Items.CLOSING_SENTENCE: LinkKind(0.0, 300, 0.1),
}
CONTENT = "content"  # kind of the link of an account that was added for what it asks
BINDING = (Items.PAYMENT, Items.CREDENTIAL, Items.ORGANIZATION)
NOTHING: NDArray[np.uint64] = np.empty(0, np.uint64)
_MOST_LINKS = 5  # that a member is told
_PAIRWISE = 32  # up to so many accounts a thing links every pair, beyond that a chain of them


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Attributes:
    kinds: what links, and how.
    least_weight: two accounts with this much in common belong together.
    signatures: when an account that shares nothing is added for what it asks.
    synchrony, hand_over: when accounts are linked by when they are at work.
    split: when a component is too loose to be one.
    """

    kinds: Mapping[Items, LinkKind] = field(default_factory=lambda: dict(DEFAULT_KINDS))
    least_weight: float = 0.5
    signatures: SignatureOptions = field(default_factory=SignatureOptions)
    synchrony: SynchronyOptions = field(default_factory=SynchronyOptions)
    hand_over: HandOverOptions = field(default_factory=HandOverOptions)
    split: SplitOptions = field(default_factory=SplitOptions)


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Linkable:
    """What linking needs to know of one account.

    Attributes:
      account: its id.
      since_ms: when it was opened, or first seen where that is unknown.
      events: requests so far; of two versions of an account the larger one is the newer.
      things: uint64 of shape (t,), shared things as `CoverageSketch.item_key` has them.
      p_value: of the account by itself.
      content: what it asks most.
      activity: when it is at work.
      last_ms: of its newest request.
    """

    account: str
    since_ms: int
    events: int
    things: NDArray[np.uint64]
    p_value: float = 1.0
    content: Content = NO_CONTENT
    activity: Activity = NO_ACTIVITY
    last_ms: int = 0


class Link(NamedTuple):
    """One shared thing: its kind, hash, how many accounts share it, and its weight."""

    kind: str
    thing: str
    accounts: int
    weight: float


def weighted_degree(links: Iterable[Link]) -> float:
    """Weights of the things an account shares, added up; likeness of content does not count."""
    return float(sum(link.weight for link in links if link.kind != CONTENT))


class Component(NamedTuple):
    """Accounts that belong together.

    Attributes:
      cluster_id: from the member that was there first, so a cluster keeps it as it grows.
      accounts: member ids, oldest first.
      links: for each member its strongest shared things.
    """

    cluster_id: str
    accounts: tuple[str, ...]
    links: tuple[tuple[Link, ...], ...]


def find_components(
    accounts: Sequence[Linkable], options: LinkOptions, cannot_link: Sequence[CannotLink] = ()
) -> list[Component]:
    """Links accounts and returns the components of two and more, loose ones in their parts.

    Args:
      accounts: each account once, in any order; the result does not depend on it.
      options: weights and threshold.
      cannot_link: what staff took out of clusters.
    """
    accounts = sorted(accounts, key=lambda a: (a.since_ms, a.account))
    if len(accounts) < 2:
        return []
    owner = np.repeat(np.arange(len(accounts)), [len(a.things) for a in accounts])
    thing = np.concatenate([a.things for a in accounts])
    order = np.lexsort((owner, thing))
    owner, thing = owner[order], thing[order]
    starts = np.flatnonzero(np.append(np.ones(min(len(thing), 1), bool), thing[1:] != thing[:-1]))
    sizes = np.diff(np.append(starts, len(thing)))
    shared = _Shared(thing[starts], starts, sizes)
    weights = _weights(shared, options)
    used = np.flatnonzero((sizes > 1) & (weights > 0))
    pairs, strength = _shared_pairs(owner, shared, weights, used, len(accounts), options)
    weak = pairs[strength < options.least_weight - 1e-9]
    timed = links_in_time(
        [a.activity for a in accounts], options.synchrony, options.hand_over, np.sort(weak, axis=1)
    )
    pairs, strength = _strong(pairs, strength, timed, len(accounts), options)
    hubs = used[(sizes[used] > _PAIRWISE) & (weights[used] >= options.least_weight)]
    graph = Graph(pairs, strength, _members_of(owner, shared, hubs), weights[hubs])
    label = dense_parts(len(accounts), graph, options.split)
    if cannot_link:
        label = separate([a.account for a in accounts], label, graph, cannot_link)
    links = _links_by_owner(owner, shared, weights, used)
    _add_timed(links, timed, [a.account for a in accounts])
    found = []
    by_label = np.argsort(label, kind="stable")
    cuts = np.flatnonzero(np.diff(label[by_label])) + 1
    for members in np.split(by_label, cuts):
        if len(members) > 1:
            found.append(
                Component(
                    cluster_id(accounts[members[0]].account),
                    tuple(accounts[i].account for i in members),
                    tuple(tuple(links.get(int(i), ())) for i in members),
                )
            )
    return found


def with_matches(
    accounts: Sequence[Linkable],
    components: Sequence[Component],
    background: Background,
    options: LinkOptions,
    cannot_link: Sequence[CannotLink] = (),
) -> list[Component]:
    """Components with the accounts added that carry their signature; see `signatures`.

    A component keeps its id: it is named after a linked account.

    Args:
      accounts: that the components were found among.
      components: of linked accounts.
      background: what the accounts of the history ask.
      options: how sure to be.
      cannot_link: what staff took out of clusters.
    """
    accounts = sorted(accounts, key=lambda a: (a.since_ms, a.account))
    place = {a.account: i for i, a in enumerate(accounts)}
    groups = [np.array([place[a] for a in c.accounts], np.intp) for c in components]
    found = match_signatures(
        [a.content for a in accounts],
        np.array([a.p_value for a in accounts]),
        groups,
        background,
        options.signatures,
    )
    members = [dict(zip(c.accounts, c.links, strict=True)) for c in components]
    for i, (group, p_value) in sorted(found.items()):
        component = components[group]
        if any(decision.separates(accounts[i].account, members[group]) for decision in cannot_link):
            continue
        signature = f"{hash64('signature' + component.cluster_id) >> 8:014x}"
        link = Link(CONTENT, signature, len(component.accounts), round(1 - p_value, 4))
        members[group][accounts[i].account] = (link,)
    out = []
    for component, links in zip(components, members, strict=True):
        ordered = sorted(links, key=place.__getitem__)
        out.append(
            Component(component.cluster_id, tuple(ordered), tuple(links[a] for a in ordered))
        )
    return out


class _Shared(NamedTuple):
    thing: NDArray[np.uint64]
    start: NDArray[np.intp]
    size: NDArray[np.intp]


def _weights(shared: _Shared, options: LinkOptions) -> NDArray[np.float64]:
    """Weight of each thing: the kind's, times 1 − log(size / 2) / log(popular / 2)."""
    base, popular = np.zeros(len(layout.CAPACITY)), np.full(len(layout.CAPACITY), 4.0)
    for item, how in options.kinds.items():
        base[item], popular[item] = how.weight, max(how.popular, 4)
    kind = (shared.thing >> layout.HASH_BITS).astype(np.int64)
    fall = np.log(np.maximum(shared.size, 2) / 2) / np.log(popular[kind] / 2)
    weights: NDArray[np.float64] = base[kind] * np.maximum(0.0, 1 - fall)
    return weights


def _shared_pairs(
    owner: NDArray[np.intp],
    shared: _Shared,
    weights: NDArray[np.float64],
    used: NDArray[np.intp],
    n: int,
    options: LinkOptions,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of accounts, int64 of shape (pairs, 2), and how much each has in common."""
    lefts, rights, kinds, values = [], [], [], []

    def add(left: NDArray[np.intp], right: NDArray[np.intp], things: NDArray[np.intp]) -> None:
        lefts.append(left)
        rights.append(right)
        kinds.append((shared.thing[things] >> layout.HASH_BITS).astype(np.int64))
        values.append(weights[things])

    for size in np.unique(shared.size[used]):
        things = used[shared.size[used] == size]
        members = owner[shared.start[things][:, None] + np.arange(size)]
        if size <= _PAIRWISE:
            a, b = np.triu_indices(size, 1)
        else:  # a chain keeps a popular thing linear in its accounts
            a, b = np.arange(size - 1), np.arange(1, size)
        add(members[:, a].ravel(), members[:, b].ravel(), np.repeat(things, len(a)))
    if not lefts:
        return np.empty((0, 2), np.int64), np.empty(0)
    pair = np.concatenate(lefts).astype(np.int64) * n + np.concatenate(rights)
    kind, value = np.concatenate(kinds), np.concatenate(values)
    caps = np.zeros(len(layout.CAPACITY))
    for name, how in options.kinds.items():
        caps[name] = how.weight
    per_kind, inverse = np.unique(pair * len(caps) + kind, return_inverse=True)
    summed = np.minimum(np.bincount(inverse, weights=value), caps[per_kind % len(caps)])
    pairs, inverse = np.unique(per_kind // len(caps), return_inverse=True)
    strength = np.bincount(inverse, weights=summed).astype(np.float64, copy=False)
    return np.stack([pairs // n, pairs % n], axis=1), strength


def _strong(
    pairs: NDArray[np.int64],
    strength: NDArray[np.float64],
    timed: Sequence[TimedLinks],
    n: int,
    options: LinkOptions,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs with enough in common once what links in time is added, and how much that is."""
    found = np.concatenate([pairs, *(links.pairs for links in timed)])
    found.sort(axis=1)
    known, inverse = np.unique(found[:, 0] * n + found[:, 1], return_inverse=True)
    parts = np.concatenate([strength, *(links.weights for links in timed)])
    total = np.bincount(inverse, parts).astype(np.float64, copy=False)
    strong = total >= options.least_weight - 1e-9
    return np.stack([known[strong] // n, known[strong] % n], axis=1), total[strong]


def _members_of(
    owner: NDArray[np.intp], shared: _Shared, things: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Who shares things: int64 of shape (m, 2), place of the thing in the list, and account."""
    sizes = shared.size[things]
    hub = np.repeat(np.arange(len(things)), sizes)
    within = np.arange(len(hub)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.stack([hub, owner[shared.start[things][hub] + within]], axis=1)


def _links_by_owner(
    owner: NDArray[np.intp],
    shared: _Shared,
    weights: NDArray[np.float64],
    used: NDArray[np.intp],
    most: int = _MOST_LINKS,
) -> dict[int, list[Link]]:
    links: dict[int, list[Link]] = {}
    for t in used[np.argsort(-weights[used], kind="stable")]:
        thing = int(shared.thing[t])
        link = Link(
            Items(thing >> 56).name.lower(),
            f"{thing & int(layout.HASH_MASK):014x}",
            int(shared.size[t]),
            round(float(weights[t]), 4),
        )
        for i in owner[shared.start[t] : shared.start[t] + shared.size[t]]:
            own = links.setdefault(int(i), [])
            if len(own) < most:
                own.append(link)
    return links


def _add_timed(
    links: dict[int, list[Link]], timed: Sequence[TimedLinks], names: Sequence[str]
) -> None:
    """Adds what links in time, each group of accounts under its first account's name."""
    for kind in timed:
        for i, (first, accounts, weight) in kind.groups().items():
            thing = f"{hash64(kind.kind + names[first]) >> 8:014x}"
            own = [*links.get(i, ()), Link(kind.kind, thing, accounts, round(weight, 4))]
            links[i] = sorted(own, key=lambda link: -link.weight)[:_MOST_LINKS]
