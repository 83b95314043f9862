"""What linking needs to know of accounts, of thousands of them in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.activity import Activity
from transforms.clusters.links import BINDING, NOTHING, Linkable, LinkOptions
from transforms.clusters.signatures import Content, most_used_cells
from transforms.coverage import layout
from transforms.coverage.features import stacked
from transforms.coverage.layout import Items, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.coverage.stack import SketchStack, ranges
from transforms.pickling import pickled_by_fields

Int64 = NDArray[np.int64]


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Linkables:
    """n accounts; see `Linkable` for what is known of each.

    The ragged parts stand one after the other, and `thing_size`, `cell_size` and `minute_size`
    (int64, (n,)) say how many entries belong to each account.
    """

    accounts: list[str]
    since_ms: Int64
    events: Int64
    p_value: NDArray[np.float64]
    first_ms: Int64
    last_ms: Int64
    blocked: Int64
    thing_size: Int64
    things: NDArray[np.uint64]
    cell_size: Int64
    cells: NDArray[np.uint16]
    cell_counts: Int64
    minute_size: Int64
    minutes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.accounts)

    @staticmethod
    def concat(parts: Sequence[Linkables]) -> Linkables:
        """The accounts of at least one part, one after the other."""
        columns = [field.name for field in fields(Linkables) if field.name != "accounts"]
        return Linkables(
            [account for part in parts for account in part.accounts],
            *(np.concatenate([getattr(part, name) for part in parts]) for name in columns),
        )

    def take(self, index: Int64) -> Linkables:
        """The accounts at `index`, int64 of shape (m,), in that order."""
        things, cells, minutes = (
            ranges((np.cumsum(size) - size)[index], size[index])
            for size in (self.thing_size, self.cell_size, self.minute_size)
        )
        return Linkables(
            [self.accounts[i] for i in index.tolist()],
            self.since_ms[index],
            self.events[index],
            self.p_value[index],
            self.first_ms[index],
            self.last_ms[index],
            self.blocked[index],
            self.thing_size[index],
            self.things[things],
            self.cell_size[index],
            self.cells[cells],
            self.cell_counts[cells],
            self.minute_size[index],
            self.minutes[minutes],
        )

    def newest(self) -> Linkables:
        """Of each account the version with the most requests, of equal ones the last; in the order
        of their names."""
        found: dict[str, tuple[int, int]] = {}
        for i, (account, events) in enumerate(
            zip(self.accounts, self.events.tolist(), strict=True)
        ):
            found[account] = max(found.get(account, (0, 0)), (events, i))
        return self.take(np.array([found[account][1] for account in sorted(found)], np.int64))

    def in_blocks(self, size: int) -> Iterator[Linkables]:
        """The accounts, so many at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def each(self) -> Iterator[Linkable]:
        """The accounts, one by one; their arrays are views of the columns."""
        scalars = zip(
            self.accounts, self.since_ms.tolist(), self.events.tolist(), self.p_value.tolist(),
            self.first_ms.tolist(), self.last_ms.tolist(), self.blocked.tolist(), strict=True,
        )  # fmt: skip
        ragged = zip(
            _split(self.things, self.thing_size),
            _split(self.cells, self.cell_size),
            _split(self.cell_counts, self.cell_size),
            _split(self.minutes, self.minute_size),
            strict=True,
        )
        for scalar, (things, cells, counts, minutes) in zip(scalars, ragged, strict=True):
            account, since_ms, events, p_value, first_ms, last_ms, blocked = scalar
            activity = Activity(minutes, first_ms, last_ms, blocked)
            content = Content(cells, counts)
            yield Linkable(account, since_ms, events, things, p_value, content, activity, last_ms)


def linkables(
    accounts: Sequence[str],
    stack: SketchStack,
    options: LinkOptions,
    common: NDArray[np.uint64] = NOTHING,
    p_values: NDArray[np.float64] | None = None,
) -> Linkables:
    """Picks the things of n accounts that others may be linked to them by.

    Args:
      accounts, stack: their ids, and what each did.
      options: what links.
      common: ascending, what benign accounts shared already: links nobody.
      p_values: of each by itself, float64 of shape (n,); None: 1.
    """
    n, events = len(accounts), stack.sums[:, Sum.EVENTS]
    owner = np.repeat(np.arange(n), stack.item_size)
    kind = (stack.item_key >> layout.HASH_BITS).astype(np.int64)
    things, thing_size = _things(stack, owner, kind, options, common)
    cells, cell_size = most_used_cells(stack)
    minute = kind == int(Items.MINUTE)
    opened = stack.created_ms
    return Linkables(
        list(accounts),
        np.where(opened < layout.NEVER_MS, opened, stack.first_ms),
        events,
        np.ones(n) if p_values is None else p_values,
        stack.first_ms,
        stack.last_ms,
        stack.sums[:, Sum.BLOCKED],
        thing_size,
        stack.item_key[things],
        cell_size,
        stack.bin_index[cells],
        stack.bin_count[cells],
        np.bincount(owner[minute], minlength=n),
        stack.item_key[minute] & layout.HASH_MASK,
    )


def linkable(
    account: str,
    sketch: CoverageSketch,
    options: LinkOptions,
    common: NDArray[np.uint64] = NOTHING,
    p_value: float = 1.0,
) -> Linkable:
    """`linkables` of one account."""
    stack = SketchStack.of([sketch])
    [found] = linkables([account], stack, options, common, np.array([p_value])).each()
    return found


def common_things(
    history: Sequence[CoverageSketch], options: LinkOptions, least: int = 3
) -> NDArray[np.uint64]:
    """What several benign accounts shared in the history: ascending uint64.

    A courtesy, a mobile network, a browser are shared by people who have nothing else in common,
    and a history tells which ones these are. Cards and organizations stay: whoever shares them does
    belong together, benign or not.

    Args:
      history: profiles of benign accounts.
      options: what links.
      least: accounts from which on a thing is common.
    """
    things = linkables([""] * len(history), stacked(history), options).things
    values, counts = np.unique(things, return_counts=True)
    passing = ~np.isin(values >> layout.HASH_BITS, [int(kind) for kind in BINDING])
    common: NDArray[np.uint64] = values[passing & (counts >= least)]
    return common


def _things(
    stack: SketchStack,
    owner: Int64,
    kind: Int64,
    options: LinkOptions,
    common: NDArray[np.uint64],
) -> tuple[NDArray[np.intp], Int64]:
    """Places among the items, account after account, kinds in the order of the options; and how
    many each account has."""
    known = max(int(kind.max(initial=0)), *map(int, options.kinds), 0) + 1
    share, rank = np.full(known, np.inf), np.zeros(known, np.int64)
    for i, (which, how) in enumerate(options.kinds.items()):
        share[which], rank[which] = how.least_share, i
    least = np.maximum(1.0, share[kind] * stack.sums[owner, Sum.EVENTS])
    at = np.flatnonzero((stack.item_count >= least) & ~np.isin(stack.item_key, common))
    at = at[np.lexsort((rank[kind[at]], owner[at]))]
    return at, np.bincount(owner[at], minlength=len(stack))


def _split(array: NDArray[Any], size: Int64) -> Iterator[NDArray[Any]]:
    for start, stop in pairwise([0, *np.cumsum(size).tolist()]):
        yield array[start:stop]
