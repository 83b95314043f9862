"""A folder of Parquet tables as a DuckDB database: the same tables and views as in a database file.

Nothing is copied. A view that follows looks at the files that are there when it is asked, while
runs go on writing; another holds the files that were there when it was made, the same for all
tables. Of several versions of a row both take the one that was written last.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import duckdb

from schemas.model import Table, quoted, sql_text
from schemas.tables import TABLES, VIEWS
from transforms.sinks import parquet_files as files


def make_views(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    written_until_ns: int | None = None,
    follow: bool = False,
    locked: bool = False,
) -> None:
    """Makes views for all tables of a folder, and the analysts' views over them.

    Args:
      connection: of a database without these.
      folder: of the Parquet tables; absolute, if the database is to be used from elsewhere.
      written_until_ns: rows that were written later are left out; None: all.
      follow: whether views see files that come later. A query that begins in the very moment when
        joined files are removed may then miss one, and say so; without, files stay for
        `parquet_files.GRACE_S` at least.
      locked: whether the caller holds the folder's lock.
    """
    for table in TABLES.values():
        _see_to_a_file(folder, table)
    with nullcontext() if locked else files.listing(folder):
        for table in TABLES.values():
            connection.execute(_view(table, _files(folder, table, follow), written_until_ns))
    for statement in VIEWS.values():
        connection.execute(statement)


def has_tables(folder: Path) -> bool:
    """Whether a folder looks like one of Parquet tables."""
    return any((folder / name).is_dir() for name in TABLES)


def _files(folder: Path, table: Table, follow: bool) -> Sequence[Path]:
    here = folder / table.name
    found = [file for day in sorted(here.glob("*")) for file in files.live(day)]
    return [here / "*" / "*.parquet"] if follow and found else found


def _view(table: Table, paths: Sequence[Path], written_until_ns: int | None) -> str:
    columns = ", ".join(quoted(column.name) for column in table.columns)
    name = quoted(table.name)
    if not paths:
        empty = ", ".join(f"NULL::{c.duckdb()} AS {quoted(c.name)}" for c in table.columns)
        return f"CREATE OR REPLACE VIEW {name} AS SELECT {empty} WHERE false"
    key = ", ".join(quoted(k) for k in table.key)
    written = quoted(files.WRITTEN)
    until = "true" if written_until_ns is None else f"coalesce({written}, 0) <= {written_until_ns}"
    listed = ", ".join(sql_text(str(path)) for path in paths)
    return f"""
        CREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM (
            SELECT * FROM read_parquet(
                [{listed}], union_by_name = true, hive_partitioning = false, filename = true)
            WHERE {until}
            QUALIFY row_number() OVER (
                PARTITION BY {key} ORDER BY {written} DESC NULLS LAST, filename DESC) = 1)"""


def _see_to_a_file(folder: Path, table: Table) -> None:
    """A file without rows: views hold before the first row is there, and have all columns."""
    none = folder / table.name / "none" / "none.parquet"
    with suppress(OSError):
        if not none.exists() or not _is_of_this_version(none, table):
            files.put(none, table.arrow().empty_table())


def _is_of_this_version(path: Path, table: Table) -> bool:
    import pyarrow.parquet as pq

    there = set(pq.read_schema(path).names)
    return there.issuperset(files.schema_of(table).names)
