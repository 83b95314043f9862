"""The coverage sketch: what one key has asked about, in constant space, mergeable to the bit.

Every part is an integer sum, a minimum, a maximum, or a bottom-k sample by hash, so merging is
exactly associative and commutative: any split of the events, in any order, gives the same bytes.

Parts, for a key with n events (see `layout` for names and sizes):
  * plain sums and time bounds;
  * one sparse histogram over codebook cells, hours of the week, scaffold buckets and token sizes.
    Good and Turing's and Chao's estimates follow exactly from the cell counts;
  * the 64 coordinates of each event while n ≤ 32, and from then on their sum, their second moment
    (effective rank, log-volume) and their random Fourier sum (MMD²). What is kept depends on n
    alone, never on how the events arrived;
  * bottom-k samples of hashed items with exact counts: an item that is among the k smallest of a
    union is among the k smallest of every part that holds it, so the counts are complete. They give
    distinct counts, overlaps (Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC
    2007) and the shared things that link accounts;
  * coordinate sums for a bottom-k sample of conversations, which give the coherence of consecutive
    prompts without keeping any order.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.coverage import layout
from transforms.coverage.layout import Bins, Items, Sum
from transforms.embedding.space import AXES, fourier_sum

Int64 = NDArray[np.int64]

_NO_ROWS = np.empty((0, AXES), np.int8)
_NO_GROUPS = np.empty((0, AXES), np.int64)
_EXACT_ROWS = 1_024  # so many products of int8 add up to less than 2**24
_NONE_I64 = np.empty(0, np.int64)
_NONE_U64 = np.empty(0, np.uint64)
_NONE_U16 = np.empty(0, np.uint16)


@dataclass(frozen=True, slots=True, eq=False)
class CoverageSketch:
    """State of one key. Treat every array as read-only: sketches share them.

    One that was pickled stays encoded until somebody looks at it: in a stream most are only carried
    from one step to the next.

    Attributes:
      sums: int64 of shape (len(Sum),).
      first_ms, last_ms: event times, milliseconds UTC; first > last in an empty sketch.
      created_ms: earliest account_created_at, `layout.NEVER_MS` if unknown.
      bin_index, bin_count: uint16 and int64 of shape (h,), sorted by index.
      item_key, item_count: uint64 and int64 of shape (i,), sorted; the top byte is the `Items` set.
      group_key, group_count, group_sum: uint64 (g,), int64 (g,), int64 (g, 64), sorted by key.
      rows: int8 of shape (r, 64), sorted; r is the number of vectors while that is at most 32.
      moment, vector_sum, fourier_sum: int64 of shapes (2080,), (64,), (256,), or empty while `rows`
        says it all.
    """

    sums: Int64
    first_ms: int
    last_ms: int
    created_ms: int
    bin_index: NDArray[np.uint16]
    bin_count: Int64
    item_key: NDArray[np.uint64]
    item_count: Int64
    group_key: NDArray[np.uint64]
    group_count: Int64
    group_sum: Int64
    rows: NDArray[np.int8]
    moment: Int64
    vector_sum: Int64
    fourier_sum: Int64
    _encoded: bytes | None = field(default=None, init=False, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        return _still_encoded, (encode(self),)

    if not TYPE_CHECKING:  # or every name would be taken for an attribute

        def __getattr__(self, name: str) -> Any:
            """Fills a sketch that is still encoded; a slot that is filled is found without this."""
            if name not in self.__slots__ or name == "_encoded":
                raise AttributeError(f"a coverage sketch has no {name}")
            own = decode(self._encoded)
            for slot in own.__slots__:
                if slot != "_encoded":
                    object.__setattr__(self, slot, getattr(own, slot))
            return getattr(own, name)

    @property
    def events(self) -> int:
        # Also of one that is only carried: where two meet, it says which is the newer.
        encoded = self._encoded
        return int(self.sums[Sum.EVENTS]) if encoded is None else _events_in(encoded)

    @property
    def vectors(self) -> int:
        return int(self.sums[Sum.VECTORS])

    def histogram(self, start: Bins, stop: int) -> Int64:
        """Dense counts of the bins in [start, stop): int64 of shape (stop - start,)."""
        low, high = np.searchsorted(self.bin_index, [start, stop])
        out = np.zeros(stop - start, np.int64)
        out[self.bin_index[low:high].astype(np.int64) - int(start)] = self.bin_count[low:high]
        return out

    def cell_counts(self) -> Int64:
        """Counts of the cells that were visited, int64 of shape (visited,)."""
        return self.cells_visited(layout.MAX_CELLS)[1]

    def cells_visited(self, cells: int) -> tuple[NDArray[np.uint16], Int64]:
        """Which of the first so many cells were visited, ascending, and how often: uint16 and
        int64 of shape (visited,)."""
        first = slice(0, int(np.searchsorted(self.bin_index, min(cells, layout.MAX_CELLS))))
        return self.bin_index[first], self.bin_count[first]

    def items(self, kind: Items) -> tuple[NDArray[np.uint64], Int64]:
        """Sampled hashes of one set, ascending, and their exact counts."""
        bounds = np.array([int(kind) << 56, (int(kind) + 1) << 56], np.uint64)
        low, high = np.searchsorted(self.item_key, bounds)
        return self.item_key[low:high] & layout.HASH_MASK, self.item_count[low:high]

    def distinct(self, kind: Items) -> float:
        """Estimated number of distinct items; exact below the set's capacity.

        Bar-Yossef et al., "Counting Distinct Elements in a Data Stream", RANDOM 2002: (k - 1) over
        the k-th smallest hash as a share of the hash range.
        """
        hashes, _ = self.items(kind)
        capacity = int(layout.CAPACITY[kind])
        if len(hashes) < capacity:
            return float(len(hashes))
        return (capacity - 1) / (float(hashes[-1]) / float(1 << 56))

    def dense_moments(self) -> tuple[Int64, Int64, Int64]:
        """Second moment (2080,), sum (64,) and Fourier sum (256,) of all coordinates, int64."""
        if len(self.moment):
            return self.moment, self.vector_sum, self.fourier_sum
        return moments_of(self.rows)


def empty() -> CoverageSketch:
    """The neutral element of `merge`."""
    return CoverageSketch(
        np.zeros(len(Sum), np.int64),
        layout.NEVER_MS,
        -layout.NEVER_MS,
        layout.NEVER_MS,
        _NONE_U16,
        _NONE_I64,
        _NONE_U64,
        _NONE_I64,
        _NONE_U64,
        _NONE_I64,
        _NO_GROUPS,
        _NO_ROWS,
        _NONE_I64,
        _NONE_I64,
        _NONE_I64,
    )


def moments_of(rows: NDArray[np.int8]) -> tuple[Int64, Int64, Int64]:
    """Second moment (2080,), sum (64,) and Fourier sum (256,) of int8 coordinates (n, 64)."""
    moment = np.zeros((AXES, AXES), np.float64)
    for start in range(0, len(rows), _EXACT_ROWS):
        few = rows[start : start + _EXACT_ROWS].astype(np.float32)
        moment += few.T @ few
    total = rows.sum(axis=0, dtype=np.int64)
    return moment[layout.UPPER].astype(np.int64), total, fourier_sum(rows)


def sort_rows(rows: NDArray[np.int8]) -> NDArray[np.int8]:
    """Puts coordinates into the one order that does not depend on arrival."""
    if len(rows) < 2:
        return rows
    keys = np.ascontiguousarray(rows).view(np.uint64)
    return rows[np.lexsort(keys.T)]


def sum_by_key(
    keys: NDArray[np.uint64], counts: Int64
) -> tuple[NDArray[np.uint64], Int64, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct keys ascending, their summed counts, the sorting order and the run starts."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[starts], np.add.reduceat(counts[order], starts), order, starts


def smallest_per_set(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the sorted item keys are among the smallest `CAPACITY` of their set."""
    kind = (keys >> layout.HASH_BITS).astype(np.int64)
    first = np.searchsorted(kind, np.arange(len(layout.CAPACITY)))
    kept: NDArray[np.bool_] = np.arange(len(keys)) - first[kind] < layout.CAPACITY[kind]
    return kept


def merge(sketches: Sequence[CoverageSketch]) -> CoverageSketch:
    """Merges any number of sketches; the arguments are left as they are.

    The result does not depend, to the bit, on order or grouping; merging nothing is `empty()`.
    """
    if len(sketches) == 1:
        return sketches[0]
    if not sketches:
        return empty()
    sums = np.sum([s.sums for s in sketches], axis=0)
    bins = np.bincount(
        np.concatenate([s.bin_index for s in sketches]),
        weights=np.concatenate([s.bin_count for s in sketches]),
        minlength=int(Bins.END),
    )
    bin_index = np.flatnonzero(bins)

    item_key, item_count = _NONE_U64, _NONE_I64
    keys = np.concatenate([s.item_key for s in sketches])
    if len(keys):
        item_key, item_count, _, _ = sum_by_key(
            keys, np.concatenate([s.item_count for s in sketches])
        )
        kept = smallest_per_set(item_key)
        item_key, item_count = item_key[kept], item_count[kept]

    group_key, group_count, group_sum = _NONE_U64, _NONE_I64, _NO_GROUPS
    keys = np.concatenate([s.group_key for s in sketches])
    if len(keys):
        group_key, group_count, order, starts = sum_by_key(
            keys, np.concatenate([s.group_count for s in sketches])
        )
        stacked = np.concatenate([s.group_sum for s in sketches])[order]
        group_sum = np.add.reduceat(stacked, starts, axis=0)[: layout.GROUPS]
        group_key, group_count = group_key[: layout.GROUPS], group_count[: layout.GROUPS]

    rows, moment, total, fourier = _merge_coordinates(sketches, int(sums[Sum.VECTORS]))
    return CoverageSketch(
        sums,
        min(s.first_ms for s in sketches),
        max(s.last_ms for s in sketches),
        min(s.created_ms for s in sketches),
        bin_index.astype(np.uint16),
        bins[bin_index].astype(np.int64),
        item_key,
        item_count,
        group_key,
        group_count,
        group_sum,
        rows,
        moment,
        total,
        fourier,
    )


def _merge_coordinates(
    sketches: Sequence[CoverageSketch], vectors: int
) -> tuple[NDArray[np.int8], Int64, Int64, Int64]:
    loose = [s.rows for s in sketches if len(s.rows)]
    rows = np.concatenate(loose) if loose else _NO_ROWS
    if vectors <= layout.MAX_ROWS:
        return sort_rows(rows), _NONE_I64, _NONE_I64, _NONE_I64
    parts = [(s.moment, s.vector_sum, s.fourier_sum) for s in sketches if len(s.moment)]
    if len(rows):
        parts.append(moments_of(rows))
    moment, total, fourier = (np.sum(list(column), axis=0) for column in zip(*parts, strict=True))
    return _NO_ROWS, moment, total, fourier


# --- encoding -----------------------------------------------------------------------------------

_HEADER = struct.Struct("<BqqqHHBB")
_DENSE = 255  # instead of a number of rows
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
_WIDTH_BYTES = tuple(bytes((i,)) for i in range(len(_WIDTHS)))
_PEAKS = tuple(int(np.iinfo(dtype).max) for dtype in _WIDTHS)


def encode(sketch: CoverageSketch) -> bytes:
    """Compact, deterministic bytes: equal sketches give equal bytes. Integers take the width they
    need."""
    if sketch._encoded is not None:
        return sketch._encoded
    parts = [
        _HEADER.pack(
            layout.LAYOUT_VERSION,
            sketch.first_ms,
            sketch.last_ms,
            sketch.created_ms,
            len(sketch.bin_index),
            len(sketch.item_key),
            len(sketch.group_key),
            len(sketch.rows) if not len(sketch.moment) else _DENSE,
        ),
        sketch.bin_index.astype("<u2", copy=False).tobytes(),
        sketch.item_key.astype("<u8", copy=False).tobytes(),
        sketch.group_key.astype("<u8", copy=False).tobytes(),
        sketch.rows.tobytes(),
    ]
    arrays = [array.ravel() for array in _integer_parts(sketch)]
    for array, peak in zip(arrays, _peaks(arrays), strict=True):
        width = bisect_left(_PEAKS, peak)
        parts.append(_WIDTH_BYTES[width])
        parts.append(array.astype(_WIDTHS[width]).tobytes())
    return b"".join(parts)


def _peaks(arrays: list[Int64]) -> list[int]:
    """What each array's numbers reach, −x − 1 for a negative x, 0 for none: in one sweep over all
    of them, because most are so short that a call costs more than its work."""
    together = np.concatenate(arrays)
    together = together ^ (together >> 63)
    starts, filled, at = [], [], 0
    for i, array in enumerate(arrays):
        if len(array):
            starts.append(at)
            filled.append(i)
            at += len(array)
    peaks = [0] * len(arrays)
    for i, peak in zip(filled, np.maximum.reduceat(together, starts).tolist(), strict=True):
        peaks[i] = peak
    return peaks


def _integer_parts(sketch: CoverageSketch) -> tuple[Int64, ...]:
    always = (
        sketch.sums,
        sketch.bin_count,
        sketch.item_count,
        sketch.group_count,
        sketch.group_sum,
    )
    if len(sketch.moment):
        return (*always, sketch.moment, sketch.vector_sum, sketch.fourier_sum)
    return always


def _still_encoded(data: bytes) -> CoverageSketch:
    """What `encode` wrote, to be read when it is needed.

    Raises:
      DistilwatchError: as of `decode`.
    """
    _check_layout(data)
    sketch = object.__new__(CoverageSketch)
    object.__setattr__(sketch, "_encoded", data)
    return sketch


def _events_in(data: bytes) -> int:
    """How many events an encoded sketch has, without decoding the rest."""
    *_, bins, items, groups, rows = _HEADER.unpack_from(data)
    at = _HEADER.size + 2 * bins + 8 * items + 8 * groups + (0 if rows == _DENSE else rows * AXES)
    width = 1 << data[at]
    start = at + 1 + Sum.EVENTS * width
    return int.from_bytes(data[start : start + width], "little", signed=True)


def _check_layout(data: bytes) -> None:
    if not data or data[0] != layout.LAYOUT_VERSION:
        raise DistilwatchError(
            f"a coverage sketch of layout {data[0] if data else 'none'}, expected "
            f"{layout.LAYOUT_VERSION}",
            where="stored or transported sketch",
            mend="drain the old job before starting this version, or train the bundle again",
        )


def decode(data: bytes) -> CoverageSketch:
    """Reads what `encode` wrote.

    Raises:
      DistilwatchError: when the bytes were written under another layout.
    """
    _check_layout(data)
    _, first_ms, last_ms, created_ms, bins, items, groups, rows = _HEADER.unpack_from(data)
    at = _HEADER.size

    def take(dtype: str, count: int) -> NDArray[Any]:
        nonlocal at
        array = np.frombuffer(data, dtype, count, at)
        at += array.nbytes
        return array

    def integers(count: int) -> Int64:
        nonlocal at
        dtype = _WIDTHS[data[at]]
        at += 1
        return take(dtype, count).astype(np.int64)

    bin_index = take("<u2", bins).astype(np.uint16)
    item_key = take("<u8", items).astype(np.uint64)
    group_key = take("<u8", groups).astype(np.uint64)
    dense = rows == _DENSE
    kept = _NO_ROWS if dense else take("<i1", rows * AXES).astype(np.int8).reshape(-1, AXES)
    sums, bin_count, item_count = integers(len(Sum)), integers(bins), integers(items)
    group_count, group_sum = integers(groups), integers(groups * AXES).reshape(-1, AXES)
    moment = total = fourier = _NONE_I64
    if dense:
        moment, total, fourier = integers(layout.MOMENT), integers(AXES), integers(256)
    return CoverageSketch(
        sums,
        first_ms,
        last_ms,
        created_ms,
        bin_index,
        bin_count,
        item_key,
        item_count,
        group_key,
        group_count,
        group_sum,
        kept,
        moment,
        total,
        fourier,
    )
