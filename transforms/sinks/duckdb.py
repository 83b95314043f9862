"""Rows into DuckDB: staged by the workers, written by the launcher, in one transaction each time.

DuckDB has one writing process. Workers therefore stage rows as files in a folder, and the launcher
puts them into the database: all or nothing, and a second run over the same data replaces rows by
key and changes nothing. The file is open only while it is written, so that others can read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.model import quoted
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
    """Gives a table of an older version the columns that it lacks, and the key of today; does
    nothing to one of this version."""
    described = connection.execute(f'DESCRIBE "{table.name}"').fetchall()
    if not {row[0] for row in described}.issuperset(column.name for column in table.columns):
        for statement in table.duckdb_upgrades():
            connection.execute(statement)
    if table.key_added:
        keys = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_name = ? "
            "AND database_name = current_database() "
            "AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')",
            [table.name],
        ).fetchall()
        if keys != [(list(table.key),)]:
            _make_anew(connection, table, described)


def _make_anew(
    connection: duckdb.DuckDBPyConnection, table: Table, described: Sequence[Sequence[Any]]
) -> None:
    """Puts a table's rows into one with the key of today; DuckDB changes no key."""
    anew = f"{table.name}_anew"
    connection.execute(replace(table, name=anew).duckdb_ddl())
    ours = {column.name for column in table.columns}
    for name, kind in ((row[0], row[1]) for row in described if row[0] not in ours):
        connection.execute(f"ALTER TABLE {quoted(anew)} ADD COLUMN {quoted(name)} {kind}")
    connection.execute(f"INSERT INTO {quoted(anew)} BY NAME FROM {quoted(table.name)}")
    connection.execute(f"DROP TABLE {quoted(table.name)}")
    connection.execute(f"ALTER TABLE {quoted(anew)} RENAME TO {quoted(table.name)}")
