"""Rows into BigQuery from the workers, on engines whose workers share no folder with the launcher.

Rows of a table are gathered, and each batch is staged and merged by key as everywhere else. A
bundle that is done again, or a worker that is killed after its MERGE, writes the same keys: the
table does not change. There is one batch of a table at a time, because BigQuery lets MERGEs into
one table wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from schemas.tables import TABLES
from transforms.bigquery.client import BigQueryOptions
from transforms.sinks.newest import newest

Row = Mapping[str, Any]


class Written(NamedTuple):
    """What became of rows.

    Attributes:
      refused: rows of `dead_letters`, of rows that BigQuery does not take. They are in the
        dataset's own table already.
      deliveries: (table, sent, arrived, refused) of each batch.
    """

    refused: beam.PCollection[dict[str, Any]]
    deliveries: beam.PCollection[tuple[str, int, int, int]]


@dataclass(eq=False)
class WriteBigQuery(beam.PTransform):  # type: ignore[misc]
    """Writes rows of one table of the contract.

    Attributes:
      table: its name.
      uri: bigquery://project/dataset.
      run_id: for dead letters.
      options: how to write.
      batch_rows: rows in a batch, at most.
      wait_s: how long rows wait for a batch to fill, seconds; 0: until all are there, for input
        that ends.
    """

    table: str
    uri: str
    run_id: str
    options: BigQueryOptions = field(default_factory=BigQueryOptions)
    batch_rows: int = 50_000
    wait_s: float = 60.0

    def expand(self, rows: beam.PCollection[Row]) -> Written:
        written = (
            rows
            | "LeaveWindows" >> beam.WindowInto(GlobalWindows())
            | "OneShard" >> beam.Map(_keyed, self.table).with_output_types(tuple[str, Any])
            | "Gather" >> self._gather()
            | "Merge"
            >> beam.ParDo(
                _MergeFn(self.uri, self.run_id, self.options, self.batch_rows)
            ).with_outputs("refused", main="deliveries")
        )
        return Written(written.refused, written.deliveries)

    def _gather(self) -> beam.PTransform:
        # Where input ends, nothing need wait by the clock: Beam's embedded runner ends without the
        # rows of timers that are left.
        if not self.wait_s:
            return beam.GroupByKey()
        return beam.GroupIntoBatches(self.batch_rows, max_buffering_duration_secs=self.wait_s)


def _keyed(row: Row, table: str) -> tuple[str, Row]:
    return table, row


class _MergeFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, uri: str, run_id: str, options: BigQueryOptions, batch_rows: int) -> None:
        self._uri, self._run_id, self._options = uri, run_id, options
        self._batch_rows = batch_rows

    def setup(self) -> None:
        from transforms.sinks.bigquery.write import BigQuerySink

        self._sink = BigQuerySink(self._uri, self._run_id, self._options)

    def process(self, element: tuple[str, Iterable[Row]]) -> Iterator[Any]:
        name, rows = element
        left = iter(rows)
        while batch := list(islice(left, self._batch_rows)):
            yield from self._merge(name, batch)

    def _merge(self, name: str, rows: list[Row]) -> Iterator[Any]:
        table = TABLES[name]
        delivery, letters = self._sink.write_table(name, newest(table, table.to_arrow(rows)))
        yield name, delivery.sent, delivery.arrived, delivery.refused
        for letter in letters:
            yield beam.pvalue.TaggedOutput("refused", letter)
