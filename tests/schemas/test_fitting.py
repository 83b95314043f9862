"""What others wrote, column by column, is what the rows say one by one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from schemas.fitting import fitted
from schemas.model import Column, Table
from schemas.tables import TABLES
from tests.support.views import ROWS

_OTHER = Column("theirs", "STRING", "NULLABLE", "a column that others have added")
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "STRING": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "INT64": st.integers(-(1 << 63), (1 << 63) - 1),
    "FLOAT64": st.floats(allow_nan=False),
    "BOOL": st.booleans(),
    "BYTES": st.binary(max_size=5),
    "TIMESTAMP": st.integers(0, 4_000_000_000_000),
}


def values(column: Column) -> st.SearchStrategy[Any]:
    one = (
        st.fixed_dictionaries({f.name: values(f) for f in column.fields})
        if column.fields
        else _PLAIN[column.type]
    )
    if column.mode == "REPEATED":
        return st.lists(one, max_size=3)
    return one if column.mode == "REQUIRED" else st.none() | one


def theirs(column: Column) -> pa.DataType:
    """As BigQuery and DuckDB give it: times in microseconds, fields in any order."""
    if column.fields:
        kind = pa.struct([pa.field(f.name, theirs(f)) for f in reversed(column.fields)])
    else:
        kind = pa.timestamp("us", "UTC") if column.type == "TIMESTAMP" else column.arrow()
        kind = kind.value_type if pa.types.is_list(kind) else kind
    return pa.list_(kind) if column.mode == "REPEATED" else kind


def as_theirs(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with columns in another order, and one of others among them."""
    columns = [_OTHER, *reversed(table.columns)]
    kinds = pa.schema([pa.field(c.name, theirs(c)) for c in columns])
    return pa.Table.from_pylist([_micros(table.columns, r) | {"theirs": "x"} for r in rows], kinds)


def _micros(columns: tuple[Column, ...], row: dict[str, Any]) -> dict[str, Any]:
    made = {}
    for column in columns:
        value = row.get(column.name)
        if column.type == "TIMESTAMP" and value is not None:
            value = value * 1000
        elif column.fields and column.mode == "REPEATED":
            value = [_micros(column.fields, v) for v in value or ()]
        made[column.name] = value
    return made


@pytest.mark.parametrize("name", sorted(TABLES))
@settings(max_examples=20)
@given(data=st.data())
def test_columns_become_what_rows_become(name: str, data: st.DataObject) -> None:
    table = TABLES[name]
    row = st.fixed_dictionaries({c.name: values(c) for c in table.columns})
    rows = data.draw(st.lists(row, max_size=3))
    found = as_theirs(table, rows)
    assert fitted(table, found).equals(table.to_arrow(rows), check_metadata=True)
    for page in found.slice(1).to_batches():  # a page begins anywhere in its buffers
        assert fitted(table, page).equals(table.to_arrow(rows[1:]))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_an_older_version_lacks_is_empty_or_has_its_default(name: str) -> None:
    table = TABLES[name]
    required = {c.name for c in table.columns if c.mode == "REQUIRED" and c.default is None}
    rows = [{k: r[k] for k in required} for r in ROWS[name]]
    older = pa.Table.from_pylist(rows, pa.schema([f for f in table.arrow() if f.name in required]))
    assert fitted(table, older).equals(table.to_arrow(rows))


def test_lists_that_are_not_there_are_empty() -> None:
    table = TABLES["dispositions"]
    full = table.to_arrow([dict.fromkeys(table.key, "c") | _needed(table)])
    at = full.schema.get_field_index("accounts")
    without = full.set_column(at, "accounts", pa.array([None], pa.list_(pa.string())))
    assert fitted(table, without)["accounts"].to_pylist() == [[]]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("decided_at", pa.array(["yesterday"])),
        ("accounts", pa.array(["a1"])),
        ("exposure_usd", pa.array([b"1"])),
    ],
)
def test_another_table_is_told(column: str, values: pa.Array) -> None:
    table = TABLES["dispositions"]
    full = table.to_arrow([_needed(table)])
    wrong = full.set_column(full.schema.get_field_index(column), column, values)
    with pytest.raises(DistilwatchError, match=f"table dispositions, column {column}"):
        fitted(table, wrong)


def test_a_required_value_that_is_missing_is_told() -> None:
    table = TABLES["dispositions"]
    with pytest.raises(DistilwatchError, match="a required value is missing"):
        fitted(table, pa.table({"cluster_id": pa.array([None], pa.string())}))


def _needed(table: Table) -> dict[str, Any]:
    some = {"STRING": "x", "INT64": 1, "TIMESTAMP": 1}
    return {c.name: some[c.type] for c in table.columns if c.mode == "REQUIRED"}
