"""Columns that others have written, in the form of a table's definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DistilwatchError
from schemas.model import Column, Table


def fitted(table: Table, found: pa.Table | pa.RecordBatch) -> pa.Table:
    """Columns as the Arrow schema of a table has them, without a look at single rows.

    Columns are taken by name, those of others are left out, and missing ones are empty, or have
    their default. Times become milliseconds, what is finer is cut off; a repeated column has [] for
    none.

    Args:
      table: that the rows are of.
      found: with columns of kindred types, such as times in microseconds.

    Raises:
      DistilwatchError: a column has another type, or a required one misses a value.
    """
    names = found.schema.names
    columns = []
    for column in table.columns:
        there = found.column(column.name) if column.name in names else None
        columns.append(_column(column, there, found.num_rows, f"table {table.name}"))
    return pa.Table.from_arrays(columns, schema=table.arrow())


def _column(column: Column, found: Any, length: int, where: str) -> Any:
    place = f"{where}, column {column.name}"
    if found is None:
        found = pa.nulls(length, column.arrow())
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    if column.mode == "REPEATED":
        return _repeated(column, found, place)
    found = _value(column, found, place)
    if found.null_count and column.default is not None:
        found = pc.fill_null(found, pa.scalar(column.default, found.type))
    if found.null_count and column.mode == "REQUIRED":
        raise DistilwatchError("a required value is missing", place, "give every row one")
    return found


def _repeated(column: Column, found: Any, place: str) -> Any:
    if pa.types.is_null(found.type):
        found = found.cast(column.arrow())
    if not (pa.types.is_list(found.type) or pa.types.is_large_list(found.type)):
        raise _another(column, found, place)
    lengths = pc.fill_null(pc.list_value_length(found), 0).cast(pa.int64())
    ends = pc.cumulative_sum(lengths).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, _value(column, found.flatten(), place))


def _value(column: Column, found: Any, place: str) -> Any:
    wanted = column.arrow()
    wanted = wanted.value_type if column.mode == "REPEATED" else wanted
    if column.fields and not pa.types.is_null(found.type):
        return _record(column.fields, found, column, place)
    if _family(found.type) not in ("nothing", _family(wanted)):  # Arrow would make 1 of "1"
        raise _another(column, found, place)
    try:
        return found.cast(wanted, safe=not pa.types.is_timestamp(wanted))
    except pa.ArrowException:
        raise _another(column, found, place) from None


def _record(fields: Sequence[Column], found: Any, column: Column, place: str) -> Any:
    if not pa.types.is_struct(found.type):
        raise _another(column, found, place)
    there = dict(zip([f.name for f in found.type], found.flatten(), strict=True))
    columns = [_column(f, there.get(f.name), len(found), place) for f in fields]
    missing = found.is_null() if found.null_count else None
    return pa.StructArray.from_arrays(
        columns, fields=[f.arrow_field() for f in fields], mask=missing
    )


def _family(kind: pa.DataType) -> str:
    """Types that are made of each other without a loss that matters."""
    if pa.types.is_null(kind):
        return "nothing"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind):
        return "time"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if text or pa.types.is_string_view(kind):
        return "text"
    return str(kind)


def _another(column: Column, found: Any, place: str) -> DistilwatchError:
    return DistilwatchError(
        f"it holds {found.type}, where {column.arrow()} is wanted",
        place,
        "this is a table of somebody else, or of another program's version",
    )
