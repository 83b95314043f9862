"""A coverage sketch gathered event by event: what the baseline's CombineFn keeps.

It is written for single events, with dictionaries and plain integers, and gives to the bit the
sketch that `transforms.coverage` gives for the same events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from transforms.coverage import layout
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.sketch import CoverageSketch, moments_of, sort_rows
from transforms.embedding.space import AXES

_MASK = (1 << 64) - 1
_CAPACITY = [int(n) for n in layout.CAPACITY]
_SLACK = 4  # a set may outgrow its capacity this many times before the largest are dropped
_NONE = np.empty(0, np.int64)


class Request(NamedTuple):
    """One validated event, ready to be counted.

    Attributes:
      name: account and event id.
      sums: a value for each `Sum`.
      bins: indices of the histogram bins it falls into.
      items: (`Items`, 64-bit hash) pairs.
      group: conversation, or what stands for it; 0 without a vector.
      coordinates: int8 of shape (64,) as bytes; b"" without a vector.
    """

    name: str
    time_ms: int
    account: str
    payment: str
    created_ms: int
    sums: tuple[int, ...]
    bins: tuple[int, ...]
    items: tuple[tuple[int, int], ...]
    group: int
    coordinates: bytes


def mix(value: int, salt: int) -> int:
    """SplitMix64's finaliser, never zero; as `fold` spreads minutes and hours."""
    mixed = (value + salt * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) | 1


class Accumulator:
    """What the events of one key have shown so far."""

    def __init__(self) -> None:
        self.sums = np.zeros(len(Sum), np.int64)
        self.first_ms, self.last_ms = layout.NEVER_MS, -layout.NEVER_MS
        self.created_ms = layout.NEVER_MS
        self.bins: Counter[int] = Counter()
        self.items: dict[int, Counter[int]] = {}
        self.group_count: Counter[int] = Counter()
        self.group_sum: dict[int, NDArray[np.int64]] = {}
        self.rows: list[bytes] = []
        self.moments: list[NDArray[np.int64]] = []

    def add(self, request: Request) -> None:
        """Counts an event."""
        self.sums += request.sums
        self.first_ms = min(self.first_ms, request.time_ms)
        self.last_ms = max(self.last_ms, request.time_ms)
        self.created_ms = min(self.created_ms, request.created_ms)
        for index in request.bins:
            self.bins[index] += 1
        for kind, hashed in request.items:
            self._count_item(kind, hashed >> 8, 1)
        if request.coordinates:
            coordinates = np.frombuffer(request.coordinates, np.int8)
            self._count_group(request.group, 1, coordinates.astype(np.int64))
            self.rows.append(request.coordinates)
            self._settle()

    def merge(self, other: Accumulator) -> None:
        """Adds what another accumulator has seen."""
        self.sums += other.sums
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.created_ms = min(self.created_ms, other.created_ms)
        self.bins.update(other.bins)
        for kind, counts in other.items.items():
            for hashed, count in counts.items():
                self._count_item(kind, hashed, count)
        for key, total in other.group_sum.items():
            self._count_group(key, other.group_count[key], total)
        self.rows += other.rows
        if other.moments:
            self._add_moments(other.moments)
        self._settle()

    def sketch(self) -> CoverageSketch:
        """The same as a coverage sketch."""
        keys: list[int] = []
        counts: list[int] = []
        for kind in sorted(self.items):
            found = self.items[kind]
            kept = sorted(found)[: _CAPACITY[kind]]
            keys += [hashed | kind << 56 for hashed in kept]
            counts += [found[hashed] for hashed in kept]
        groups = sorted(self.group_count)[: layout.GROUPS]
        bins = sorted(self.bins)
        rows = _stack(self.rows)
        moments = self.moments
        if self.sums[Sum.VECTORS] > layout.MAX_ROWS:
            if len(rows):
                moments = [a + b for a, b in zip(moments, moments_of(rows), strict=True)]
            rows = rows[:0]
        moment, total, fourier = moments or (_NONE, _NONE, _NONE)
        return CoverageSketch(
            sums=self.sums,
            first_ms=self.first_ms,
            last_ms=self.last_ms,
            created_ms=self.created_ms,
            bin_index=np.array(bins, np.uint16),
            bin_count=np.array([self.bins[i] for i in bins], np.int64),
            item_key=np.array(keys, np.uint64),
            item_count=np.array(counts, np.int64),
            group_key=np.array(groups, np.uint64),
            group_count=np.array([self.group_count[g] for g in groups], np.int64),
            group_sum=np.array([self.group_sum[g] for g in groups], np.int64).reshape(-1, AXES),
            rows=sort_rows(rows),
            moment=moment,
            vector_sum=total,
            fourier_sum=fourier,
        )

    def _count_item(self, kind: int, hashed: int, count: int) -> None:
        counts = self.items.setdefault(kind, Counter())
        counts[hashed] += count
        if len(counts) > _SLACK * _CAPACITY[kind]:
            self.items[kind] = Counter(
                {key: counts[key] for key in sorted(counts)[: _CAPACITY[kind]]}
            )

    def _count_group(self, key: int, count: int, total: NDArray[np.int64]) -> None:
        self.group_count[key] += count
        known = self.group_sum.get(key)
        self.group_sum[key] = total if known is None else known + total
        if len(self.group_sum) > _SLACK * layout.GROUPS:
            kept = sorted(self.group_sum)[: layout.GROUPS]
            self.group_sum = {k: self.group_sum[k] for k in kept}
            self.group_count = Counter({k: self.group_count[k] for k in kept})

    def _settle(self) -> None:
        """Keeps no more rows than a sketch does; their moments are made for all at once."""
        if len(self.rows) > layout.MAX_ROWS:
            self._add_moments(moments_of(_stack(self.rows)))
            self.rows = []

    def _add_moments(self, moments: Iterable[NDArray[np.int64]]) -> None:
        if self.moments:
            moments = [a + b for a, b in zip(self.moments, moments, strict=True)]
        self.moments = list(moments)


def _stack(rows: list[bytes]) -> NDArray[np.int8]:
    return np.frombuffer(b"".join(rows), np.int8).reshape(-1, AXES)


class CountRequests(beam.CombineFn):  # type: ignore[misc]
    """Requests to a coverage sketch, one at a time."""

    def create_accumulator(self) -> Accumulator:
        return Accumulator()

    def add_input(self, accumulator: Accumulator, element: Request) -> Accumulator:
        accumulator.add(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        several = iter(accumulators)
        merged = next(several)
        for accumulator in several:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Accumulator) -> CoverageSketch:
        return accumulator.sketch()


def bin_of(hashed: int, start: Bins, size: int) -> int:
    """Histogram bin of a hash."""
    return (hashed >> 40) % size + int(start)


def octave_of(tokens: int, start: Bins) -> int:
    """Histogram bin of a number of tokens."""
    return min(tokens.bit_length() - 1, 23) + int(start)


def items_of(hashes: dict[Items, int]) -> tuple[tuple[int, int], ...]:
    """The items that the event names."""
    return tuple((int(kind), hashed) for kind, hashed in hashes.items() if hashed)
