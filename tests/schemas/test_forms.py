"""One definition, many forms: they say the same of every column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas import generate
from schemas.model import Column
from schemas.tables import TABLES
from tests.support.bigquery import new_dataset

PROMISED = json.loads((Path(__file__).parent / "contract_v1.json").read_text(encoding="utf-8"))


def everything(columns: tuple[Column, ...], prefix: str) -> Iterator[tuple[str, Column]]:
    for column in columns:
        yield f"{prefix}.{column.name}", column
        yield from everything(column.fields, f"{prefix}.{column.name}")


ALL = [pair for name, table in TABLES.items() for pair in everything(table.columns, name)]


@pytest.mark.parametrize(("name", "column"), ALL, ids=[name for name, _ in ALL])
def test_every_column_says_what_it_means_and_every_number_and_time_its_unit(
    name: str, column: Column
) -> None:
    assert len(column.description) > 1, name
    if column.type in ("INT64", "FLOAT64", "TIMESTAMP"):
        assert column.unit, name


def test_every_column_is_promised_from_its_first_day_on() -> None:
    """What is not in contract_v1.json could be taken away again unseen: note new columns there."""
    for name, table in TABLES.items():
        promised = [column[0] for column in PROMISED["tables"][name]["columns"]]
        assert [c.name for c in table.columns] == promised


@pytest.mark.parametrize("name", list(TABLES))
def test_each_table_has_every_form(name: str) -> None:
    files = generate.generated()
    for form in ("bigquery.json", "bigquery.sql", "avsc", "arrow.json", "duckdb.sql"):
        assert f"schemas/generated/{name}.{form}" in files
    assert f"## `{name}`" in files["docs/contracts.md"]


@pytest.mark.parametrize("name", list(TABLES))
def test_all_forms_have_the_same_columns_and_descriptions(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    names = [c.name for c in table.columns]
    about = [c.about() for c in table.columns]

    bigquery = table.bigquery()
    assert [f["name"] for f in bigquery] == names
    assert [f["description"] for f in bigquery] == about

    avro = fastavro.parse_schema(table.avro())
    assert [f["name"] for f in avro["fields"]] == names  # type: ignore[index,call-overload]
    assert [f["doc"] for f in table.avro()["fields"]] == about

    pq.write_table(table.arrow().empty_table(), tmp_path / "t.parquet")
    parquet = pq.read_schema(tmp_path / "t.parquet")
    assert parquet.names == names
    assert [parquet.field(n).metadata[b"description"].decode() for n in names] == [
        c.description for c in table.columns
    ]
    assert [f["name"] for f in table.arrow_json()["fields"]] == names

    with duckdb.connect() as connection:
        connection.execute(table.duckdb_ddl())
        for statement in table.duckdb_comments():
            connection.execute(statement)
        found = connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ? "
            "ORDER BY column_index",
            [name],
        ).fetchall()
    assert found == list(zip(names, about, strict=True))


@pytest.mark.bigquery
def test_the_statements_for_bigquery_make_the_tables(bigquery: BigQueryEmulator) -> None:
    """The emulator knows no PRIMARY KEY … NOT ENFORCED, which is taken out here."""
    dataset = new_dataset(bigquery)
    for name, table in TABLES.items():
        key = ", ".join(f"`{k}`" for k in table.key)
        constraint = f",\n  PRIMARY KEY ({key}) NOT ENFORCED"
        sql = table.bigquery_ddl(f"{bigquery.project}.{dataset.name}")
        assert constraint in sql
        dataset.client.query(sql.replace(constraint, "")).result()
        there = dataset.client.get_table(f"{dataset.name}.{name}")
        assert [f.name for f in there.schema] == [c.name for c in table.columns]
        assert [f.mode == "REPEATED" for f in there.schema] == [
            c.mode == "REPEATED" for c in table.columns
        ]
    assert dataset.tables() == set(TABLES)


def test_arrow_in_words_tells_records_within_lists() -> None:
    features = next(
        f for f in TABLES["session_scores"].arrow_json()["fields"] if f["name"] == "features"
    )
    assert features["list"] is True
    assert features["type"] == "struct"
    assert [f["name"] for f in features["fields"]] == [
        "name", "value", "normal_low", "normal_high", "z",
    ]  # fmt: skip
    assert TABLES["session_scores"].arrow().field("features").type == pa.list_(
        pa.struct([c.arrow_field() for c in TABLES["session_scores"].column("features").fields])
    )
