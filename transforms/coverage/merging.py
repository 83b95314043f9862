"""Sketches in columns, merged by group: to the bit as `sketch.merge` merges one group at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.coverage import layout
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.sketch import Int64, moments_of
from transforms.coverage.stack import SketchStack
from transforms.embedding.space import AXES, FOURIER

_RADIX = 1 << 16


def merge_groups(stack: SketchStack, group: Int64, count: int) -> SketchStack:
    """Merges the sketches of each group, as `sketch.merge` does, to the bit.

    Args:
      stack: n sketches.
      group: int64 of shape (n,), which group each belongs to.
      count: groups, each with at least one sketch.

    Returns:
      A stack of `count` sketches.
    """
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(count))
    sums = np.add.reduceat(stack.sums[order], starts, axis=0)
    bin_size, bin_index, bin_count = _merge_bins(stack, group, count)
    item_size, item_key, item_count = _merge_items(stack, group, count)
    groups = _merge_conversations(stack, group, count)
    coordinates = _merge_coordinates(stack, group, sums[:, Sum.VECTORS])
    return SketchStack(
        sums,
        np.minimum.reduceat(stack.first_ms[order], starts),
        np.maximum.reduceat(stack.last_ms[order], starts),
        np.minimum.reduceat(stack.created_ms[order], starts),
        bin_size,
        bin_index,
        bin_count,
        item_size,
        item_key,
        item_count,
        *groups,
        coordinates.row_size,
        coordinates.rows,
        coordinates.dense,
        coordinates.moment,
        coordinates.vector_sum,
        coordinates.fourier_sum,
    )


def _merge_bins(
    stack: SketchStack, group: Int64, count: int
) -> tuple[Int64, NDArray[np.uint16], Int64]:
    packed = np.repeat(group, stack.bin_size) * int(Bins.END) + stack.bin_index
    order = np.argsort(packed, kind="stable")
    packed = packed[order]
    starts = _run_starts(packed)
    if not len(starts):
        return np.zeros(count, np.int64), stack.bin_index, stack.bin_count
    counts = np.add.reduceat(stack.bin_count[order], starts)
    owner, index = np.divmod(packed[starts], int(Bins.END))
    return np.bincount(owner, minlength=count), index.astype(np.uint16), counts


def _merge_items(
    stack: SketchStack, group: Int64, count: int
) -> tuple[Int64, NDArray[np.uint64], Int64]:
    owner = np.repeat(group, stack.item_size)
    order = _by_owner_and_key(owner, stack.item_key, count)
    key, owner = stack.item_key[order], owner[order]
    starts = _run_starts(owner, key)
    if not len(starts):
        return np.zeros(count, np.int64), stack.item_key, stack.item_count
    counts = np.add.reduceat(stack.item_count[order], starts)
    key, owner = key[starts], owner[starts]
    kind = (key >> layout.HASH_BITS).astype(np.int64)
    kept = _rank(owner * len(Items) + kind) < layout.CAPACITY[kind]
    return np.bincount(owner[kept], minlength=count), key[kept], counts[kept]


def _merge_conversations(
    stack: SketchStack, group: Int64, count: int
) -> tuple[Int64, NDArray[np.uint64], Int64, Int64]:
    owner = np.repeat(group, stack.group_size)
    order = _by_owner_and_key(owner, stack.group_key, count)
    key, owner = stack.group_key[order], owner[order]
    starts = _run_starts(owner, key)
    if not len(starts):
        return np.zeros(count, np.int64), stack.group_key, stack.group_count, stack.group_sum
    counts = np.add.reduceat(stack.group_count[order], starts)
    sums = np.add.reduceat(stack.group_sum[order], starts, axis=0)
    key, owner = key[starts], owner[starts]
    kept = _rank(owner) < layout.GROUPS
    return np.bincount(owner[kept], minlength=count), key[kept], counts[kept], sums[kept]


def _by_owner_and_key(owner: Int64, key: NDArray[np.uint64], count: int) -> NDArray[np.intp]:
    """Sorts by owner, one of `count`, then by key; equal pairs are in no particular order."""
    if count > _RADIX:
        return np.lexsort((key, owner))
    # Numpy sorts 16 bits by radix, and keys fast where it need not keep their order.
    order = np.argsort(key)
    return order[np.argsort(owner[order].astype(np.uint16), kind="stable")]


class Coordinates(NamedTuple):
    """Coordinates of n sketches: the last columns of a `SketchStack`."""

    row_size: Int64
    rows: NDArray[np.int8]
    dense: Int64
    moment: Int64
    vector_sum: Int64
    fourier_sum: Int64


def sort_coordinates(
    rows: NDArray[np.int8], owner: NDArray[np.intp] | Int64, vectors: Int64
) -> Coordinates:
    """Sorts the rows of sketches that keep rows, and sums up those of the others.

    Args:
      rows: int8 of shape (m, 64), in any order.
      owner: of shape (m,), which of n sketches each belongs to.
      vectors: int64 of shape (n,), how many events with a vector each sketch has.
    """
    order = _by_owner_and_row(np.ascontiguousarray(rows).view(np.uint64), owner)
    rows, owner = rows[order], owner[order]
    dense = np.flatnonzero(vectors > layout.MAX_ROWS)
    moments = [np.zeros((len(dense), n), np.int64) for n in (layout.MOMENT, AXES, FOURIER)]
    bounds = np.searchsorted(owner, np.stack([dense, dense + 1]))
    for i, (start, stop) in enumerate(bounds.T):
        if stop > start:
            for total, part in zip(moments, moments_of(rows[start:stop]), strict=True):
                total[i] = part
    kept = vectors[owner] <= layout.MAX_ROWS
    size = np.bincount(owner[kept], minlength=len(vectors))
    return Coordinates(size, rows[kept], dense, *moments)


def _by_owner_and_row(
    words: NDArray[np.uint64], owner: NDArray[np.intp] | Int64
) -> NDArray[np.intp]:
    """Sorts by owner, then in the order of `sort_rows`: by the last of the eight words first.

    Most rows differ there; the other words are only looked at where they do not.
    """
    first = words[:, -1]
    order = np.lexsort((first, owner))
    same = np.zeros(len(order) + 1, bool)
    sorted_first, sorted_owner = first[order], owner[order]
    same[1:-1] = (sorted_first[1:] == sorted_first[:-1]) & (sorted_owner[1:] == sorted_owner[:-1])
    tied = np.flatnonzero(same[1:] | same[:-1])
    some = order[tied]
    order[tied] = some[np.lexsort((*words[some].T, owner[some]))]
    return order


def _merge_coordinates(stack: SketchStack, group: Int64, vectors: Int64) -> Coordinates:
    merged = sort_coordinates(stack.rows, np.repeat(group, stack.row_size), vectors)
    place = np.full(len(vectors), -1)
    place[merged.dense] = np.arange(len(merged.dense))
    for j, i in enumerate(place[group[stack.dense]]):
        merged.moment[i] += stack.moment[j]
        merged.vector_sum[i] += stack.vector_sum[j]
        merged.fourier_sum[i] += stack.fourier_sum[j]
    return merged


def _run_starts(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """Where, in sorted columns of equal length, a new value begins."""
    fresh = np.zeros(len(columns[0]), bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(fresh)


def _rank(run: Int64) -> Int64:
    """Place of each entry in its run of equal values."""
    starts = _run_starts(run)
    sizes = np.diff(np.append(starts, len(run)))
    rank: Int64 = np.arange(len(run)) - np.repeat(starts, sizes)
    return rank
