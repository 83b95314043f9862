"""The sketch in Beam: its coder and its CombineFn."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
from apache_beam import coders

from transforms.coverage.sketch import CoverageSketch, decode, empty, encode, merge

_PENDING = 16


class SketchCoder(coders.Coder):  # type: ignore[misc]
    """Encodes sketches as `sketch.encode` does: equal sketches, equal bytes."""

    def encode(self, value: CoverageSketch) -> bytes:
        return encode(value)

    def decode(self, encoded: bytes) -> CoverageSketch:
        return decode(encoded)

    def is_deterministic(self) -> bool:
        return True


class _PendingCoder(coders.Coder):  # type: ignore[misc]
    def encode(self, value: list[CoverageSketch]) -> bytes:
        return encode(merge(value))

    def decode(self, encoded: bytes) -> list[CoverageSketch]:
        return [decode(encoded)]

    def is_deterministic(self) -> bool:
        return True


class MergeSketches(beam.CombineFn):  # type: ignore[misc]
    """Merges sketches.

    The accumulator is a short list: merging sixteen sketches at once costs little more than merging
    two. It never grows beyond that, and is one sketch wherever it is encoded.
    """

    def create_accumulator(self) -> list[CoverageSketch]:
        return []

    def add_input(
        self, accumulator: list[CoverageSketch], element: CoverageSketch
    ) -> list[CoverageSketch]:
        accumulator.append(element)
        return [merge(accumulator)] if len(accumulator) >= _PENDING else accumulator

    def merge_accumulators(
        self, accumulators: Iterable[list[CoverageSketch]]
    ) -> list[CoverageSketch]:
        merged: list[CoverageSketch] = []
        for accumulator in accumulators:
            merged.extend(accumulator)
            if len(merged) >= _PENDING:
                merged = [merge(merged)]
        return merged

    def compact(self, accumulator: list[CoverageSketch]) -> list[CoverageSketch]:
        return [merge(accumulator)]

    def extract_output(self, accumulator: list[CoverageSketch]) -> CoverageSketch:
        return merge(accumulator) if accumulator else empty()

    def get_accumulator_coder(self) -> coders.Coder:
        return _PendingCoder()


coders.registry.register_coder(CoverageSketch, SketchCoder)
