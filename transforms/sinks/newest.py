"""Of several versions of a row, the one that counts."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from schemas.model import Table, quoted

_COUNTS = "run_health"


def newest(table: Table, rows: pa.Table) -> pa.Table:
    """One row for each key.

    The better value of the table's `prefer` column wins, then the later row; of counts, which only
    grow while a run goes on, the largest.

    Args:
      table: that the rows belong to.
      rows: of its Arrow schema, in the order in which they were made.
    """
    if rows.num_rows < 2:
        return rows
    order = []
    if table.prefer is not None:
        column, values = table.prefer
        listed = ", ".join(f"'{v}'" for v in values)
        order.append(f"list_position([{listed}], {quoted(column)}) DESC NULLS LAST")
    if table.name == _COUNTS:
        order.append('"value" DESC')
    order.append('"_at" DESC')
    return _first(table, rows, ", ".join(order))


def last_written(table: Table, rows: pa.Table) -> pa.Table:
    """One row for each key: of several the one that was written last, as a database would have it.

    Args:
      table: that the rows belong to.
      rows: with `parquet_files.WRITTEN`; of files of an older version it is null.
    """
    if rows.num_rows < 2:
        return rows
    return _first(table, rows, '"_written_ns" DESC NULLS LAST, "_at" DESC')


def _first(table: Table, rows: pa.Table, order: str) -> pa.Table:
    key = ", ".join(quoted(k) for k in table.key)
    numbered = rows.append_column("_at", pa.array(np.arange(rows.num_rows)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("numbered", numbered)
        kept = connection.execute(
            f'SELECT "_at" FROM numbered QUALIFY row_number() OVER '
            f"(PARTITION BY {key} ORDER BY {order}) = 1"
        ).fetchnumpy()["_at"]
    return rows if len(kept) == rows.num_rows else rows.take(pa.array(np.sort(kept)))
