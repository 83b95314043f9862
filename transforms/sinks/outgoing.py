"""Where the rows of a run go: to be staged in a folder, or from the workers into BigQuery."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import apache_beam as beam
import pyarrow as pa

from transforms.sinks.staging import StageColumns, StageTable

if TYPE_CHECKING:
    from transforms.bigquery.client import BigQueryOptions

Rows: TypeAlias = "beam.PCollection[dict[str, Any]]"


class Outgoing(Protocol):
    """Takes the rows of every table while a pipeline is built.

    Attributes:
      knows_what_was_said: whether what follows drops news of clusters that were never flagged.
    """

    knows_what_was_said: bool

    def put_rows(self, label: str, table: str, rows: Rows) -> None:
        """Takes rows of a table; a step gets the label."""

    def put_columns(self, label: str, table: str, parts: beam.PCollection[pa.Table]) -> None:
        """Takes rows of a table that come as Arrow tables of its schema."""

    def close(self) -> None:
        """Says that these were all."""


@dataclass
class Staging:
    """Leaves rows in a folder, where a committer, or the launcher at the end, finds them."""

    folder: str
    knows_what_was_said: bool = True

    def put_rows(self, label: str, table: str, rows: Rows) -> None:
        """Stages rows."""
        _ = rows | label >> StageTable(table, self.folder)

    def put_columns(self, label: str, table: str, parts: beam.PCollection[pa.Table]) -> None:
        """Stages Arrow tables."""
        _ = parts | label >> StageColumns(table, self.folder)

    def close(self) -> None:
        """Nothing is left to be done."""


@dataclass
class ToBigQuery:
    """Writes rows from the workers, all rows of a table by one step.

    BigQuery lets MERGEs into one table wait for each other, so there must not be several steps that
    write the same one.

    Attributes:
      uri: bigquery://project/dataset.
      run_id: for dead letters.
      options: how to write.
      batch_rows: rows of a batch, at most; a batch is one element, and an engine's elements have
        limits (80 MB on Dataflow).
      wait_s: how long rows wait for a batch to fill, seconds; 0: until all are there.
    """

    uri: str
    run_id: str
    options: BigQueryOptions
    batch_rows: int = 10_000
    wait_s: float = 60.0
    knows_what_was_said: bool = False
    _waiting: dict[str, list[Rows]] = field(default_factory=lambda: defaultdict(list))

    def put_rows(self, label: str, table: str, rows: Rows) -> None:
        """Keeps rows for the step that writes their table."""
        # What leaves its windows can be written together with what had others.
        leave = beam.WindowInto(beam.window.GlobalWindows())
        self._waiting[table].append(rows | label >> leave)

    def put_columns(self, label: str, table: str, parts: beam.PCollection[pa.Table]) -> None:
        """Keeps rows, one by one."""
        self.put_rows(label, table, parts | f"{label}_rows" >> beam.FlatMap(_rows))

    def close(self) -> None:
        """Writes each table."""
        from transforms.sinks.bigquery.transform import WriteBigQuery

        for table, parts in self._waiting.items():
            rows = parts[0] if len(parts) == 1 else parts | f"All_{table}" >> beam.Flatten()
            _ = rows | f"Write_{table}" >> WriteBigQuery(
                table, self.uri, self.run_id, self.options, self.batch_rows, self.wait_s
            )


def _rows(part: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = part.to_pylist()
    return rows
