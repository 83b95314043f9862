"""Many sketches at once: what features are computed from, as arrays.

Features cost little arithmetic and, sketch by sketch, much Python. A `SketchBlock` puts the parts
of n sketches into arrays once, and each feature is then a few array operations on all of them. A
part is gathered when the first feature asks for it.

Every array has a row a sketch, or is ragged (`Ragged`). No row depends on the other rows, to the
bit, so that a key has the same features in whatever block it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.coverage import layout
from transforms.coverage.features.arrays import NO_INDEX, Float, Int64, Ragged
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.sketch import CoverageSketch, empty
from transforms.coverage.stack import SketchStack, ranges
from transforms.embedding.space import AXES, FOURIER, UNIT, fourier_features

_TRACE = float(UNIT * UNIT)  # squared length of one event's coordinates
_DENSE_AT_ONCE = 16  # keys whose (64, 64) matrices are in memory at a time: half a megabyte


class Scatter(NamedTuple):
    """What is asked of S = Σ x xᵀ over a key's n events, x of unit length.

    Attributes:
      square: float64 of shape (n,), ‖S‖²_F.
      along: float64 of shape (n,), μᵀ S μ for μ the mean of the key's x.
      log_det: float64 of shape (n,), ln det(I + S · 64 / n); 0 without vectors.
    """

    square: Float
    along: Float
    log_det: Float


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """Entries at [start[i, k], stop[i, k]) belong to key i and set k."""

    key: NDArray[np.uint64]
    count: Float
    start: Int64
    stop: Int64


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Coordinates of the keys that still have them one by one, one key after the other."""

    key: Int64  # (k,): which keys these are
    start: Int64  # (k,): of each in `rows`
    count: Int64  # (k,)
    rows: NDArray[np.int8]  # (m, 64)


class SketchBlock:
    """Parts of n sketches as arrays, made when they are first asked for.

    Attributes:
      stack: the n sketches, in columns.
    """

    def __init__(self, sketches: Sequence[CoverageSketch] | SketchStack) -> None:
        self.stack = sketches if isinstance(sketches, SketchStack) else stacked(sketches)

    def __len__(self) -> int:
        return len(self.stack)

    # --- sums and times ---------------------------------------------------------------------------

    @property
    def sums(self) -> Int64:
        """Plain sums, int64 of shape (n, len(Sum))."""
        return self.stack.sums

    @property
    def events(self) -> Int64:
        """Events of each key, int64 of shape (n,)."""
        return self.sums[:, Sum.EVENTS]

    @property
    def vectors(self) -> Int64:
        """Events with a vector, int64 of shape (n,)."""
        return self.sums[:, Sum.VECTORS]

    @property
    def first_ms(self) -> Int64:
        """Time of the first event, int64 of shape (n,)."""
        return self.stack.first_ms

    @property
    def last_ms(self) -> Int64:
        """Time of the last event, int64 of shape (n,)."""
        return self.stack.last_ms

    @property
    def created_ms(self) -> Int64:
        """When the account was opened, int64 of shape (n,), `layout.NEVER_MS` if unknown."""
        return self.stack.created_ms

    # --- histograms -------------------------------------------------------------------------------

    @cached_property
    def _bins(self) -> Ragged:
        stack = self.stack
        owner = np.repeat(np.arange(len(self)), stack.bin_size)
        count, index = stack.bin_count.astype(np.float64), stack.bin_index.astype(np.int64)
        return Ragged(len(self), owner, count, index)

    def histogram(self, start: Bins, stop: int) -> Ragged:
        """Counts of the bins in [start, stop) that have any; `index` counts from `start`."""
        bins = self._bins
        at = (bins.index >= start) & (bins.index < stop)
        return Ragged(bins.n, bins.owner[at], bins.count[at], bins.index[at] - int(start))

    @cached_property
    def cells(self) -> Ragged:
        """Counts of the codebook cells that were visited."""
        return self.histogram(Bins.CELL, layout.MAX_CELLS)

    @cached_property
    def hours(self) -> Ragged:
        """Counts of the hours of the week, Monday 00:00 UTC first."""
        return self.histogram(Bins.HOUR_OF_WEEK, Bins.PREFIX_SCAFFOLD)

    @cached_property
    def hours_of_day(self) -> Float:
        """Counts of the hours of the day, float64 of shape (n, 24)."""
        place = self.hours.owner * 24 + self.hours.index % 24
        flat = np.bincount(place, weights=self.hours.count, minlength=len(self) * 24)
        return flat.reshape(len(self), 24).astype(np.float64, copy=False)

    @cached_property
    def _trail(self) -> Ragged:
        """Requests by day and coarse topic; `index` is `day * TRAIL_TOPICS + topic`, days counted
        from the first."""
        days, topics = layout.TRAIL_DAYS, layout.TRAIL_TOPICS
        found = self.histogram(Bins.TRAIL, Bins.CAPABILITY)
        day = (found.index // topics - self.first_ms[found.owner] // layout.DAY_MS) % days
        return Ragged(found.n, found.owner, found.count, day * topics + found.index % topics)

    @cached_property
    def daily(self) -> Float:
        """Requests by day since the first, float64 of shape (n, 32).

        A key of more than 32 days has the days that share a slot added up.
        """
        days, found = layout.TRAIL_DAYS, self._trail
        place = found.owner * days + found.index // layout.TRAIL_TOPICS
        flat = np.bincount(place, weights=found.count, minlength=len(self) * days)
        return flat.reshape(len(self), days).astype(np.float64, copy=False)

    def trail(self, some: NDArray[np.intp]) -> Float:
        """`daily` of m keys, by coarse topic: float64 of shape (m, 32, 16).

        Args:
          some: which keys, each once. These are four kilobytes a key.
        """
        days, topics, found = layout.TRAIL_DAYS, layout.TRAIL_TOPICS, self._trail
        row = np.full(len(self), -1)
        row[some] = np.arange(len(some))
        owner = row[found.owner]
        asked = owner >= 0
        place = owner[asked] * (days * topics) + found.index[asked]
        size = len(some) * days * topics
        flat = np.bincount(place, weights=found.count[asked], minlength=size)
        return flat.reshape(len(some), days, topics).astype(np.float64, copy=False)

    # --- samples of items -------------------------------------------------------------------------

    @cached_property
    def _items(self) -> _Items:
        key, count = self.stack.item_key, self.stack.item_count.astype(np.float64)
        run = np.repeat(np.arange(len(self)) * len(Items), self.stack.item_size)
        run += (key >> layout.HASH_BITS).astype(np.int64)  # ascending: the keys of a set are sorted
        size = np.bincount(run, minlength=len(self) * len(Items)).reshape(len(self), len(Items))
        stop = np.cumsum(size.ravel()).reshape(size.shape)
        return _Items(key, count, stop - size, stop)

    def items(self, kind: Items) -> Ragged:
        """Counts of the sampled items of one set."""
        items = self._items
        start, size = items.start[:, kind], items.stop[:, kind] - items.start[:, kind]
        owner = np.repeat(np.arange(len(self)), size)
        return Ragged(len(self), owner, items.count[ranges(start, size)], NO_INDEX)

    def hashes(self, kind: Items) -> NDArray[np.uint64]:
        """56-bit hashes of the sampled items of one set, as `items` counts them."""
        items = self._items
        start, size = items.start[:, kind], items.stop[:, kind] - items.start[:, kind]
        return items.key[ranges(start, size)] & layout.HASH_MASK

    def distinct(self, kind: Items) -> Float:
        """Estimated number of distinct items, float64 of shape (n,); see `CoverageSketch`."""
        items = self._items
        size = items.stop[:, kind] - items.start[:, kind]
        out = size.astype(np.float64)
        capacity = int(layout.CAPACITY[kind])
        full = np.flatnonzero(size >= capacity)
        largest = items.key[items.stop[full, kind] - 1] & layout.HASH_MASK
        out[full] = (capacity - 1) / (largest.astype(np.float64) / float(1 << 56))
        return out

    # --- conversations ----------------------------------------------------------------------------

    @cached_property
    def groups(self) -> tuple[Ragged, Float]:
        """Events of the sampled conversations, and ‖Σ x‖² of each, float64 of shape (m,)."""
        count = self.stack.group_count.astype(np.float64)
        owner = np.repeat(np.arange(len(self)), self.stack.group_size)
        unit = self.stack.group_sum / UNIT
        return Ragged(len(self), owner, count, NO_INDEX), (unit * unit).sum(axis=1)

    # --- coordinates ------------------------------------------------------------------------------

    @property
    def _dense(self) -> Int64:
        """Keys that hold moments instead of rows."""
        return self.stack.dense

    @cached_property
    def _rows(self) -> _Rows:
        sizes = self.stack.row_size
        key = np.flatnonzero(sizes)
        return _Rows(key, (np.cumsum(sizes) - sizes)[key], sizes[key], self.stack.rows)

    @cached_property
    def vector_sum(self) -> Float:
        """Σ of each key's coordinates in units of 1/127: float64 of shape (n, 64)."""
        out = np.zeros((len(self), AXES))
        if len(self._rows.key):
            wide = self._rows.rows.astype(np.float64)
            out[self._rows.key] = np.add.reduceat(wide, self._rows.start, axis=0)
        out[self._dense] = self.stack.vector_sum
        return out

    @cached_property
    def fourier_sum(self) -> Float:
        """Σ of each key's random Fourier features in units of 1/1024: float64 (n, 256)."""
        out = np.zeros((len(self), FOURIER))
        if len(self._rows.key):
            waves = fourier_features(self._rows.rows)
            out[self._rows.key] = np.add.reduceat(waves, self._rows.start, axis=0, dtype=np.int64)
        out[self._dense] = self.stack.fourier_sum
        return out

    @cached_property
    def scatter(self) -> Scatter:
        """Size of each key's second moment; see `Scatter`."""
        out = Scatter(np.zeros(len(self)), np.zeros(len(self)), np.zeros(len(self)))
        self._scatter_of_rows(out)
        for start in range(0, len(self._dense), _DENSE_AT_ONCE):
            self._scatter_of_moments(slice(start, start + _DENSE_AT_ONCE), out)
        return out

    def _scatter_of_rows(self, out: Scatter) -> None:
        """With r rows X the (r, r) Gram matrix G = X Xᵀ says the same as the (64, 64) S = Xᵀ X:
        ‖S‖ = ‖G‖, and det(I + c S) = det(I + c G) (Sylvester)."""
        kept = self._rows
        key, first, count, rows = kept.key, kept.start, kept.count, kept.rows
        padded = np.concatenate([rows, np.zeros((1, AXES), np.int8)])
        size = 1
        while size // 2 < layout.MAX_ROWS:  # a few sizes; rows of zeros change neither value
            some = np.flatnonzero((count > size // 2) & (count <= size))
            place = first[some, None] + np.arange(size)
            place[np.arange(size) >= count[some, None]] = len(rows)
            x = padded[place].astype(np.float32)  # products below 2**24 are exact
            gram = np.matmul(x, x.transpose(0, 2, 1)).astype(np.float64)
            out.square[key[some]] = (gram * gram).sum(axis=(1, 2)) / _TRACE**2
            # μ = Xᵀ1 / r, so Xμ = G1 / r.
            out.along[key[some]] = (gram.sum(axis=2) ** 2).sum(axis=1) / (_TRACE * count[some]) ** 2
            gram *= (AXES / _TRACE / count[some])[:, None, None]
            out.log_det[key[some]] = _log_det_with_identity(gram)
            size *= 2

    def _scatter_of_moments(self, some: slice, out: Scatter) -> None:
        keys = self._dense[some]
        packed = self.stack.moment[some] / _TRACE
        out.square[keys] = (packed * packed * _TIMES).sum(axis=1)
        mean = self.vector_sum[keys] / UNIT / self.vectors[keys][:, None]
        both = mean[:, layout.UPPER[0]] * mean[:, layout.UPPER[1]]
        out.along[keys] = (packed * both * _TIMES).sum(axis=1)
        packed *= (AXES / self.vectors[keys])[:, None]
        matrix = np.zeros((len(keys), AXES * AXES))
        matrix[:, _LOWER] = packed  # the other half is not read
        out.log_det[keys] = _log_det_with_identity(matrix.reshape(-1, AXES, AXES))


def stacked(sketches: Sequence[CoverageSketch]) -> SketchStack:
    """Sketches in columns, also when there are none."""
    return SketchStack.of(sketches) if sketches else SketchStack.of([empty()]).take(_NOBODY)


_NOBODY = np.empty(0, np.int64)
_TIMES = np.where(layout.UPPER[0] == layout.UPPER[1], 1.0, 2.0)  # each stands for two entries
_LOWER = layout.UPPER[1] * AXES + layout.UPPER[0]


def _log_det_with_identity(matrix: Float) -> Float:
    """ln det(I + M) of positive semidefinite M, float64 (m, s, s), of which the lower triangle is
    read, and the diagonal is overwritten."""
    diagonal = np.arange(matrix.shape[1])
    matrix[:, diagonal, diagonal] += 1
    factor = np.linalg.cholesky(matrix).diagonal(axis1=1, axis2=2)
    # In one order whatever m, so that a key's value does not depend on the others.
    logs: Float = 2 * np.log(np.ascontiguousarray(factor)).sum(axis=1)
    return logs
