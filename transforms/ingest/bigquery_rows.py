"""Rows of BigQuery as records of contract 1, from Arrow columns; no Google library, no Beam."""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from schemas.events import EVENT_FIELDS

_FIELDS = {field.name: field for field in EVENT_FIELDS}
_REQUIRED = tuple(field.name for field in EVENT_FIELDS if field.required)
# BigQuery's types that a kind of field may have; those of the contract's own form come first.
_TYPES = {
    "string": ("STRING",),
    "integer": ("INTEGER", "INT64"),
    "number": ("FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC", "INTEGER", "INT64"),
    "time": ("TIMESTAMP", "DATETIME", "STRING", "INTEGER", "INT64"),
    "vector": ("FLOAT", "FLOAT64", "BYTES", "STRING"),
    "strings": ("STRING",),
}


def event_columns(schema: list[dict[str, Any]], where: str) -> list[str]:
    """Columns of a table that are fields of the event, which are the only ones read.

    Args:
      schema: the table's fields, as BigQuery's JSON has them.
      where: for messages.

    Raises:
      DistilwatchError: a required column is missing, or one has a type that no event has.
    """
    there = {f["name"]: f for f in schema}
    missing = [name for name in _REQUIRED if name not in there]
    if missing:
        raise DistilwatchError(
            f"the table has no column {', '.join(missing)}",
            where,
            "give a table or view with the columns of docs/contracts.md; a view can rename them",
        )
    found = [name for name in there if name in _FIELDS]
    for name in found:
        kind, column = _FIELDS[name].kind, there[name]
        repeated = column.get("mode") == "REPEATED"
        many = kind == "strings" or (kind == "vector" and column["type"].startswith("FLOAT"))
        if column["type"] not in _TYPES[kind] or repeated != many:
            wanted = " or ".join(dict.fromkeys(_TYPES[kind]))
            raise DistilwatchError(
                f"the column {name} is {column.get('mode', 'NULLABLE')} {column['type']}",
                where,
                f"make it {wanted}; docs/bigquery.md has the layout, and a view can convert",
            )
    return found


def records_of(rows: pa.RecordBatch) -> list[bytes]:
    """One JSON record of contract 1 for each row.

    Vectors go as base64 of their float32 bytes, cut from the column's own buffer, and times as
    milliseconds. What is NULL is left out.

    Args:
      rows: columns of the event only.
    """
    columns: list[tuple[str, list[Any]]] = []
    names = rows.schema.names
    for name, column in zip(names, rows.columns, strict=True):
        kind = _FIELDS[name].kind
        if kind == "vector" and pa.types.is_list(column.type):
            vectors = _base64_vectors(column)
            columns.append((name, vectors))
            if "embedding_dtype" not in names:
                columns.append(("embedding_dtype", ["float32" if v else None for v in vectors]))
        elif kind == "vector" and pa.types.is_binary(column.type):
            columns.append((name, [_base64(value) for value in column.to_pylist()]))
        elif kind == "time" and pa.types.is_timestamp(column.type):
            millis = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
            columns.append((name, pc.divide(millis, 1_000).to_pylist()))
        elif pa.types.is_decimal(column.type):
            # Arrow's own cast is off by a last digit at times, and a file's number would not be.
            values = [None if v is None else float(v) for v in column.to_pylist()]
            columns.append((name, values))
        else:
            columns.append((name, column.to_pylist()))
    if "embedding_dtype" in names and pa.types.is_list(rows.schema.field("embedding").type):
        columns = [c for c in columns if c[0] != "embedding_dtype"]
        vectors = dict(columns)["embedding"]
        columns.append(("embedding_dtype", ["float32" if v else None for v in vectors]))
    keys = [name for name, _ in columns]
    return [
        orjson.dumps({k: v for k, v in zip(keys, row, strict=True) if v is not None})
        for row in zip(*(values for _, values in columns), strict=True)
    ]


def _base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode() if value else None


def _base64_vectors(column: pa.Array) -> list[str | None]:
    """A list column's rows as base64 of little-endian float32; empty ones, and NULL, as None."""
    ends = column.offsets.to_numpy(zero_copy_only=False)
    values = column.values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # what is too large is refused with its reason later
        data = np.ascontiguousarray(values, "<f4").tobytes()
    return [
        base64.b64encode(data[4 * a : 4 * b]).decode() if b > a else None for a, b in pairwise(ends)
    ]


def offsets_of(records: list[bytes]) -> NDArray[np.int64]:
    """A number for each record that is the same in every run: rows have no place of their own.

    Returns:
      int64 of shape (n,), not negative; equal records have equal ones.
    """
    digests = b"".join(hashlib.blake2b(record, digest_size=8).digest() for record in records)
    return (np.frombuffer(digests, "<u8") >> np.uint64(1)).astype(np.int64)
