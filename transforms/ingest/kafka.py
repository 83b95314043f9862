"""Reads a Kafka topic as batches of records, with an end or without.

Parsing of addresses is in `kafka_uri`, the consumer in `kafka_reader`, and reading without an end
in `kafka_tail`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from schemas.errors import DistilwatchError
from transforms.ingest.batch import RecordBatch
from transforms.ingest.files import ToElement, stamped
from transforms.ingest.kafka_reader import TopicReader
from transforms.ingest.kafka_tail import TailFn
from transforms.ingest.kafka_uri import KafkaUri, check_broker, parse_kafka_uri
from transforms.ingest.pace import Pace

__all__ = ["KafkaUri", "ReadKafka", "check_broker", "parse_kafka_uri"]

_RANGE_RECORDS = 50_000
_PATIENCE_S = 120.0


@dataclass(eq=False)
class ReadKafka(beam.PTransform):  # type: ignore[misc]
    """Reads a topic and makes an element of each batch of records.

    Attributes:
      uri: see `kafka_uri`.
      to_element: from a batch to an element and the event times in it, milliseconds; the element's
        timestamp is the earliest.
      batch_records: records in a batch, at most.
      watermark_lag_ms: how far events of a partition may be out of order.
      idle_after_ms: a partition that is read to its end and silent for so long holds nobody up.
      readers: into how many readers an unbounded read is divided, at most one a partition; None for
        one.
      read_for_ms: how long such a reader reads before it hands over what it has.
      positions: folder where readers of an unbounded read note how far they are; None: nowhere.
      pace: of the watermark of an unbounded read; None: none is needed.
    """

    uri: str
    to_element: ToElement
    batch_records: int = 2_000
    watermark_lag_ms: int = 60_000
    idle_after_ms: int = 10_000
    readers: int | None = None
    read_for_ms: int = 1_000
    positions: str | None = None
    pace: Pace | None = None

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Any]:
        uri = parse_kafka_uri(self.uri)
        if not uri.bounded:
            tail = TailFn(
                uri, self.to_element, self.batch_records, self.watermark_lag_ms,
                self.idle_after_ms, self._readers(uri), self.read_for_ms,
                self.positions, self.pace,
            )  # fmt: skip
            readers = beam.Create(range(tail.readers), reshuffle=tail.readers > 1)
            return begin | "Readers" >> readers | "Read" >> beam.ParDo(tail)
        return (
            begin
            | "Ranges" >> beam.Create(offset_ranges(uri))
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_RangeFn(uri, self.to_element, self.batch_records))
        )

    def _readers(self, uri: KafkaUri) -> int:
        if self.readers is None or self.readers < 2:
            return 1
        # One without a partition would never promise anything, and hold everybody up.
        reader = TopicReader(uri)
        try:
            return min(self.readers, len(reader.partitions()))
        finally:
            reader.close()


def offset_ranges(uri: KafkaUri, size: int = _RANGE_RECORDS) -> list[tuple[int, int, int]]:
    """(partition, first offset, offset after the last) of all that a topic holds now.

    Long partitions are cut, so that workers can read them side by side.

    Raises:
      DistilwatchError: no broker answers, or there is no such topic.
    """
    return [
        (p, at, min(at + size, end))
        for p, (start, end) in spans(uri).items()
        for at in range(start, end, size)
    ]


def spans(uri: KafkaUri) -> dict[int, tuple[int, int]]:
    """By partition, the offset where reading would start now, and that after the last.

    Raises:
      DistilwatchError: no broker answers, or there is no such topic.
    """
    reader = TopicReader(uri)
    try:
        partitions = reader.partitions()
        starts, ends = reader.start_offsets(partitions), reader.end_offsets(partitions)
    finally:
        reader.close()
    return {p: (starts[p], ends[p]) for p in partitions}


def read_range(
    reader: TopicReader, partition: int, start: int, stop: int, batch_records: int
) -> Iterator[RecordBatch]:
    """Records with offsets in [start, stop) that the broker still has.

    What it has deleted of them by now is told by a batch without records, whoever reads what is
    beyond: each of several ranges tells of its own.

    Raises:
      DistilwatchError: the broker stays away.
    """
    reader.seek({partition: start})
    while (at := reader.positions[partition]) < stop:
        for batch in reader.poll(500, min(batch_records, stop - at)):
            inside = int((batch.offsets < stop).sum())
            if inside:
                yield RecordBatch(
                    batch.source, partition, batch.offsets[:inside], batch.values[:inside]
                )
        if lost := reader.take_lost(partition):
            none = np.empty(0, np.int64)
            yield RecordBatch(reader.uri.source, partition, none, [], lost=min(lost, stop - at))
        if reader.positions[partition] == at and reader.unread() and reader.away_s > _PATIENCE_S:
            raise DistilwatchError(
                f"the Kafka broker has been away for {_PATIENCE_S:.0f} s",
                reader.uri.place,
                "start it, then run this again",
            )


class _RangeFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, uri: KafkaUri, to_element: ToElement, batch_records: int) -> None:
        self._uri = uri
        self._to_element = to_element
        self._batch_records = batch_records

    def setup(self) -> None:
        self._reader: TopicReader | None = None

    def process(self, element: tuple[int, int, int]) -> Iterator[Any]:
        self._reader = self._reader or TopicReader(self._uri)
        for batch in read_range(self._reader, *element, self._batch_records):
            yield stamped(*self._to_element(batch))

    def teardown(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
