"""Reads `events.jsonl` and `events.jsonl.gz` as batches of records."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.ingest.batch import NO_WATERMARK, RecordBatch
from transforms.ingest.packed import opened

ToElement = Callable[[RecordBatch], tuple[Any, NDArray[np.int64]]]

_RANGE_BYTES = 32 << 20
_BLOCK_BYTES = 1 << 20


def find_files(pattern: str) -> list[str]:
    """Files of a path, pattern, or either as file://…, sorted.

    Raises:
      DistilwatchError: when there is none, or one is of a kind that cannot be read.
    """
    paths = sorted(p for p in glob.glob(pattern.removeprefix("file://")) if os.path.isfile(p))
    if not paths:
        raise DistilwatchError("no such input file", pattern, "check the path given to --input")
    for path in paths:
        if not path.endswith((".jsonl", ".jsonl.gz")):
            raise DistilwatchError("unknown kind of input", path, "give .jsonl or .jsonl.gz files")
    return paths


def byte_ranges(path: str, size: int = _RANGE_BYTES) -> list[tuple[str, int, int]]:
    """Cuts a file into ranges that workers can read side by side; gzip files stay whole."""
    total = os.path.getsize(path)
    if path.endswith(".gz"):
        return [(path, 0, total)]
    return [(path, start, min(start + size, total)) for start in range(0, total, size)]


def read_range(path: str, start: int, stop: int, batch_records: int) -> Iterator[RecordBatch]:
    """Lines that begin in [start, stop), in batches; the offset of a line is its byte position.

    Every line belongs to exactly one range. Blank lines are no records.
    """
    name = os.path.normpath(path)  # the whole of it: files of two folders may have one name
    places: list[int] = []
    values: list[bytes] = []
    for at, lines in _line_blocks(path, start, stop):
        ends = list(accumulate(map(len, lines), lambda end, size: end + size + 1, initial=at))
        for place, line in zip(ends, lines, strict=False):
            if record := line.strip():
                places.append(place)
                values.append(record)
                if len(values) >= batch_records:
                    yield RecordBatch(name, 0, np.array(places, np.int64), values, NO_WATERMARK)
                    places, values = [], []
    if values:
        yield RecordBatch(name, 0, np.array(places, np.int64), values, NO_WATERMARK)


def _line_blocks(path: str, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
    """Whole lines that begin in [start, stop), many at a time, and where the first of them does."""
    with opened(path) as file:
        at = start
        if start:
            file.seek(start - 1)
            at = start - 1 + len(file.readline())  # the line before, up to its end
        endless = path.endswith(".gz")
        while endless or at < stop:
            block = _next_block(file, _BLOCK_BYTES if endless else min(_BLOCK_BYTES, stop - at))
            if not block:
                return
            yield at, block.split(b"\n")
            at += len(block)


def _next_block(file: BinaryIO, size: int) -> bytes:
    """About `size` bytes, to the end of a line."""
    block = file.read(size)
    # The last byte may be the end of a line, or the first of one that begins in time.
    return block if block.endswith(b"\n") else block + file.readline()


@dataclass(eq=False)
class ReadFiles(beam.PTransform):  # type: ignore[misc]
    """Reads files and makes an element of each batch of records.

    Attributes:
      pattern: path or glob.
      to_element: from a batch to an element and the event times in it, milliseconds; the element's
        timestamp is the earliest.
      batch_records: records in a batch.
    """

    pattern: str
    to_element: ToElement
    batch_records: int = 2_000

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Any]:
        ranges = [r for path in find_files(self.pattern) for r in byte_ranges(path)]
        return (
            begin
            | "Ranges" >> beam.Create(ranges)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadFn(self.to_element, self.batch_records))
        )


class _ReadFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, to_element: ToElement, batch_records: int) -> None:
        self._to_element = to_element
        self._batch_records = batch_records

    def process(self, element: tuple[str, int, int]) -> Iterator[Any]:
        for batch in read_range(*element, self._batch_records):
            yield stamped(*self._to_element(batch))


def stamped(element: Any, times: NDArray[np.int64]) -> TimestampedValue:
    """An element at the earliest of its event times."""
    first = int(times.min()) if len(times) else 0
    return TimestampedValue(element, Timestamp(micros=first * 1000))
