"""Accounts that share nothing with a cluster but ask what only its members ask.

A campaign hides the cards, networks and prompts of most of its accounts, but not what it wants.
Once some accounts are linked by what they share, and are suspicious together, what they ask more
than anybody in the history does is the cluster's signature, and other accounts are tested for it.
The test is a likelihood ratio: were an account's requests drawn from what benign accounts ask, or
from that with a share of the signature in it (Neyman and Pearson, Phil. Trans. A 1933)? It is
calibrated on the accounts of the history, whose own ratios for the same signature say what chance
gives.

Likeness alone never makes a cluster: a signature needs members that are linked already. It cannot
see what is not strange: where attackers ask what many people ask, nobody is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.features import stacked
from transforms.coverage.layout import MAX_CELLS
from transforms.coverage.sketch import CoverageSketch
from transforms.coverage.stack import SketchStack
from transforms.ingest.hashing import hash64
from transforms.pickling import pickled_by_fields
from transforms.scoring.calibration import Calibration

Float = NDArray[np.float64]

MOST_CELLS = 64
_SHARES = np.array([0.1, 0.25, 0.5, 0.9])  # of an account's requests that carry the signature
_LEAST_REQUESTS = 5
_PRIOR = 20.0  # requests' worth of the history in a signature
_COUNTED = 200  # requests of one account that count at most: the busiest must not be the norm
_MOST_SEEDS = 64
_MOST_ACCOUNTS = 4_000


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What an account asks, in a few hundred bytes: its most used cells.

    Attributes:
      cells: uint16 of shape (c,), ascending, c at most 64.
      counts: int64 of shape (c,).
    """

    cells: NDArray[np.uint16]
    counts: NDArray[np.int64]


NO_CONTENT = Content(np.empty(0, np.uint16), np.empty(0, np.int64))


def content_of(sketch: CoverageSketch) -> Content:
    """`most_used_cells` of a sketch."""
    cells, _ = most_used_cells(SketchStack.of([sketch]))
    return Content(sketch.bin_index[cells], sketch.bin_count[cells])


def most_used_cells(stack: SketchStack) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The `MOST_CELLS` most used cells of n sketches; of equally used ones those with the lower
    number.

    Returns:
      Their places among the stack's bins, sketch after sketch, cells ascending; and how many cells
      each has, int64 of shape (n,).
    """
    owner = np.repeat(np.arange(len(stack)), stack.bin_size)
    at = np.flatnonzero(stack.bin_index < MAX_CELLS)
    size = np.bincount(owner[at], minlength=len(stack))
    if size.max(initial=0) <= MOST_CELLS:
        return at, size
    by_use = at[np.lexsort((-stack.bin_count[at], owner[at]))]
    place = np.arange(len(at)) - np.repeat(np.cumsum(size) - size, size)
    return np.sort(by_use[place < MOST_CELLS]), np.minimum(size, MOST_CELLS)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Contents of n accounts, one after the other."""

    owner: NDArray[np.int64]
    cells: NDArray[np.uint16]
    counts: Float
    total: Float

    @classmethod
    def of(cls, contents: Sequence[Content]) -> _Table:
        if not contents:
            contents = [NO_CONTENT]
        owner = np.repeat(np.arange(len(contents)), [len(c.cells) for c in contents])
        counts = np.concatenate([c.counts for c in contents]).astype(np.float64)
        cells = np.concatenate([c.cells for c in contents])
        return cls(owner, cells, counts, _sum(owner, counts, len(contents)))

    def shares(self, accounts: NDArray[np.intp] | None = None) -> Float:
        """Requests in each cell, of all or of some accounts: float64 of shape (1024,)."""
        weight = np.minimum(self.total, _COUNTED) / np.maximum(self.total, 1)
        if accounts is not None:
            chosen = np.zeros(len(self.total))
            chosen[accounts] = 1
            weight = weight * chosen
        return _sum(self.cells, self.counts * weight[self.owner], MAX_CELLS)

    def ratios(self, signature: Float) -> Float:
        """Log-likelihood ratio of each account, by the root of its requests: float64 (n,).

        Args:
          signature: q / p, float64 of shape (1024,).
        """
        best = np.full(len(self.total), -np.inf)
        for share in _SHARES:
            gain = np.log(1 - share + share * signature)[self.cells] * self.counts
            best = np.maximum(best, _sum(self.owner, gain, len(self.total)))
        return best / np.sqrt(np.maximum(self.total, 1))


def _sum(index: NDArray[Any], values: Float, size: int) -> Float:
    return np.bincount(index, values, size).astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """What the accounts of the history ask, to compare with; kept in the bundle.

    Attributes:
      sizes: int64 of shape (n,), cells of each account.
      cells, counts: uint16 and int64, one account after the other.
    """

    sizes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    cells: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def contents(self) -> list[Content]:
        """One for each account."""
        cuts = np.cumsum(self.sizes)[:-1]
        parts = zip(np.split(self.cells, cuts), np.split(self.counts, cuts), strict=True)
        return [Content(cells, counts) for cells, counts in parts] if len(self.sizes) else []


def background_of(history: Sequence[tuple[str, CoverageSketch]]) -> Background:
    """What benign accounts ask; of many accounts a sample by the hash of their names.

    Args:
      history: names and profiles of accounts.
    """
    known = [(hash64(f"background\x1f{a}"), s) for a, s in history if s.vectors >= _LEAST_REQUESTS]
    known.sort(key=lambda pair: pair[0])
    stack = stacked([sketch for _, sketch in known[:_MOST_ACCOUNTS]])
    cells, sizes = most_used_cells(stack)
    return Background(sizes, stack.bin_index[cells], stack.bin_count[cells])


@dataclass(frozen=True, slots=True)
class SignatureOptions:
    """When accounts are added to a cluster because of what they ask.

    Attributes:
      max_p: chance that any signature of the window adds an account of the history's kind; 0 adds
        nobody.
      least_members: linked accounts that a signature needs.
      seed_p: a cluster has a signature when its members' p-values, put together by Fisher's method,
        are at most this.
    """

    max_p: float = 0.01
    least_members: int = 3
    seed_p: float = 1e-3


def match_signatures(
    contents: Sequence[Content],
    p_values: Float,
    groups: Sequence[NDArray[np.intp]],
    background: Background,
    options: SignatureOptions,
) -> dict[int, tuple[int, float]]:
    """Finds accounts without a group that carry the signature of one.

    Args:
      contents: of n accounts.
      p_values: of n accounts, each by itself.
      groups: indices of the accounts of each group.
      background: what is normal.
      options: how sure to be.

    Returns:
      Account to its group and the p-value of the match, over all signatures.
    """
    seeds = _seeds(p_values, groups, options) if options.max_p > 0 else []
    normal = background.contents()
    if not seeds or not normal:
        return {}
    table, history = _Table.of(contents), _Table.of(normal)
    expected = history.shares() + 1
    expected /= expected.sum()
    tests = [
        test for i in seeds if (test := _Test.of(i, groups[i], table, history, expected, options))
    ]
    if not tests:
        return {}
    free = table.total >= _LEAST_REQUESTS
    for group in groups:
        free[group] = False
    best_p, best = np.ones(len(contents)), np.zeros(len(contents), np.int64)
    closest = np.full(len(contents), -np.inf)
    for test in tests:
        ratios = table.ratios(test.signature)
        nearer = (close := test.closeness(ratios)) > closest
        closest[nearer], best[nearer] = close[nearer], test.group
        best_p[nearer] = test.p_values(ratios)[nearer]
    best_p = np.minimum(best_p * len(tests), 1.0)  # Bonferroni
    found = np.flatnonzero(free & (best_p <= options.max_p))
    return {int(i): (int(best[i]), float(best_p[i])) for i in found}


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """The signature of a group, and what the history's ratios for it are.

    Attributes:
      group: its index.
      signature: q / p, float64 of shape (1024,).
      normal: float64 of shape (h,), ascending, ratios of the accounts of the history.
    """

    group: int
    signature: Float
    normal: Float

    @classmethod
    def of(
        cls,
        number: int,
        group: NDArray[np.intp],
        table: _Table,
        history: _Table,
        expected: Float,
        options: SignatureOptions,
    ) -> _Test | None:
        """The test of a group, None when its members do not carry one signature themselves.

        Each half of the members is tested for the signature of the other half; that most of them
        pass is what makes a signature of what they ask.
        """

        def test(members: NDArray[np.intp]) -> _Test:
            asked = table.shares(members) + _PRIOR * expected
            signature = asked / asked.sum() / expected
            return cls(number, signature, np.sort(history.ratios(signature)))

        passed = 0
        for half, other in ((group[::2], group[1::2]), (group[1::2], group[::2])):
            halved = test(half)
            passed += int(
                (halved.p_values(table.ratios(halved.signature))[other] <= options.max_p).sum()
            )
        return test(group) if 2 * passed > len(group) else None

    def p_values(self, ratios: Float) -> Float:
        """Conformal p-values of n ratios, float64 of shape (n,)."""
        return Calibration({"": self.normal}).p_values(ratios, [""] * len(ratios))

    def closeness(self, ratios: Float) -> Float:
        """How well n accounts fit, in spreads of the history: p-values end where that does."""
        low, high = np.quantile(self.normal, [0.5, 0.9])
        closeness: Float = (ratios - low) / max(float(high - low), 1e-9)
        return closeness


def _seeds(
    p_values: Float, groups: Sequence[NDArray[np.intp]], options: SignatureOptions
) -> list[int]:
    """Groups that are suspicious by their members alone, the most suspicious first."""
    from scipy.stats import chi2

    found = []
    for i, group in enumerate(groups):
        if len(group) >= options.least_members:
            evidence = -2 * np.log(np.maximum(p_values[group], 1e-6)).sum()
            together = float(chi2.sf(evidence, 2 * len(group)))  # Fisher, 1925
            if together <= options.seed_p:
                found.append((together, i))
    return [i for _, i in sorted(found)[:_MOST_SEEDS]]
