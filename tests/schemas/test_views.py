"""Views: one source each, the same rows wherever they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from schemas.tables import TABLES, VIEWS
from schemas.views import NAMES, bigquery_views, source_of
from schemas.views.source import read_view
from tests.support.views import EXPECTED, ROWS, in_order
from transforms.sinks.duckdb import write_tables

SOURCES = {name: read_view(source_of(name), TABLES) for name in NAMES}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = tmp_path_factory.mktemp("views") / "world.duckdb"
    write_tables(path, {name: TABLES[name].to_arrow(rows) for name, rows in ROWS.items()})
    with duckdb.connect(str(path), read_only=True) as connection:
        # Wherever the reader is: a day is UTC's.
        connection.execute("SET TimeZone = 'Pacific/Auckland'")
        yield connection


@pytest.mark.parametrize(("view", "columns", "rows"), EXPECTED, ids=[e[0] for e in EXPECTED])
def test_a_view_says_what_was_worked_out_by_hand(
    world: duckdb.DuckDBPyConnection, view: str, columns: str, rows: list[tuple[Any, ...]]
) -> None:
    found = world.execute(f"SELECT {columns} FROM {view}").fetchall()
    assert in_order(found) == in_order(rows)


def test_every_view_has_expected_rows_and_every_source_is_listed() -> None:
    assert {view.partition("(")[0] for view, _, _ in EXPECTED} == set(NAMES)
    assert {path.stem for path in source_of("x").parent.glob("*.sql")} == set(NAMES)
    assert list(VIEWS) == list(NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if not SOURCES[n].parameters])
def test_comments_name_every_column_in_the_order_of_the_query(
    world: duckdb.DuckDBPyConnection, name: str
) -> None:
    described = world.execute(f'DESCRIBE "{name}"').fetchall()
    assert list(SOURCES[name].columns) == [row[0] for row in described]
    # What BigQuery has no type for would come out of a sum of whole numbers.
    assert not [row for row in described if row[1] in ("HUGEINT", "UBIGINT", "INTEGER")]


def test_descriptions_are_in_the_database(world: duckdb.DuckDBPyConnection) -> None:
    (said,) = world.execute(
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'shared_accounts' "
        "AND column_name = 'shared_count'"
    ).fetchone() or (None,)
    assert said == "accounts in both [accounts]"


def test_views_of_bigquery_are_in_the_dataset_and_need_nothing_outside() -> None:
    for name, statement in bigquery_views("p.d").items():
        assert f"`p.d.{name}`" in statement
        assert "$" not in statement


def test_a_comment_that_is_no_column_is_refused(tmp_path: Path) -> None:
    from schemas.errors import DistilwatchError

    (tmp_path / "v.sql").write_text("-- What it says.\n--\n-- no column\nSELECT 1 AS x\n")
    with pytest.raises(DistilwatchError, match="is no column"):
        read_view(tmp_path / "v.sql", TABLES)
