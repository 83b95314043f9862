"""A sample of events that an embedding space is fitted to."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

Sample = tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int8]]
"""Hashes of n events, ascending, their vectors, and their labels as of `read_labels`: uint64 of
shape (n,), float32 of shape (n, dim), int8 of shape (n,)."""


class SmallestHashes(beam.CombineFn):  # type: ignore[misc]
    """A uniform sample of events that does not depend on their order: the k smallest hashes, with
    the events' vectors and labels."""

    def __init__(self, size: int, dim: int) -> None:
        self._size = size
        self._dim = dim

    def create_accumulator(self) -> Sample:
        return np.empty(0, np.uint64), np.empty((0, self._dim), np.float32), np.empty(0, np.int8)

    def add_input(self, accumulator: Sample, element: Sample) -> Sample:
        hashes, rows, labels = element
        if len(accumulator[0]) == self._size:  # full: hardly anything gets in any more
            smaller = hashes < accumulator[0][-1]
            hashes, rows, labels = hashes[smaller], rows[smaller], labels[smaller]
        if not len(hashes):
            return accumulator
        hashes, index = np.unique(np.concatenate([accumulator[0], hashes]), return_index=True)
        index = index[: self._size]
        return (
            hashes[: self._size],
            np.concatenate([accumulator[1], rows])[index],
            np.concatenate([accumulator[2], labels])[index],
        )

    def merge_accumulators(self, accumulators: Iterable[Sample]) -> Sample:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged = self.add_input(merged, accumulator)
        return merged

    def extract_output(self, accumulator: Sample) -> Sample:
        return accumulator
