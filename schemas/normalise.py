"""Checks rows against a table's definition, and says what is wrong with one."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.model import Column, Table

_INT64 = 1 << 63
_FIRST_MS = -62_135_596_800_000  # year 1, the first that every form can hold
_LAST_MS = 253_402_300_799_999  # the end of year 9999
_EXACT: Mapping[tuple[str, str], frozenset[type]] = {
    (kind, mode): frozenset({python, type(None)} if mode == "NULLABLE" else {python})
    for kind, python in (
        ("STRING", str),
        ("INT64", int),
        ("FLOAT64", float),
        ("BOOL", bool),
        ("BYTES", bytes),
        ("TIMESTAMP", int),
    )
    for mode in ("NULLABLE", "REQUIRED")
}
_FAILURES = (pa.ArrowException, TypeError, ValueError, OverflowError)


class _DoesNotFit(Exception):
    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


def normalise_row(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with every column, in order, of plain Python values.

    numpy scalars become Python's; times become integer milliseconds UTC (from integers, datetimes
    (UTC where naive), and RFC 3339 strings); tuples and arrays become lists; a repeated column that
    is None becomes []; halves of surrogate pairs in text become "?".

    Args:
      table: that the row belongs to.
      row: values by column name; columns that are not REQUIRED may be missing.

    Raises:
      DistilwatchError: naming table, column and what to do.
    """
    _refuse_unknown(row, table.columns, f"table {table.name}")
    return {c.name: _column(c, row.get(c.name), f"table {table.name}") for c in table.columns}


def arrow_table(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the table's schema.

    Rows of the right types are taken as they are; when one does not fit, every row is normalised,
    so that what can be mended is, and what cannot is named.

    Raises:
      DistilwatchError: as `normalise_row`.
    """
    schema = table.arrow()
    try:
        if _looks_right(table, rows):
            return pa.Table.from_pylist(list(rows), schema=schema)
    except _FAILURES:
        pass
    return pa.Table.from_pylist([normalise_row(table, row) for row in rows], schema=schema)


def _looks_right(table: Table, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every value has just the type that its column wants.

    Arrow alone would be too kind: it drops unknown fields, makes 1 of 1.5, and a list of "abc".
    """
    names = {c.name for c in table.columns}
    plain = [(c.name, _EXACT[c.type, c.mode]) for c in table.columns if c.mode != "REPEATED"]
    times = [c.name for c in table.columns if c.type == "TIMESTAMP"]
    repeated = [c for c in table.columns if c.mode == "REPEATED"]
    for row in rows:
        if not isinstance(row, dict) or not names.issuperset(row):
            return False
        get = row.get
        if any(type(get(name)) not in kinds for name, kinds in plain):
            return False
        if any(not _FIRST_MS <= (get(name) or 0) <= _LAST_MS for name in times):
            return False
        if not all(_looks_right_list(c, get(c.name)) for c in repeated):
            return False
    return True


def _looks_right_list(column: Column, values: Any) -> bool:
    if type(values) is not list:
        return False
    if not column.fields:
        wanted = _EXACT[column.type, "REQUIRED"]
        return all(type(v) in wanted for v in values)
    fields = {f.name: _EXACT[f.type, f.mode] for f in column.fields}
    return all(
        type(record) is dict
        and all(name in fields and type(v) in fields[name] for name, v in record.items())
        for record in values
    )


def _refuse_unknown(row: Mapping[str, Any], columns: Sequence[Column], where: str) -> None:
    names = {c.name for c in columns}
    if unknown := [str(name) for name in row if name not in names]:
        raise DistilwatchError(
            f"unknown column {', '.join(sorted(unknown))}",
            where,
            f"use one of {', '.join(c.name for c in columns)}, or add it to schemas.tables first",
        )


def _column(column: Column, value: Any, where: str) -> Any:
    place = f"{where}, column {column.name}"
    if column.mode == "REPEATED":
        if value is None:
            return []
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            raise DistilwatchError(f"{_kind(value)} is no list", place, "give a list of values")
        return [_value(column, v, f"{place}[{i}]") for i, v in enumerate(value)]
    if value is None:
        value = column.default
    if value is None:
        if column.mode == "REQUIRED":
            raise DistilwatchError("a required value is missing", place, "give every row one")
        return None
    return _value(column, value, place)


def _value(column: Column, value: Any, place: str) -> Any:
    if column.fields:
        if hasattr(value, "_asdict"):
            value = value._asdict()
        if not isinstance(value, Mapping):
            raise DistilwatchError(f"{_kind(value)} is no record", place, "give a dict")
        _refuse_unknown(value, column.fields, place)
        return {f.name: _column(f, value.get(f.name), place) for f in column.fields}
    try:
        return _CONVERT[column.type](value)
    except _DoesNotFit as problem:
        raise DistilwatchError(str(problem), place, problem.mend) from None


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _DoesNotFit(f"{_kind(value)} is no text", "give a str")
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _int64(value: Any) -> int:
    if isinstance(value, bool | np.bool_):
        raise _DoesNotFit(f"{_kind(value)} is no integer", "give an int")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise _DoesNotFit(f"{_kind(value)} is no integer", "give an int") from None
    if not -_INT64 <= number < _INT64:
        raise _DoesNotFit("the integer has more than 64 bits", "give a signed 64-bit integer")
    return number


def _float64(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise _DoesNotFit(f"{_kind(value)} is no number", "give a float")
    try:
        return float(value)
    except (OverflowError, TypeError):
        raise _DoesNotFit("the number is too large or complex", "give a float") from None


def _bool(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise _DoesNotFit(f"{_kind(value)} is no truth value", "give True or False")
    return bool(value)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _DoesNotFit(f"{_kind(value)} is no byte string", "give bytes")
    return bytes(value)


def _timestamp(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _DoesNotFit("the text is no RFC 3339 time", "give milliseconds UTC") from None
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        value = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    number = _int64(value)
    if not _FIRST_MS <= number <= _LAST_MS:
        raise _DoesNotFit("the time is outside years 1 to 9999", "give milliseconds UTC")
    return number


_CONVERT = {
    "STRING": _string,
    "INT64": _int64,
    "FLOAT64": _float64,
    "BOOL": _bool,
    "BYTES": _bytes,
    "TIMESTAMP": _timestamp,
}
