"""Rows on their way out: staged by the workers as files, so that a sink writes all or nothing."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DistilwatchError
from schemas.tables import TABLES

Row = Mapping[str, Any]


@dataclass(eq=False)
class StageTable(beam.PTransform):  # type: ignore[misc]
    """Stages rows of one table as Parquet files in `folder`/<table>/."""

    table: str
    folder: str

    def expand(self, rows: beam.PCollection[Row]) -> beam.PCollection[None]:
        return rows | "Stage" >> beam.ParDo(_StageFn(self.table, self.folder))


class _StageFn(beam.DoFn):  # type: ignore[misc]
    _FULL = 5_000

    def __init__(self, table: str, folder: str) -> None:
        self._table = table
        self._folder = folder

    def start_bundle(self) -> None:
        self._rows: list[Row] = []

    def process(self, row: Row) -> Iterator[None]:
        self._rows.append(row)
        if len(self._rows) >= self._FULL:
            self.finish_bundle()
        return iter(())

    def finish_bundle(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            stage_rows(self._table, rows, self._folder)


@dataclass(eq=False)
class StageColumns(beam.PTransform):  # type: ignore[misc]
    """Stages rows that come in columns, Arrow tables of the table's schema, as `StageTable` does.

    What comes is large already, so every Arrow table becomes a file.
    """

    table: str
    folder: str

    def expand(self, parts: beam.PCollection[pa.Table]) -> beam.PCollection[None]:
        return parts | "Stage" >> beam.ParDo(_StageColumnsFn(self.table, self.folder))


class _StageColumnsFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, table: str, folder: str) -> None:
        self._table = table
        self._folder = folder

    def process(self, part: pa.Table) -> Iterator[None]:
        stage_table(self._table, part, self._folder)
        return iter(())


def stage_rows(table: str, rows: Sequence[Row], folder: str) -> None:
    """Stages rows of one table as a file, whole or not at all.

    Raises:
      DistilwatchError: there is no room for it.
    """
    stage_table(table, TABLES[table].to_arrow(rows), folder)


def stage_table(table: str, part: pa.Table, folder: str) -> None:
    """Stages an Arrow table of a table's schema as a file; see `stage_rows`."""
    home = Path(folder) / table
    # Sorted names are in the order of time: of two versions of a row the later one counts.
    path = home / f"{time.time_ns():020d}-{uuid.uuid4().hex}.parquet"
    partial = path.with_suffix(".partial")
    try:
        home.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, partial)
        partial.rename(path)
    except OSError as error:
        # On a full disk each further try would leave another half behind.
        partial.unlink(missing_ok=True)
        raise cannot_keep(folder, error) from error


def cannot_keep(folder: str, error: OSError) -> DistilwatchError:
    """What to say when there is no room for what is passing."""
    return DistilwatchError(
        f"what is passing cannot be kept ({os.strerror(error.errno) if error.errno else error})",
        folder,
        "free some space, then run this again; to keep it on another disk set run.tmp in the "
        "settings, for a stream with a local output choose another output, or set flink.spool",
    )


def staged(folder: str, table: str) -> pa.Table:
    """Everything that was staged for a table, in the order of time."""
    definition = TABLES[table]
    files = _files(folder, table)
    if not files:
        return definition.arrow().empty_table()
    return pa.concat_tables([pq.read_table(f, schema=definition.arrow()) for f in files])


def staged_count(folder: str, table: str) -> int:
    """How many rows were staged for a table."""
    return sum(pq.read_metadata(file).num_rows for file in _files(folder, table))


def _files(folder: str, table: str) -> list[Path]:
    return sorted((Path(folder) / table).glob("*.parquet"))
