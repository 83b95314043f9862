"""Rows into DuckDB: staged by the workers, written by the launcher, in one transaction each time.

DuckDB has one writing process. Workers therefore stage rows as files in a folder, and the launcher
puts them into the database: all or nothing, and a second run over the same data replaces rows by
key and changes nothing. The file is open only while it is written, so that others can read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.tables import TABLES, VIEWS, Table
from transforms.sinks.duckdb_gate import connect_to_read, connected_to_write
from transforms.sinks.duckdb_refusal import RETRY_S, may_be_database, why_not
from transforms.sinks.newest import newest
from transforms.sinks.staging import staged


def write_database(path: Path, folder: str, patience_s: float = 0.0) -> dict[str, int]:
    """Puts staged rows into a database, in one transaction.

    Args:
      path: of the database.
      folder: of the staged rows.
      patience_s: how long to wait for another process that has the file open.

    Returns:
      Rows by table that the run brought.

    Raises:
      DistilwatchError: when the file is no database, is locked, or cannot be written.
    """
    rows = {name: staged(folder, name) for name in TABLES}
    found = {name: newest(TABLES[name], part) for name, part in rows.items()}
    write_tables(path, found, patience_s=patience_s)
    return {name: part.num_rows for name, part in rows.items()}


def write_tables(
    path: Path,
    rows: Mapping[str, pa.Table],
    counts_of: str | None = None,
    define: bool = True,
    patience_s: float = 0.0,
) -> None:
    """Puts rows into a database, in one transaction.

    Args:
      path: of the database.
      rows: by table; no two with the same key.
      counts_of: a run of which `run_health` holds all counts; others of that run are removed.
      define: whether tables and views are to be made, too.
      patience_s: how long to wait for another process that has the file open.

    Raises:
      DistilwatchError: when the file is no database, is locked, or cannot be written.
    """
    try:
        with opened(path, patience_s) as connection:
            connection.execute("BEGIN")
            for name, table in TABLES.items():
                if define:
                    connection.execute(table.duckdb_ddl())
                    _upgrade(connection, table)
                part = rows.get(name)
                if part is None:
                    continue
                if part.num_rows:
                    connection.register("incoming", part)
                    key = ", ".join(f'"{k}"' for k in table.key)
                    connection.execute(
                        f'INSERT OR REPLACE INTO "{name}" BY NAME '
                        f"SELECT * FROM incoming ORDER BY {key}"
                    )
                    connection.unregister("incoming")
                if name == "run_health" and counts_of is not None:
                    connection.execute(
                        "DELETE FROM run_health WHERE run_id = ? AND NOT list_contains(?, metric)",
                        [counts_of, part["metric"].to_pylist()],
                    )
            for view in VIEWS.values() if define else ():
                connection.execute(view)
            connection.execute("COMMIT")
    except duckdb.Error as error:
        refused = why_not(error)
        raise DistilwatchError(
            f"the tables cannot be written: {refused.what}", str(path), refused.mend
        ) from error


@contextmanager
def opened(
    path: Path, patience_s: float, read_only: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection, once no other process has the file open.

    Raises:
      duckdb.Error: the file cannot be used, or others had it open for as long.
    """
    if not may_be_database(path):
        raise duckdb.IOException(f"{path} is not a valid DuckDB database file")
    deadline = time.monotonic() + patience_s
    connect = connect_to_read if read_only else connected_to_write
    with ExitStack() as stack:
        while True:
            try:
                connection = stack.enter_context(connect(path))
                break
            except duckdb.Error as error:
                if not why_not(error).locked or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)
        yield connection


def _upgrade(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Adds the columns that a table of an older version lacks, and nothing to one of this."""
    described = connection.execute(f'DESCRIBE "{table.name}"').fetchall()
    if {row[0] for row in described}.issuperset(column.name for column in table.columns):
        return
    for statement in table.duckdb_upgrades():
        connection.execute(statement)
