"""Rows into DuckDB: staged by the workers, written once, in one transaction.

DuckDB has one writing process. Workers therefore stage rows as Arrow files in a folder of the run,
and the launcher puts them into the database when the pipeline has ended: all or nothing, and a
second run over the same data replaces rows by key and changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from schemas.errors import DistilwatchError
from schemas.tables import TABLES, VIEWS
from transforms.sinks.staging import staged


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
