"""Components that hang together by a thread fall apart into their dense parts.

One reused card or one shared exit joins groups that have nothing else in common. A component is
cut in two where little weight crosses and each side has much of its own, again and again: the sweep
over the second eigenvector of the normalised Laplacian (Shi and Malik, IEEE PAMI 2000), whose
conductance is within Cheeger's bound of the best.

What many share is a hub that its accounts hang on, so that it counts like all their pairs and not
like the chain that links them. A part must have links to spare: accounts that follow one another,
card by card or block by block, are a thin component, not a loose one.

Each cut looks at all that is left, so thousands of groups in one tangle would cost the square of
their number. From a component that large all groups are taken off together first that come apart
where links are threads: pairs with no account or hub in common (Easley and Kleinberg, "Networks,
Crowds, and Markets", 2010, chapter 3: bridges have the least overlap). Each must be as well cut
off, and as dense, as any other part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

_LEAST_ACCOUNTS = 4
_LINKS_AN_ACCOUNT = 1.5
_HUB_LINK = 2.0  # what hangs on a hub is linked to all the others there
_LARGE = 1_024  # nodes from which on groups are taken off together
_AT_ONCE = 1 << 16  # links whose neighbours are looked at together
_DENSE = 96  # nodes up to which all eigenvectors cost less than two


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """When a component is loose.

    Attributes:
      conductance: share of a part's weight that may cross to the rest for it to become a cluster of
        its own; 0: nothing is split.
    """

    conductance: float = 0.1


class Graph(NamedTuple):
    """Links of n accounts.

    Attributes:
      pairs: int64 of shape (p, 2), distinct pairs of accounts.
      weights: float64 of shape (p,).
      members: int64 of shape (m, 2): hub, from 0, and account, for what many share.
      hubs: float64 of shape (h,), weight of each hub for a pair of its accounts.
    """

    pairs: Int
    weights: Float
    members: Int
    hubs: Float


def dense_parts(accounts: int, graph: Graph, options: SplitOptions) -> Int:
    """Labels of the parts that accounts are in, int64 of shape (accounts,).

    The labels depend on the order of accounts alone, not on that of links.

    Args:
      accounts: how many.
      graph: their links.
      options: when to split.
    """
    nodes = _nodes(accounts, graph)
    count, label = connected_components(nodes.weights, directed=False)
    label = label.astype(np.int64)
    if options.conductance > 0:
        sizes = np.bincount(label[:accounts], minlength=count)
        waiting = [
            found for found in _members(label) if sizes[label[found[0]]] >= 2 * _LEAST_ACCOUNTS
        ]
        while waiting:
            part = waiting.pop()
            groups = _groups(nodes, part, accounts, options.conductance)
            if groups is not None:
                label[part] = groups + count
                count += int(groups.max()) + 1
                waiting += [part[own] for own in _members(groups)]
                continue
            side = _cut(nodes, part, accounts, options.conductance)
            if side is not None:
                label[part[side]] = count
                count += 1
                waiting += [part[side], part[~side]]
    found: Int = label[:accounts]
    return found


def connected_within(label: Int, graph: Graph) -> Int:
    """Labels of what hangs together by links between accounts of one label, int64 of shape (n,).

    Args:
      label: int64 of shape (n,), from 0.
      graph: links of the n accounts.
    """
    accounts = len(label)
    pairs = graph.pairs[label[graph.pairs[:, 0]] == label[graph.pairs[:, 1]]]
    # A hub is one for each label.
    hub, account = graph.members[:, 0], graph.members[:, 1]
    _, own = np.unique(hub * (label.max(initial=0) + 1) + label[account], return_inverse=True)
    left, right = np.concatenate([pairs[:, 0], account]), np.concatenate([pairs[:, 1], own])
    right[len(pairs) :] += accounts
    size = accounts + int(own.max(initial=-1)) + 1
    _, found = connected_components(_symmetric(left, right, np.ones(len(left)), size), False)
    held: Int = found[:accounts].astype(np.int64)
    return held


class _Nodes(NamedTuple):
    """Accounts first, then hubs: symmetric weights, and links that count towards density."""

    weights: csr_matrix
    links: csr_matrix


def _nodes(accounts: int, graph: Graph) -> _Nodes:
    size = accounts + len(graph.hubs)
    sharing = np.bincount(graph.members[:, 0], minlength=len(graph.hubs))
    # To cut one account off a hub costs as much as to cut it off all the others there.
    hub_weight = graph.hubs * np.maximum(sharing - 1, 0)
    left = np.concatenate([graph.pairs[:, 0], graph.members[:, 1]])
    right = np.concatenate([graph.pairs[:, 1], graph.members[:, 0] + accounts])
    weights = np.concatenate([graph.weights, hub_weight[graph.members[:, 0]]])
    links = np.concatenate([np.ones(len(graph.pairs)), np.full(len(graph.members), _HUB_LINK)])
    return _Nodes(_symmetric(left, right, weights, size), _symmetric(left, right, links, size))


def _symmetric(left: Int, right: Int, values: Float, size: int) -> csr_matrix:
    both = np.concatenate([left, right]), np.concatenate([right, left])
    return coo_matrix((np.concatenate([values, values]), both), shape=(size, size)).tocsr()


def _members(label: Int) -> Iterator[Int]:
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _groups(nodes: _Nodes, part: Int, accounts: int, conductance: float) -> Int | None:
    """Labels from 0 of the pieces that a large part falls into at once; None: it stays whole.

    What is left between groups keeps together where it is dense, and else goes to the group that
    most of its weight hangs on.
    """
    if len(part) < _LARGE:
        return None
    weights, links = _inside(nodes.weights, part), _inside(nodes.links, part)
    count, group = connected_components(_without_threads(weights, part >= accounts), directed=False)
    if count == 1:
        return None
    group = group.astype(np.int64)
    volume = np.asarray(weights.sum(axis=1)).ravel()
    members = np.bincount(group, part < accounts, count)
    total = np.bincount(group, volume, count)
    crossing = total - _inner(weights, group, count)
    good = crossing <= conductance * np.minimum(total, volume.sum() - total)
    good &= _dense(members, _inner(links, group, count) / 2)
    if not good.any():
        return None
    rest = ~good[group]
    edges = weights.tocoo()
    unclaimed = _only(weights, rest[edges.row] & rest[edges.col])
    _, piece = connected_components(unclaimed, directed=False)
    found = _numbered(np.where(rest, count + piece.astype(np.int64), group))
    pieces = int(found.max()) + 1
    members = np.bincount(found, part < accounts, pieces)
    thin = ~_dense(members, _inner(links, found, pieces) / 2)
    found = _numbered(_hung_on(weights, found, thin)[found])
    return found if found.max() else None


def _hung_on(weights: csr_matrix, piece: Int, thin: Mask) -> Int:
    """Where each piece belongs: a thin one to the other one that most of its weight hangs on."""
    edges, pieces = weights.tocoo(), len(thin)
    across = thin[piece[edges.row]] & ~thin[piece[edges.col]]
    ends = piece[edges.row[across]] * pieces + piece[edges.col[across]]
    pair, at = np.unique(ends, return_inverse=True)
    weight = np.bincount(at, edges.data[across], len(pair))
    own, other = np.divmod(pair, pieces)
    heaviest = np.lexsort((-weight, own))
    own, first = np.unique(own[heaviest], return_index=True)
    found: Int = np.arange(pieces)
    found[own] = other[heaviest[first]]
    return found


def _numbered(label: Int) -> Int:
    """The same labels, counted from 0 without gaps."""
    found: Int = np.unique(label, return_inverse=True)[1].astype(np.int64)
    return found


def _only(matrix: csr_matrix, kept: Mask) -> csr_matrix:
    """Of all links, in the order of the matrix, those that are kept."""
    edges = matrix.tocoo()
    return csr_matrix((edges.data[kept], (edges.row[kept], edges.col[kept])), matrix.shape)


def _without_threads(weights: csr_matrix, is_hub: Mask) -> csr_matrix:
    """The links that are no threads: pairs with a neighbour in common, and all links of hubs."""
    edges = weights.tocoo()
    kept = is_hub[edges.row] | is_hub[edges.col]
    pairs = np.flatnonzero(~kept & (edges.row < edges.col))
    near = csr_matrix((np.ones(weights.nnz), weights.indices, weights.indptr), weights.shape)
    common = [
        near[edges.row[some]].multiply(near[edges.col[some]]).sum(axis=1)
        for some in np.split(pairs, range(_AT_ONCE, len(pairs), _AT_ONCE))
    ]
    kept[pairs] = np.concatenate([np.asarray(c).ravel() for c in common]) > 0
    return _only(weights, kept)


def _inner(matrix: csr_matrix, group: Int, count: int) -> Float:
    """Sum of what lies within each group, each link from both ends: float64 of shape (count,)."""
    edges = matrix.tocoo()
    own = group[edges.row]
    same = own == group[edges.col]
    return np.bincount(own[same], edges.data[same], count).astype(np.float64)


def _dense(members: Float | Int, inner: Float) -> Mask:
    """Whether parts of so many accounts and links between them have links to spare."""
    return (members >= _LEAST_ACCOUNTS) & (inner >= _LINKS_AN_ACCOUNT * members)


def _cut(nodes: _Nodes, part: Int, accounts: int, conductance: float) -> Mask | None:
    """One side of the best cut of a connected part, None when there is none that is good enough."""
    weights = _inside(nodes.weights, part)
    volume = np.asarray(weights.sum(axis=1)).ravel()
    order = _slow_order(weights, volume, conductance)
    if order is None:
        return None
    is_account = (part < accounts).astype(np.float64)
    links = _inside(nodes.links, part)
    side = _sweep(weights, links, volume, is_account, order, conductance)
    if side is None:
        return None
    side = _whole(weights, side)
    crossing = float(weights[side][:, ~side].sum())
    good = crossing <= conductance * min(volume[side].sum(), volume[~side].sum())
    good &= _is_dense(links, is_account, side) and _is_dense(links, is_account, ~side)
    return side if good else None


def _inside(matrix: csr_matrix, part: Int) -> csr_matrix:
    """`matrix[part][:, part]` of an ascending `part`.

    scipy's choice of columns takes a step for each column there is: done for every component, it is
    quadratic in the accounts.
    """
    rows = matrix[part]
    column = np.minimum(np.searchsorted(part, rows.indices), len(part) - 1)
    kept = part[column] == rows.indices
    row = np.repeat(np.arange(len(part)), np.diff(rows.indptr))
    ends = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=len(part)))])
    return csr_matrix((rows.data[kept], column[kept], ends), shape=(len(part), len(part)))


def _slow_order(weights: csr_matrix, volume: Float, conductance: float) -> NDArray[np.intp] | None:
    """Nodes by the second eigenvector; None where Cheeger's inequality says nothing is loose."""
    root = 1 / np.sqrt(volume)
    scaled = weights.multiply(root[:, None]).multiply(root[None, :]).tocsr()
    size = len(volume)
    if size <= _DENSE:
        values, vectors = np.linalg.eigh(scaled.toarray())
    else:
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        start = np.sqrt(volume) * (1 + 0.5 * np.cos(np.arange(size) * 2.399963))
        try:
            values, vectors = eigsh(scaled, 2, which="LA", v0=start, tol=1e-3, maxiter=200)
        except ArpackNoConvergence as error:
            values, vectors = error.eigenvalues, error.eigenvectors
    if len(values) < 2 or (1 - values[-2]) / 2 > conductance:
        return None
    # Values that differ by rounding alone must not decide.
    return np.argsort(np.round(vectors[:, -2] * root, 12), kind="stable")


def _sweep(
    weights: csr_matrix,
    links: csr_matrix,
    volume: Float,
    is_account: Float,
    order: NDArray[np.intp],
    conductance: float,
) -> Mask | None:
    """The first nodes of an order that are cut off at the least cost, each side being dense."""
    size = len(order)
    place = np.empty(size, np.int64)
    place[order] = np.arange(size)

    def crossing_and_inner(matrix: csr_matrix) -> tuple[Float, Float, Float]:
        edges = matrix.tocoo()
        low, high = place[edges.row], place[edges.col]
        once = low < high
        low, high, value = low[once], high[once], edges.data[once]
        begins = np.cumsum(np.bincount(low, value, size).astype(np.float64))
        ends = np.cumsum(np.bincount(high, value, size).astype(np.float64))
        return begins - ends, ends, begins[-1] - begins

    crossing, _, _ = crossing_and_inner(weights)
    _, before, after = crossing_and_inner(links)
    left, members = np.cumsum(volume[order]), np.cumsum(is_account[order])
    right, others = left[-1] - left, members[-1] - members
    fit = np.minimum(members, others) >= _LEAST_ACCOUNTS
    fit &= (before >= _LINKS_AN_ACCOUNT * members) & (after >= _LINKS_AN_ACCOUNT * others)
    smaller = np.minimum(left, right)
    fit &= smaller > 0
    share = np.where(fit, crossing / np.where(smaller > 0, smaller, 1), np.inf)
    best = int(np.argmin(share))
    if not share[best] <= conductance:
        return None
    side: Mask = place <= best
    return side


def _whole(weights: csr_matrix, side: Mask) -> Mask:
    """Both sides in one piece: what is not connected to its side's largest piece goes over."""
    side = side.copy()
    for here in (True, False):
        inside = np.flatnonzero(side == here)
        _, label = connected_components(weights[inside][:, inside], directed=False)
        largest = np.bincount(label).argmax()
        side[inside[label != largest]] = not here
    return side


def _is_dense(links: csr_matrix, is_account: Float, side: Mask) -> bool:
    inner = links[side][:, side].sum() / 2
    return bool(_dense(is_account[side].sum(), inner))
