"""Many sketches in columns, and their bytes together; `merging` merges them.

Most keys have few requests, so that a sketch is small and the cost of handling it is that of some
thirty numpy calls and as many Python objects. In a stack these calls are made once for thousands of
sketches.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.coverage import layout
from transforms.coverage.layout import Sum
from transforms.coverage.sketch import CoverageSketch, Int64
from transforms.embedding.space import AXES, FOURIER

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SketchStack:
    """n sketches; see `CoverageSketch` for the parts.

    The ragged parts stand one after the other, and `bin_size`, `item_size`, `group_size` and
    `row_size` (int64, (n,)) say how many entries belong to each sketch. `dense` (int64, (d,)) lists
    the sketches that have moments, of which there are d.
    """

    sums: Int64
    first_ms: Int64
    last_ms: Int64
    created_ms: Int64
    bin_size: Int64
    bin_index: NDArray[np.uint16]
    bin_count: Int64
    item_size: Int64
    item_key: NDArray[np.uint64]
    item_count: Int64
    group_size: Int64
    group_key: NDArray[np.uint64]
    group_count: Int64
    group_sum: Int64
    row_size: Int64
    rows: NDArray[np.int8]
    dense: Int64
    moment: Int64
    vector_sum: Int64
    fourier_sum: Int64

    def __len__(self) -> int:
        return len(self.first_ms)

    @classmethod
    def of(cls, sketches: Sequence[CoverageSketch]) -> SketchStack:
        """Puts sketches, at least one, into columns."""
        dense = [i for i, s in enumerate(sketches) if len(s.moment)]
        return cls(
            np.array([s.sums for s in sketches]),
            np.array([s.first_ms for s in sketches], np.int64),
            np.array([s.last_ms for s in sketches], np.int64),
            np.array([s.created_ms for s in sketches], np.int64),
            np.array([len(s.bin_index) for s in sketches], np.int64),
            np.concatenate([s.bin_index for s in sketches]),
            np.concatenate([s.bin_count for s in sketches]),
            np.array([len(s.item_key) for s in sketches], np.int64),
            np.concatenate([s.item_key for s in sketches]),
            np.concatenate([s.item_count for s in sketches]),
            np.array([len(s.group_key) for s in sketches], np.int64),
            np.concatenate([s.group_key for s in sketches]),
            np.concatenate([s.group_count for s in sketches]),
            np.concatenate([s.group_sum for s in sketches]),
            np.array([len(s.rows) for s in sketches], np.int64),
            np.concatenate([s.rows for s in sketches]),
            np.array(dense, np.int64),
            _rows_of([sketches[i].moment for i in dense], layout.MOMENT),
            _rows_of([sketches[i].vector_sum for i in dense], AXES),
            _rows_of([sketches[i].fourier_sum for i in dense], FOURIER),
        )

    @classmethod
    def concat(cls, stacks: Sequence[SketchStack]) -> SketchStack:
        """The sketches of all stacks, at least one, in order."""
        if len(stacks) == 1:
            return stacks[0]
        columns = {
            f.name: np.concatenate([getattr(s, f.name) for s in stacks]) for f in fields(cls)
        }
        before = np.cumsum([0, *(len(s) for s in stacks[:-1])])
        columns["dense"] = np.concatenate(
            [s.dense + n for s, n in zip(stacks, before, strict=True)]
        )
        return cls(**columns)

    def take(self, index: NDArray[np.intp] | Int64) -> SketchStack:
        """The sketches at `index`, int64 of shape (m,), in that order."""
        place = np.full(len(self), -1)
        place[self.dense] = np.arange(len(self.dense))
        moments = place[index]
        dense = np.flatnonzero(moments >= 0)
        moments = moments[dense]
        bins, items = _spans(self.bin_size, index), _spans(self.item_size, index)
        groups, rows = _spans(self.group_size, index), _spans(self.row_size, index)
        return SketchStack(
            self.sums[index],
            self.first_ms[index],
            self.last_ms[index],
            self.created_ms[index],
            self.bin_size[index],
            self.bin_index[bins],
            self.bin_count[bins],
            self.item_size[index],
            self.item_key[items],
            self.item_count[items],
            self.group_size[index],
            self.group_key[groups],
            self.group_count[groups],
            self.group_sum[groups],
            self.row_size[index],
            self.rows[rows],
            dense,
            self.moment[moments],
            self.vector_sum[moments],
            self.fourier_sum[moments],
        )

    def sketches(self) -> Iterator[CoverageSketch]:
        """The sketches, one by one; their arrays are views of the stack's."""
        dense = {int(i): j for j, i in enumerate(self.dense)}
        spans = zip(
            pairwise(_bounds(self.bin_size)),
            pairwise(_bounds(self.item_size)),
            pairwise(_bounds(self.group_size)),
            pairwise(_bounds(self.row_size)),
            strict=True,
        )
        times = zip(
            self.first_ms.tolist(), self.last_ms.tolist(), self.created_ms.tolist(), strict=True
        )
        for i, ((b0, b1), (i0, i1), (g0, g1), (r0, r1)) in enumerate(spans):
            first_ms, last_ms, created_ms = next(times)
            moments = (_NONE, _NONE, _NONE)
            if i in dense:
                j = dense[i]
                moments = (self.moment[j], self.vector_sum[j], self.fourier_sum[j])
            yield CoverageSketch(
                self.sums[i],
                first_ms,
                last_ms,
                created_ms,
                self.bin_index[b0:b1],
                self.bin_count[b0:b1],
                self.item_key[i0:i1],
                self.item_count[i0:i1],
                self.group_key[g0:g1],
                self.group_count[g0:g1],
                self.group_sum[g0:g1],
                self.rows[r0:r1],
                *moments,
            )


def _rows_of(arrays: list[Int64], width: int) -> Int64:
    return np.array(arrays, np.int64).reshape(len(arrays), width)


def ranges(start: Int64, size: Int64) -> Int64:
    """start[0], …, start[0] + size[0] − 1, start[1], …: int64 of shape (size.sum(),)."""
    before = np.cumsum(size) - size
    out: Int64 = np.arange(int(size.sum())) + np.repeat(start - before, size)
    return out


def _spans(sizes: Int64, index: NDArray[np.intp] | Int64) -> Int64:
    """Places of the entries of some sketches, one sketch after the other."""
    return ranges((np.cumsum(sizes) - sizes)[index], sizes[index])


def _bounds(sizes: Int64) -> list[int]:
    bounds: list[int] = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    return bounds


# --- encoding -----------------------------------------------------------------------------------

_HEADER = struct.Struct("<BI")  # layout, sketches
_COLUMN = struct.Struct("<BI")  # type, entries
_TYPES = ("<i1", "<i2", "<i4", "<i8", "<u2", "<u8")
_PEAKS = tuple(int(np.iinfo(dtype).max) for dtype in _TYPES[:4])
_UNSIGNED = {np.dtype(np.uint16): 4, np.dtype(np.uint64): 5}
_WIDTHS = {
    "sums": len(Sum), "group_sum": AXES, "rows": AXES, "moment": layout.MOMENT, "vector_sum": AXES,
    "fourier_sum": FOURIER,
}  # fmt: skip


def encode_stack(stack: SketchStack) -> bytes:
    """Compact bytes: each column takes the width that its numbers need."""
    parts = [_HEADER.pack(layout.LAYOUT_VERSION, len(stack))]
    for field in fields(stack):
        column = getattr(stack, field.name)
        # Sums differ much in size from one to the next, so that each is a column of its own.
        for array in column.T if field.name == "sums" else (column.ravel(),):
            code = _UNSIGNED.get(array.dtype)
            if code is None:
                peak = max(int(array.max()), -int(array.min()) - 1) if array.size else 0
                code = bisect_left(_PEAKS, peak)
            parts.append(_COLUMN.pack(code, len(array)))
            parts.append(array.astype(_TYPES[code]).tobytes())
    return b"".join(parts)


def decode_stack(data: bytes | memoryview, index: NDArray[np.intp] | None = None) -> SketchStack:
    """Reads what `encode_stack` wrote.

    Args:
      data: the bytes.
      index: which sketches; None: all. The others cost nearly nothing.

    Raises:
      DistilwatchError: when the bytes were written under another layout.
    """
    if not data or data[0] != layout.LAYOUT_VERSION:
        raise DistilwatchError(
            f"coverage sketches of layout {data[0] if data else 'none'}, expected "
            f"{layout.LAYOUT_VERSION}",
            where="transported sketches",
            mend="drain the old job before starting this version",
        )
    at = _HEADER.size

    def take() -> NDArray[Any]:
        nonlocal at
        code, count = _COLUMN.unpack_from(data, at)
        array = np.frombuffer(data, _TYPES[code], count, at + _COLUMN.size)
        at += _COLUMN.size + array.nbytes
        return array

    columns: dict[str, NDArray[Any]] = {}
    for field in fields(SketchStack):
        name = field.name
        if name == "sums":
            columns[name] = np.stack([take() for _ in Sum], axis=1)
            continue
        array = take()
        columns[name] = array.reshape(-1, _WIDTHS[name]) if name in _WIDTHS else array
    stack = SketchStack(**columns)
    return _widened(stack if index is None else stack.take(index))


def _widened(stack: SketchStack) -> SketchStack:
    """The columns that are int64 as such."""
    columns = {field.name: getattr(stack, field.name) for field in fields(stack)}
    wide = {
        n: c.astype(np.int64) for n, c in columns.items() if c.dtype.kind == "i" and n != "rows"
    }
    return SketchStack(**columns | wide)
