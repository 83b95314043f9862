"""docs/analysts.md: every query runs on the tables of a real run, and gives what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.tables import connect
from schemas.tables import TABLES
from tests.pipelines.conftest import SmallRun
from tests.support.bigquery import client_of, make_tables
from tests.support.commands import result
from tests.support.views import in_order

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "analysts.md").read_text(encoding="utf-8")
QUESTIONS = [
    (title, sql, re.findall(r"`(\w+)`", gives.rpartition(": ")[2]))
    for title, sql, gives in re.findall(
        r"^## ([^\n]+)\n.*?```sql\n(.*?)```\n\nGives ([^\n]+)\n", PAGE, re.MULTILINE | re.DOTALL
    )
]
# Clusters of a run this small may share nothing, and a moment may be before anything was known.
MAY_BE_EMPTY = ("7", "9", "And")


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[Any]]:
    found = connection.execute(sql)
    return [column[0] for column in found.description], found.fetchall()


def test_there_are_fifteen_questions() -> None:
    numbered = [title for title, _, _ in QUESTIONS if title[0].isdigit()]
    assert [title.partition(".")[0] for title in numbered] == [str(n) for n in range(1, 16)]
    assert PAGE.count("```sql") == len(QUESTIONS)


@pytest.mark.slow
@pytest.mark.parametrize(("title", "sql", "gives"), QUESTIONS, ids=[q[0] for q in QUESTIONS])
def test_a_query_gives_what_the_page_says(
    small_run: SmallRun, title: str, sql: str, gives: list[str]
) -> None:
    answers = []
    for path in (small_run.database, small_run.parquet):
        with connect(path) as connection:
            names, rows = answer(connection, sql)
        assert names == gives
        assert rows or title.startswith(MAY_BE_EMPTY)
        answers.append(in_order(rows))
    if "LIMIT" not in sql or "account_id" in sql:
        assert answers[0] == answers[1]


@pytest.mark.slow
def test_the_command_answers_them(small_run: SmallRun) -> None:
    for uri in (f"duckdb:///{small_run.database}", f"parquet:///{small_run.parquet}"):
        found: Any = result(
            "tables", "query", "--output", uri, QUESTIONS[0][1], home=small_run.home
        )  # fmt: skip
        assert found
        assert list(found[0]) == QUESTIONS[0][2]


@pytest.mark.slow
@pytest.mark.bigquery
def test_bigquery_gives_the_same(small_run: SmallRun, bigquery: BigQueryEmulator) -> None:
    from google.cloud.bigquery import QueryJobConfig

    with connect(small_run.database) as connection, client_of(bigquery) as client:
        tables: dict[str, pa.Table] = {
            name: connection.execute(f"SELECT * FROM {name}").to_arrow_table() for name in TABLES
        }
        make_tables(client, "analysts", {n: t.cast(TABLES[n].arrow()) for n, t in tables.items()})
        uri = f"bigquery://{client.project}/analysts?endpoint=http://{bigquery.rest}"
        result("tables", "views", "--output", uri, home=small_run.home)
        own = QueryJobConfig(default_dataset=f"{client.project}.analysts")
        for title, sql, gives in QUESTIONS:
            # The emulator does not look for functions in the default dataset.
            asked = sql.replace("FROM clusters_as_of(", "FROM analysts.clusters_as_of(")
            found = client.query(asked, job_config=own).result()
            rows = [tuple(row.values()) for row in found]
            assert [field.name for field in found.schema] == gives, title
            expected = answer(connection, sql)[1]
            assert len(rows) == len(expected), title
            if "LIMIT" not in sql:
                assert rounded(rows) == rounded(expected), title


def rounded(rows: list[Any]) -> list[Any]:
    """Sums of floats depend on their order, in the last digits."""
    return in_order(
        [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows]
    )
