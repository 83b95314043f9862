"""The graph of accounts and what they share: laid out here, drawn as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipelines.report.story import LINKS, Member

MOST_ACCOUNTS = 40
MOST_THINGS = 30
_STEPS = 150
_WIDTH, _HEIGHT, _EDGE = 1000.0, 620.0, 46.0
_KINDS = ("payment", "network", "client", "prefix_scaffold", "suffix_scaffold", "synchrony")


@dataclass(frozen=True, slots=True)
class Shared:
    """What members share of one kind.

    Attributes:
      kind: of thing.
      words: what it means.
      things: different ones.
      accounts: members that share one of them.
    """

    kind: str
    words: str
    things: int
    accounts: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A picture and its table.

    Attributes:
      svg: of the graph; None where nothing is shared.
      shared: by kind, what most members share first.
      accounts, all_accounts: drawn, and of the cluster.
      things, all_things: the same.
      parts: accounts of each group that shares nothing with the others, largest first; empty where
        there is only one group of several accounts.
    """

    svg: Markup | None
    shared: tuple[Shared, ...]
    accounts: int
    all_accounts: int
    things: int
    all_things: int
    parts: tuple[tuple[str, ...], ...] = ()


def graph_of(members: Sequence[Member]) -> Graph:
    """Accounts as dots and the things they share as squares, an edge for each share.

    At most 40 accounts are drawn, those that share most, and 30 things, those that most accounts
    share; a thing that only one member has is left out. The same members give the same picture.
    """
    held: dict[tuple[str, str], list[int]] = {}
    for i, member in enumerate(members):
        for thing in member.shared:
            held.setdefault((thing.kind, thing.thing), []).append(i)
    held = {key: sorted(set(who)) for key, who in held.items() if len(set(who)) > 1}
    shared = _by_kind(held)
    ties = Counter(i for who in held.values() for i in who)
    kept = sorted(ties, key=lambda i: (-ties[i], i))[:MOST_ACCOUNTS]
    place = {i: at for at, i in enumerate(sorted(kept))}
    drawn = {key: [place[i] for i in who if i in place] for key, who in held.items()}
    ranked = sorted(
        ((key, who) for key, who in drawn.items() if len(who) > 1),
        key=lambda pair: (-len(pair[1]), pair[0]),
    )[:MOST_THINGS]
    if not ranked:
        return Graph(None, shared, 0, len(members), 0, len(held))
    parts = parts_of(members, list(held.values()))
    edges = [(at, len(place) + j) for j, (_, who) in enumerate(ranked) for at in who]
    linked = {at for at, _ in edges}
    spots = layout(len(place) + len(ranked), edges)
    accounts = [members[i] for i in sorted(place, key=lambda i: place[i])]
    svg = _draw(accounts, [key for key, _ in ranked], edges, spots, linked)
    return Graph(svg, shared, len(linked), len(members), len(ranked), len(held), parts)


def parts_of(
    members: Sequence[Member], together: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], ...]:
    """See `Graph.parts`.

    Args:
      members: of the cluster.
      together: for each thing the numbers of those that share it.
    """
    rows = [i for who in together for i in who]
    columns = [who[0] for who in together for _ in who]
    size = len(members)
    links = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
    found: dict[int, list[str]] = {}
    for member, part in zip(members, connected_components(links, directed=False)[1], strict=True):
        found.setdefault(int(part), []).append(member.account)
    several = [tuple(own) for own in found.values() if len(own) > 1]
    several.sort(key=lambda own: (-len(own), own))
    return tuple(several) if len(several) > 1 else ()


def _by_kind(held: dict[tuple[str, str], list[int]]) -> tuple[Shared, ...]:
    kinds: dict[str, list[list[int]]] = {}
    for (kind, _), who in held.items():
        kinds.setdefault(kind, []).append(who)
    found = [
        Shared(kind, LINKS.get(kind, kind), len(lists), len({i for who in lists for i in who}))
        for kind, lists in kinds.items()
    ]
    return tuple(sorted(found, key=lambda s: (-s.accounts, s.kind)))


def layout(nodes: int, edges: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Places of nodes in the unit square, float64 of shape (nodes, 2).

    Fruchterman and Reingold, "Graph Drawing by Force-directed Placement" (Software: Practice and
    Experience 1991), from a circle, so that the result is the same each time; then stretched to
    fill the square.
    """
    turn = np.exp(2j * np.pi * 0.618033988749895 * np.arange(nodes))  # neighbours start apart
    spots = turn * (0.5 + 0.001 * np.arange(nodes))  # a point of the plane is a complex number
    ideal = 1.0 / np.sqrt(max(nodes, 1))
    begin, end = np.array(edges, np.int64).reshape(-1, 2).T
    for step in range(_STEPS):
        apart = spots[:, None] - spots[None, :]
        far = apart.real**2 + apart.imag**2
        push = ideal**2 / np.maximum(far, 1e-6)
        # The sum over j of push_ij (spot_i - spot_j), as products of matrices.
        force = spots * push.sum(axis=1) - push @ spots
        pull = spots[begin] - spots[end]
        pull *= np.abs(pull) / ideal
        np.subtract.at(force, begin, pull)
        np.add.at(force, end, pull)
        force -= spots * 0.6  # keeps parts that nothing links in the picture
        length = np.maximum(np.abs(force), 1e-9)
        heat = 0.12 * (1 - step / _STEPS) + 0.002
        spots = spots + force / length * np.minimum(length, heat)
    found = np.stack([spots.real, spots.imag], axis=1)
    low, high = found.min(axis=0), found.max(axis=0)
    stretched: NDArray[np.float64] = (found - low) / np.maximum(high - low, 1e-9)
    return stretched


def kind_class(kind: str) -> str:
    """Which of the colours a kind has."""
    return f"kind{_KINDS.index(kind)}" if kind in _KINDS else "kind6"


def _draw(
    accounts: Sequence[Member],
    things: Sequence[tuple[str, str]],
    edges: Sequence[tuple[int, int]],
    spots: NDArray[np.float64],
    linked: set[int],
) -> Markup:
    x = _EDGE + spots[:, 0] * (_WIDTH - 2 * _EDGE)
    y = _EDGE + spots[:, 1] * (_HEIGHT - 2 * _EDGE)
    busiest = max(m.requests for m in accounts) or 1
    parts = []
    for at, thing in edges:
        colour = kind_class(things[thing - len(accounts)][0])
        parts.append(
            f'<line class="{colour}" x1="{x[at]:.0f}" y1="{y[at]:.0f}" x2="{x[thing]:.0f}" '
            f'y2="{y[thing]:.0f}"/>'
        )
    for j, (kind, name) in enumerate(things):
        at = len(accounts) + j
        title = escape(f"{LINKS.get(kind, kind)} {name}")
        parts.append(
            f'<rect class="{kind_class(kind)}" x="{x[at] - 8:.0f}" y="{y[at] - 8:.0f}" width="16" '
            f'height="16" rx="3"><title>{title}</title></rect>'
        )
    for i, member in enumerate(accounts):
        if i not in linked:
            continue
        title = escape(f"{member.account}: {member.requests:,} requests")
        radius = 6 + 8 * (member.requests / busiest) ** 0.5
        parts.append(
            f'<circle cx="{x[i]:.0f}" cy="{y[i]:.0f}" r="{radius:.1f}"><title>{title}</title>'
            "</circle>"
        )
    words = escape(
        f"{len(linked)} accounts and {len(things)} things that they share; the table below "
        "says the same in words"
    )
    return Markup(
        f'<svg class="graph" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" '
        f'aria-label="{words}"><title>{words}</title>{"".join(parts)}</svg>'
    )
