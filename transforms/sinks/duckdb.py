"""Rows into DuckDB: staged by the workers, written once, in one transaction.

DuckDB has one writing process. Workers therefore stage rows as Arrow files in a folder of the run,
and the launcher puts them into the database when the pipeline has ended: all or nothing, and a
second run over the same data replaces rows by key and changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DistilwatchError
from schemas.tables import TABLES, VIEWS

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
        if not rows:
            return
        folder = Path(self._folder) / self._table
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(TABLES[self._table].to_arrow(rows), partial)
        partial.rename(path)


def staged(folder: str, table: str) -> pa.Table:
    """Everything that was staged for a table, each key once, in the order of keys."""
    definition = TABLES[table]
    files = sorted((Path(folder) / table).glob("*.parquet"))
    if not files:
        return definition.arrow().empty_table()
    return pa.concat_tables([pq.read_table(f, schema=definition.arrow()) for f in files])


def write_database(path: Path, folder: str) -> dict[str, int]:
    """Puts staged rows into a database, in one transaction.

    Returns:
      Rows by table that the run brought.

    Raises:
      DistilwatchError: when the file is no database, is locked, or cannot be written.
    """
    counts = {}
    try:
        with duckdb.connect(str(path)) as connection:
            connection.execute("BEGIN")
            for name, table in TABLES.items():
                connection.execute(table.duckdb_ddl())
                rows = staged(folder, name)
                counts[name] = rows.num_rows
                if rows.num_rows:
                    connection.register("incoming", rows)
                    key = ", ".join(f'"{k}"' for k in table.key)
                    connection.execute(
                        f'INSERT OR REPLACE INTO "{name}" SELECT * FROM incoming '
                        f"QUALIFY row_number() OVER (PARTITION BY {key}) = 1 ORDER BY {key}"
                    )
                    connection.unregister("incoming")
            for view in VIEWS.values():
                connection.execute(view)
            connection.execute("COMMIT")
    except duckdb.Error as error:
        raise DistilwatchError(
            f"the tables cannot be written: {str(error).splitlines()[0]}",
            str(path),
            "close other programs that have the file open, free some space, or choose another file",
        ) from error
    return counts
